package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/edgebake/edgebake/builder/tree"
)

// rootDir is the root directory, all of its slots.
type rootDir struct {
	raw, before []byte  // as it shall be, and as it is on the medium
	clusters    []int64 // FAT32
	added       []int64 // of clusters: those that are new
	end         int     // slot of the end marker, or the number of slots
}

func (d *rootDir) slot(i int) []byte { return d.raw[i*entrySize:][:entrySize] }
func (d *rootDir) count() int        { return len(d.raw) / entrySize }

func (c *change) readRoot(r io.ReaderAt) error {
	d := &c.dir
	if c.fs.info.Bits == 16 {
		d.raw = make([]byte, c.fs.rootSize)
		if _, err := r.ReadAt(d.raw, c.fs.rootStart); err != nil {
			return err
		}
	}
	for n := c.fs.rootFirst; n != 0 && c.fs.info.Bits == 32; {
		if err := c.fs.take(n); err != nil {
			return err
		}
		cluster := make([]byte, c.clusterSize())
		if _, err := r.ReadAt(cluster, c.fs.clusterOffset(n)); err != nil {
			return err
		}
		d.raw, d.clusters = append(d.raw, cluster...), append(d.clusters, n)
		if len(d.raw) > maxDirSize {
			return fmt.Errorf("its root directory has more than %d bytes", maxDirSize)
		}
		var err error
		if n, err = c.fs.link(n); err != nil {
			return err
		}
	}
	d.before = bytes.Clone(d.raw)
	for d.end = 0; d.end < d.count() && d.slot(d.end)[0] != 0; {
		d.end++
	}
	return nil
}

// found is an entry of the root directory: its slots from the first of the long name to the short one.
type found struct {
	first, last int
	names       []string
}

func (d *rootDir) entries() []found {
	var list []found
	var long longName
	first := -1
	for i := range d.end {
		e := d.slot(i)
		switch {
		case e[0] == deleted:
			long, first = longName{}, -1
		case e[11]&0x3f == attrLong:
			if e[0]&lastLong != 0 || first < 0 {
				first = i
			}
			long.add(e)
		case e[11]&attrVolume != 0:
			long, first = longName{}, -1
		default:
			f := found{first: i, last: i, names: []string{long.name(e), decodeShort(e)}}
			if long.belongs(e) {
				f.first = first
			}
			list = append(list, f)
			long, first = longName{}, -1
		}
	}
	return list
}

func (d *rootDir) find(name string) (f found, hits int) {
	for _, e := range d.entries() {
		if slices.ContainsFunc(e.names, func(n string) bool { return fold(n) == fold(name) }) {
			f = e
			hits++
		}
	}
	return f, hits
}

// set notes what is to be done for one file.
func (c *change) set(name string, content []byte, now tree.Time) error {
	if err := checkName(name); err != nil {
		return c.fault("%w", err)
	}
	if int64(len(content)) > maxFileSize {
		return c.fault("%s: %d bytes are more than the 4 GiB of a FAT file", name, len(content))
	}
	f, hits := c.dir.find(name)
	switch {
	case hits > 1:
		return c.fault("%s is there %d times: repair it first (fsck.vfat -a)", name, hits)
	case hits == 1:
		return c.replace(f, name, content, now)
	case content == nil:
		return nil
	}
	return c.add(name, content, now)
}

func (c *change) replace(f found, name string, content []byte, now tree.Time) error {
	e, le := c.dir.slot(f.last), binary.LittleEndian
	if e[11]&attrDirectory != 0 {
		return c.fault("%s is a directory, and a file is to be written there", name)
	}
	first, size := int64(le.Uint16(e[26:])), int64(le.Uint32(e[28:]))
	if c.fs.info.Bits == 32 {
		first |= int64(le.Uint16(e[20:])) << 16
	}
	old, err := c.chain(first, size)
	if err != nil {
		return c.fault("%s: %w: repair it first (fsck.vfat -a)", name, err)
	}
	if content != nil && c.holds(old, size, content) {
		return nil
	}
	c.freed = append(c.freed, old...)
	if content == nil {
		for i := f.first; i <= f.last; i++ {
			c.dir.slot(i)[0] = deleted
		}
		return nil
	}
	if first = c.put(content); c.fs.info.Bits == 32 {
		le.PutUint16(e[20:], uint16(first>>16))
	}
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], uint32(len(content)))
	date, clock := stamp(now)
	le.PutUint16(e[18:], date)
	le.PutUint16(e[22:], clock)
	le.PutUint16(e[24:], date)
	e[11] |= attrArchive
	return nil
}

// holds compares a file with content. A file that cannot be read is written anew.
func (c *change) holds(clusters []int64, size int64, content []byte) bool {
	if size != int64(len(content)) {
		return false
	}
	for _, n := range clusters {
		have := make([]byte, min(c.clusterSize(), int64(len(content))))
		if _, err := c.fs.r.ReadAt(have, c.fs.clusterOffset(n)); err != nil || !bytes.Equal(have, content[:len(have)]) {
			return false
		}
		content = content[len(have):]
	}
	return true
}

// add makes a new entry.
func (c *change) add(name string, content []byte, now tree.Time) error {
	n := namer{used: map[shortName]bool{}, next: map[string]int{}}
	for _, e := range c.dir.entries() {
		n.used[shortName(c.dir.slot(e.last)[:11])] = true
	}
	short, ok := exactShort(name)
	long := !ok || name != fold(name)
	if !ok || n.used[short] {
		short, long = n.alias(name), true
	}
	at, err := c.makeRoom(int(slots(name, long)))
	if err != nil {
		return err
	}
	var b []byte
	if long {
		b = appendLong(b, name, short.checksum())
	}
	copy(c.dir.raw[at*entrySize:], appendShort(b, short, attrArchive, now, c.put(content), int64(len(content))))
	return nil
}

// makeRoom finds n slots one behind the other; it enlarges the root directory of a FAT32.
func (c *change) makeRoom(n int) (int, error) {
	d := &c.dir
	for {
		row := 0
		for i := range d.count() {
			if i < d.end && d.slot(i)[0] != deleted {
				row = 0
			} else if row++; row == n {
				d.use(i + 1)
				return i + 1 - n, nil
			}
		}
		if err := c.enlargeRoot(n, row); err != nil {
			return 0, err
		}
	}
}

// use moves the end marker behind slot i. What stands there after the old one is no entry and may be anything.
func (d *rootDir) use(i int) {
	if i <= d.end {
		return
	}
	if d.end = i; i < d.count() {
		clear(d.slot(i))
	}
}

func (c *change) enlargeRoot(need, have int) error {
	d := &c.dir
	if c.fs.info.Bits == 16 || int64(len(d.raw))+c.clusterSize() > maxDirSize {
		return &NoRoomError{Label: c.fs.info.Label, What: "entries in a row in the root directory", Need: int64(need), Have: int64(have)}
	}
	list := c.allocate(1)
	if list == nil {
		return &NoRoomError{Label: c.fs.info.Label, What: "clusters for the root directory", Need: 1}
	}
	d.raw = append(d.raw, make([]byte, c.clusterSize())...)
	d.clusters, d.added = append(d.clusters, list[0]), append(d.added, list[0])
	return nil
}

// dirOffset gives the place on the volume of byte at of the directory.
func (c *change) dirOffset(at int64) int64 {
	if c.fs.info.Bits == 16 {
		return c.fs.rootStart + at
	}
	return c.fs.clusterOffset(c.dir.clusters[at/c.clusterSize()]) + at%c.clusterSize()
}
