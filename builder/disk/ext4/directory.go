package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// dirEntry is one name. Its inode's number is known when the directory is written.
type dirEntry struct {
	name        string
	node        *node
	hash, minor uint32
}

// directory is the plan of one directory's blocks: one block as a list, or an index (page
// "directory", "Hash Tree Directories") of one or two levels over leaves sorted by hash.
type directory struct {
	csum   bool
	seed   [16]byte
	parent *node // nil for the root
	names  []dirEntry
	leaves []int // leaf i holds names[leaves[i]:leaves[i+1]]; empty for a list
	nodes  int   // index blocks below the root; 0 for one level
	length int64 // blocks
}

func (d *directory) indexed() bool { return len(d.leaves) > 0 }

func direntLen(name string) int { return 8 + (len(name)+3)&^3 }

// room is the space for entries in a block; the checksum is an entry of 12 bytes at its end.
func (d *directory) room() int {
	if d.csum {
		return blockSize - 12
	}
	return blockSize
}

// rootLimit and nodeLimit are the index entries of the root and of a block below; the first
// place holds the counts, and with checksums the last place holds the sum.
func (d *directory) rootLimit() int { return (blockSize-32)/8 - boolInt(d.csum) }
func (d *directory) nodeLimit() int { return (blockSize-8)/8 - boolInt(d.csum) }

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// arrange decides the blocks and returns their number, at least least.
func (d *directory) arrange(least int64) (int64, error) {
	total := 24 // "." and ".."
	for _, e := range d.names {
		total += direntLen(e.name)
	}
	if total <= d.room() {
		slices.SortFunc(d.names, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
		d.length = least
		return least, nil
	}
	for i := range d.names {
		d.names[i].hash, d.names[i].minor = nameHash(d.seed, d.names[i].name)
	}
	slices.SortFunc(d.names, func(a, b dirEntry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), strings.Compare(a.name, b.name))
	})
	d.fillLeaves()
	return d.length, d.countNodes()
}

func (d *directory) fillLeaves() {
	used := d.room()
	for i, e := range d.names {
		if used += direntLen(e.name); used > d.room() {
			d.leaves, used = append(d.leaves, i), direntLen(e.name)
		}
	}
	d.leaves = append(d.leaves, len(d.names))
}

func (d *directory) countNodes() error {
	leaves := len(d.leaves) - 1
	if leaves > d.rootLimit() {
		d.nodes = (leaves + d.nodeLimit() - 1) / d.nodeLimit()
	}
	if d.nodes > d.rootLimit() {
		return fmt.Errorf("%d names are more than a directory of two levels can index", len(d.names))
	}
	d.length = int64(1 + d.nodes + leaves)
	return nil
}

// block returns block i of the directory, with its checksum if it has one.
func (d *directory) block(i int64, self *node, c checksummer, seed uint32) []byte {
	b := make([]byte, blockSize)
	if !d.indexed() {
		d.list(b, i, self)
		d.sealLeaf(b, c, seed)
		return b
	}
	leaf := int(i) - 1 - d.nodes
	switch {
	case i == 0:
		d.indexRoot(b, self)
		d.sealIndex(b, 32, c, seed)
	case leaf < 0:
		d.indexNode(b, int(i)-1)
		d.sealIndex(b, 8, c, seed)
	default:
		d.leaf(b, d.names[d.leaves[leaf]:d.leaves[leaf+1]])
		d.sealLeaf(b, c, seed)
	}
	return b
}

func (d *directory) parentIno(self *node) uint32 {
	if d.parent == nil {
		return self.ino
	}
	return d.parent.ino
}

// putDirent writes an entry and returns what follows it; length is rec_len.
func putDirent(b []byte, ino uint32, name string, mode uint16, length int) []byte {
	binary.LittleEndian.PutUint32(b, ino)
	binary.LittleEndian.PutUint16(b[4:], uint16(length))
	b[6], b[7] = byte(len(name)), fileType(mode)
	copy(b[8:], name)
	return b[length:]
}

// fileType is the type in a directory entry, page "directory".
func fileType(mode uint16) byte {
	switch mode & modeType {
	case modeFile:
		return 1
	case modeDir:
		return 2
	case modeChar:
		return 3
	case modeBlock:
		return 4
	case modeFifo:
		return 5
	case modeSocket:
		return 6
	case modeSymlink:
		return 7
	}
	return 0
}

// list fills block i of a directory without index: all names are in block 0.
func (d *directory) list(b []byte, i int64, self *node) {
	if i > 0 {
		putDirent(b[:d.room()], 0, "", 0, d.room())
		return
	}
	rest := putDirent(b, self.ino, ".", modeDir, 12)
	if len(d.names) == 0 {
		putDirent(rest, d.parentIno(self), "..", modeDir, d.room()-12)
		return
	}
	putDirent(rest, d.parentIno(self), "..", modeDir, 12)
	d.leaf(b[24:], d.names)
}

// leaf fills b, which ends where the block ends, with names; the last entry takes the rest.
func (d *directory) leaf(b []byte, names []dirEntry) {
	b = b[:len(b)-(blockSize-d.room())]
	for i, e := range names {
		length := direntLen(e.name)
		if i == len(names)-1 {
			length = len(b)
		}
		b = putDirent(b, e.node.ino, e.name, e.node.mode, length)
	}
}

func (d *directory) sealLeaf(b []byte, c checksummer, seed uint32) {
	if !d.csum {
		return
	}
	tail := b[blockSize-12:]
	binary.LittleEndian.PutUint16(tail[4:], 12)
	tail[7] = 0xDE
	binary.LittleEndian.PutUint32(tail[8:], c.update(seed, b[:blockSize-12]))
}

// sealIndex writes the dx_tail behind the last possible entry; entries start at offset.
func (d *directory) sealIndex(b []byte, offset int, c checksummer, seed uint32) {
	if !d.csum {
		return
	}
	limit := int(binary.LittleEndian.Uint16(b[offset:]))
	count := int(binary.LittleEndian.Uint16(b[offset+2:]))
	crc := c.update(seed, b[:offset+8*count])
	crc = c.update(crc, make([]byte, 8)) // dt_reserved, and dt_checksum as zero
	binary.LittleEndian.PutUint32(b[offset+8*limit+4:], crc)
}

func (d *directory) indexRoot(b []byte, self *node) {
	rest := putDirent(b, self.ino, ".", modeDir, 12)
	putDirent(rest, d.parentIno(self), "..", modeDir, blockSize-12)
	b[28], b[29], b[30] = hashHalfMD4, 8, byte(boolInt(d.nodes > 0))
	if d.nodes == 0 {
		d.putIndex(b[32:], d.rootLimit(), 0, len(d.leaves)-1, 1)
		return
	}
	d.indexEntries(b[32:], d.rootLimit(), d.nodes, func(i int) (uint32, uint32) {
		return d.leafHash(i * d.nodeLimit()), uint32(1 + i)
	})
}

// indexNode fills index block i, a directory block whose one entry is empty.
func (d *directory) indexNode(b []byte, i int) {
	putDirent(b, 0, "", 0, blockSize)
	first := i * d.nodeLimit()
	last := min(first+d.nodeLimit(), len(d.leaves)-1)
	d.putIndex(b[8:], d.nodeLimit(), first, last, 1+d.nodes)
}

// putIndex writes entries for leaves first to last; leaf 0 is block base.
func (d *directory) putIndex(b []byte, limit, first, last, base int) {
	d.indexEntries(b, limit, last-first, func(i int) (uint32, uint32) {
		return d.leafHash(first + i), uint32(base + first + i)
	})
}

func (d *directory) indexEntries(b []byte, limit, count int, at func(i int) (hash, block uint32)) {
	for i := range count {
		hash, block := at(i)
		binary.LittleEndian.PutUint32(b[8*i:], hash)
		binary.LittleEndian.PutUint32(b[8*i+4:], block)
	}
	binary.LittleEndian.PutUint16(b, uint16(limit)) // instead of the first hash
	binary.LittleEndian.PutUint16(b[2:], uint16(count))
}

// leafHash is the lowest hash of a leaf, marked when names of the same hash precede it.
func (d *directory) leafHash(leaf int) uint32 {
	i := d.leaves[leaf]
	hash := d.names[i].hash
	if i > 0 && d.names[i-1].hash == hash {
		hash |= 1
	}
	return hash
}
