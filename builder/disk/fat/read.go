package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Info describes a volume that was read.
type Info struct {
	// Bits is 12, 16 or 32.
	Bits int
	// Label is the root directory's, or the boot sector's when there is none; "" for NO NAME.
	Label       string
	VolumeID    uint32
	ClusterSize int
	Clusters    int64
	// Size of the volume in bytes.
	Size int64
}

// FS is a volume opened for reading.
type FS struct {
	r          io.ReaderAt
	info       Info
	sector     int64
	fatStart   int64 // bytes, as all places below
	rootStart  int64
	rootSize   int64 // 0 for FAT32
	rootFirst  int64 // FAT32
	dataStart  int64
	windowAt   int64
	window     []byte
	usedBitmap []uint64
}

// Open reads the boot sector and the label of a volume of at most size bytes at the beginning of r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	var b [sectorSize]byte
	if size < sectorSize {
		return nil, fmt.Errorf("reading FAT: %d bytes are no boot sector", size)
	}
	if _, err := r.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading FAT boot sector: %w", err)
	}
	f := &FS{r: r}
	if err := f.parse(b[:], size); err != nil {
		return nil, fmt.Errorf("reading FAT boot sector: %w", err)
	}
	label, err := f.rootLabel()
	if err != nil {
		return nil, err
	}
	if label != "" {
		f.info.Label = label
	}
	return f, nil
}

// Info describes the volume.
func (f *FS) Info() Info { return f.info }

func (f *FS) parse(b []byte, size int64) error {
	le := binary.LittleEndian
	f.sector = int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	reserved, fats := int64(le.Uint16(b[14:])), int64(b[16])
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return fmt.Errorf("signature is %02x%02x and not 55aa", b[510], b[511])
	case f.sector < sectorSize || f.sector > 4096 || f.sector&(f.sector-1) != 0:
		return fmt.Errorf("sector size is %d", f.sector)
	case perCluster == 0 || perCluster&(perCluster-1) != 0:
		return fmt.Errorf("cluster size is %d sectors", perCluster)
	case reserved == 0 || fats == 0 || fats > 4:
		return fmt.Errorf("%d reserved sectors and %d FATs", reserved, fats)
	}
	sectors, perFAT := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	ext, is32 := b[36:], perFAT == 0
	if is32 {
		perFAT, ext = int64(le.Uint32(b[36:])), b[64:]
		f.rootFirst = int64(le.Uint32(b[44:]))
	}
	f.rootSize = int64(le.Uint16(b[17:])) * entrySize
	f.fatStart = reserved * f.sector
	f.rootStart = f.fatStart + fats*perFAT*f.sector
	f.dataStart = f.rootStart + roundUp(f.rootSize, f.sector)
	f.info = Info{ClusterSize: int(perCluster * f.sector), Size: sectors * f.sector}
	f.info.Clusters = (f.info.Size - f.dataStart) / int64(f.info.ClusterSize)
	if f.info.Size > size || f.info.Size < f.dataStart || perFAT == 0 {
		return fmt.Errorf("the volume has %d bytes, %d before its data: there are %d", f.info.Size, f.dataStart, size)
	}
	f.setBits(is32)
	if most := perFAT*f.sector*8/int64(f.info.Bits) - 2; f.info.Clusters > most {
		f.info.Clusters = max(most, 0)
	}
	if ext[2] == 0x29 {
		f.info.VolumeID = le.Uint32(ext[3:])
		f.info.Label = trimLabel(ext[7:18])
	}
	return nil
}

// setBits follows the specification: the number of clusters decides.
func (f *FS) setBits(is32 bool) {
	switch {
	case is32:
		f.info.Bits = 32
	case f.info.Clusters >= minClusters16:
		f.info.Bits = 16
	default:
		f.info.Bits = 12
	}
}

func trimLabel(b []byte) string {
	label := strings.TrimRight(string(b), " \x00")
	if label == "NO NAME" {
		return ""
	}
	return label
}

// rootLabel reads the volume's name from the root directory.
func (f *FS) rootLabel() (string, error) {
	d, err := f.openDir(f.rootFirst, ".")
	if err != nil {
		return "", err
	}
	defer f.forget()
	for {
		e, err := d.next()
		if err != nil || e == nil {
			return "", err
		}
		if e[11]&attrLong != attrLong && e[11]&attrVolume != 0 && e[0] != deleted {
			if e[0] == escapedE5 {
				e[0] = deleted
			}
			return trimLabel(e[:11]), nil
		}
	}
}

const windowSize = 64 << 10

// link returns the cluster after n, or 0 at the end of the chain.
func (f *FS) link(n int64) (int64, error) {
	v, err := f.rawLink(n)
	if err != nil {
		return 0, err
	}
	last := int64(1)<<min(f.info.Bits, 28) - 1
	if v >= last-7 { // 0x..F8 to 0x..FF end a chain
		return 0, nil
	}
	if v < 2 || v >= f.info.Clusters+2 {
		return 0, fmt.Errorf("cluster %d is followed by %d, which is none", n, v)
	}
	return v, nil
}

func (f *FS) rawLink(n int64) (int64, error) {
	le := binary.LittleEndian
	switch f.info.Bits {
	case 32:
		b, err := f.fatBytes(n*4, 4)
		if err != nil {
			return 0, err
		}
		return int64(le.Uint32(b) & 0x0fffffff), nil
	case 16:
		b, err := f.fatBytes(n*2, 2)
		if err != nil {
			return 0, err
		}
		return int64(le.Uint16(b)), nil
	}
	b, err := f.fatBytes(n*3/2, 2)
	if err != nil {
		return 0, err
	}
	return int64(le.Uint16(b)>>(4*(n&1))) & 0xfff, nil
}

// fatBytes returns n bytes at an offset of the first FAT, through a window on it.
func (f *FS) fatBytes(at, n int64) ([]byte, error) {
	if at < f.windowAt || at+n > f.windowAt+int64(len(f.window)) {
		buf := make([]byte, windowSize)
		got, err := f.r.ReadAt(buf, f.fatStart+at)
		if int64(got) < n {
			return nil, fmt.Errorf("reading the FAT at byte %d: %w", at, err)
		}
		f.windowAt, f.window = at, buf[:got]
	}
	return f.window[at-f.windowAt:][:n], nil
}

// take marks a cluster as used; a cluster belongs to one file only, which also bounds all loops.
func (f *FS) take(n int64) error {
	if n < 2 || n >= f.info.Clusters+2 {
		return fmt.Errorf("cluster %d is outside of the volume (%d clusters)", n, f.info.Clusters)
	}
	if f.usedBitmap == nil {
		f.usedBitmap = make([]uint64, f.info.Clusters/64+1)
	}
	word, bit := (n-2)/64, uint64(1)<<((n-2)%64)
	if f.usedBitmap[word]&bit != 0 {
		return fmt.Errorf("cluster %d belongs to two files, or a chain is a loop", n)
	}
	f.usedBitmap[word] |= bit
	return nil
}

func (f *FS) forget() { f.usedBitmap = nil }

func (f *FS) clusterOffset(n int64) int64 { return f.dataStart + (n-2)*int64(f.info.ClusterSize) }
