package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// Device is what Change changes: a file or a block device.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything that was written is on the medium.
	Sync() error
}

// NoRoomError says that files do not fit. Nothing was written.
type NoRoomError struct {
	Label string
	// What is missing: bytes, or entries in the root directory.
	What       string
	Need, Have int64
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("changing FAT %q: %d %s are needed and %d are free: remove files from it, or use a card with a larger one", e.Label, e.Need, e.What, e.Have)
}

// maxFAT bounds the memory for one copy of the FAT: 64 MiB map 8 GiB in clusters of 512 bytes, 1 TiB in
// those of 64 KiB. Boot partitions have 2 MiB.
const maxFAT = 64 << 20

// Change puts files into the root directory of the volume of at most size bytes at offset base of d, or replaces
// them; nil content removes a file. Nothing else is changed, and a file that has the wanted content already is
// left alone. Space that is given up is overwritten with zeros: there were secrets in it.
//
// A volume that is damaged, as far as its FATs, directories and files can tell, is refused, and whatever is refused was
// not written to. FAT12 and sectors other than 512 bytes are not supported.
//
// New contents go to free clusters, and are on the medium before the FAT says so, and that before the directory
// does. Power that goes away in between leaves each file as it was or as it shall be, and at worst clusters that
// are marked as used and belong to nobody.
func Change(ctx context.Context, d Device, base, size int64, files map[string][]byte, now tree.Time) error {
	c, err := openChange(ctx, d, base, size)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(files))
	for i, name := range names {
		if slices.ContainsFunc(names[:i], func(other string) bool { return fold(other) == fold(name) }) {
			return c.fault("%s comes twice: FAT cannot tell the cases apart", name)
		}
		if err := c.set(name, files[name], now); err != nil {
			return err
		}
	}
	if c.missing > 0 {
		have := c.free * c.clusterSize()
		return &NoRoomError{Label: c.fs.info.Label, What: "bytes", Need: have + c.missing*c.clusterSize(), Have: have}
	}
	if err := ctx.Err(); err != nil { // from here on it is short and goes to the end
		return err
	}
	if err := c.commit(); err != nil {
		return fmt.Errorf("changing FAT %q: %w", c.fs.info.Label, err)
	}
	return nil
}

// change is a volume with the changes that are to be made.
type change struct {
	d    Device
	base int64
	fs   *FS
	bpb  bpb
	// fat is the first FAT as it is on the medium, later as it shall be.
	fat  []byte
	free int64 // clusters
	// missing counts clusters that could not be had.
	missing int64
	dir     rootDir
	// data are the contents of new clusters; links their entries in the FAT; freed are clusters to give up.
	data  map[int64][]byte
	links map[int64]uint32
	freed []int64
}

func (c *change) clusterSize() int64 { return int64(c.fs.info.ClusterSize) }

func (c *change) fault(format string, args ...any) error {
	return fmt.Errorf("changing FAT %q: "+format, append([]any{c.fs.info.Label}, args...)...)
}

func openChange(ctx context.Context, d Device, base, size int64) (*change, error) {
	r := io.NewSectionReader(d, base, size)
	fs, err := Open(r, size)
	if err != nil {
		return nil, err
	}
	c := &change{d: d, base: base, fs: fs, data: map[int64][]byte{}, links: map[int64]uint32{}}
	if fs.info.Bits == 12 || fs.sector != sectorSize {
		return nil, c.fault("FAT%d with sectors of %d bytes is only read; FAT16 and FAT32 with 512 are written", fs.info.Bits, fs.sector)
	}
	if err := c.readFATs(r); err != nil {
		return nil, err
	}
	defer c.fs.forget()
	if err := c.check(ctx); err != nil {
		return nil, fmt.Errorf("%w; it is damaged: repair it first (fsck.vfat -a)", err)
	}
	if err := c.readRoot(r); err != nil {
		return nil, c.fault("%w; it is damaged: repair it first (fsck.vfat -a)", err)
	}
	return c, nil
}

// readFATs reads the first FAT and compares the others with it.
func (c *change) readFATs(r io.ReaderAt) error {
	reserved := make([]byte, c.fs.fatStart)
	if _, err := r.ReadAt(reserved, 0); err != nil {
		return c.fault("reading its first sectors: %w", err)
	}
	var err error
	if c.bpb, err = readBPB(reserved); err != nil {
		return c.fault("%w", err)
	}
	const oneActive = 0x80 // extended flags: the FATs are not copies of each other
	if c.bpb.is32 && reserved[40]&oneActive != 0 {
		return c.fault("its FATs are not kept alike, which is not supported")
	}
	if c.bpb.rootSlots%(sectorSize/entrySize) != 0 {
		return c.fault("its root directory has %d entries, which do not fill its last sector", c.bpb.rootSlots)
	}
	length := c.bpb.fatSectors * sectorSize
	if length > maxFAT {
		return c.fault("its FAT has %d bytes and up to %d are supported: this is no boot partition", length, maxFAT)
	}
	c.fat = make([]byte, length)
	if _, err := r.ReadAt(c.fat, c.fs.fatStart); err != nil {
		return c.fault("reading its FAT: %w", err)
	}
	other := make([]byte, length)
	for i := int64(1); i < c.bpb.fats; i++ {
		if _, err := r.ReadAt(other, c.fs.fatStart+i*length); err != nil {
			return c.fault("reading its FAT: %w", err)
		}
		if !bytes.Equal(c.fat, other) {
			return c.fault("the copies of its FAT differ: repair it first (fsck.vfat -a)")
		}
	}
	for n := int64(2); n < c.fs.info.Clusters+2; n++ {
		if c.entry(n) == 0 {
			c.free++
		}
	}
	return nil
}

// check reads all directories and chains, so that nothing is built on what is broken, and takes the clusters of
// files.
func (c *change) check(ctx context.Context) error {
	t, err := c.fs.Tree(ctx, cas.Digest("volume"), 0)
	if err != nil {
		return err
	}
	for i := range t.Len() {
		e := t.At(i)
		for _, x := range e.Content.Extents {
			first := (x.Offset-c.fs.dataStart)/c.clusterSize() + 2
			for n := first; n < first+ceil(x.Length, c.clusterSize()); n++ {
				if err := c.fs.take(n); err != nil {
					return c.fault("%s: %w", e.Path, err)
				}
				if c.entry(n) == 0 {
					return c.fault("%s: its cluster %d is marked as free", e.Path, n)
				}
			}
		}
	}
	return nil
}

// entry is the FAT's entry of cluster n.
func (c *change) entry(n int64) uint32 {
	if c.fs.info.Bits == 16 {
		return uint32(binary.LittleEndian.Uint16(c.fat[2*n:]))
	}
	return binary.LittleEndian.Uint32(c.fat[4*n:]) & 0x0fffffff
}

// setEntry changes it; the upper four bits of FAT32 stay.
func (c *change) setEntry(n int64, v uint32) {
	if c.fs.info.Bits == 16 {
		binary.LittleEndian.PutUint16(c.fat[2*n:], uint16(v))
		return
	}
	b := c.fat[4*n:]
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)&0xf0000000|v&0x0fffffff)
}

const lastCluster = 0x0fffffff // cut to 16 bits in FAT16

// chain lists the clusters of a file, of which there must be as many as its size says.
func (c *change) chain(first, size int64) ([]int64, error) {
	var list []int64
	want := ceil(size, c.clusterSize())
	for n := first; n != 0; {
		if int64(len(list)) == want {
			return nil, errors.New("it has more clusters than its size says")
		}
		list = append(list, n)
		var err error
		if n, err = c.fs.link(n); err != nil {
			return nil, err
		}
	}
	if int64(len(list)) < want {
		return nil, errors.New("it has fewer clusters than its size says")
	}
	return list, nil
}

// allocate gives n free clusters, one behind the other when there is such a place, and notes their links.
func (c *change) allocate(n int64) []int64 {
	if n == 0 {
		return nil
	}
	if n > c.free {
		c.missing += n - c.free
		return nil
	}
	list := c.run(n)
	for i, cluster := range list {
		next := uint32(lastCluster)
		if i+1 < len(list) {
			next = uint32(list[i+1])
		}
		c.links[cluster] = next
	}
	c.free -= n
	return list
}

// run finds n neighbours, otherwise the first n that are free.
func (c *change) run(n int64) []int64 {
	var all, row []int64
	for k := int64(2); k < c.fs.info.Clusters+2; k++ {
		if _, taken := c.links[k]; taken || c.entry(k) != 0 {
			row = row[:0]
			continue
		}
		if row = append(row, k); int64(len(row)) == n {
			return row
		}
		if int64(len(all)) < n {
			all = append(all, k)
		}
	}
	return all
}

// put places content into new clusters and returns the first of them.
func (c *change) put(content []byte) int64 {
	list := c.allocate(ceil(int64(len(content)), c.clusterSize()))
	for _, n := range list {
		cluster := make([]byte, c.clusterSize())
		content = content[copy(cluster, content):]
		c.data[n] = cluster
	}
	if len(list) == 0 {
		return 0
	}
	return list[0]
}
