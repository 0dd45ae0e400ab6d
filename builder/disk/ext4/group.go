package ext4

import (
	"encoding/binary"
	"math/bits"
)

// Flags of a group descriptor, page "group_descr".
const (
	bgInodeUninit = 0x1
	bgBlockUninit = 0x2
	bgItableZero  = 0x4
)

// usedInodes counts the reserved inodes too, of which the root is also a node.
func (p *plan) usedInodes() int64 { return int64(firstIno - 2 + len(p.nodes)) }

// countDirs counts the directories of each group.
func (w *writer) countDirs() []int {
	dirs := make([]int, w.geo.groups)
	for _, n := range w.nodes {
		if n.dir != nil {
			dirs[int(n.ino-1)/w.geo.inodesGroup]++
		}
	}
	return dirs
}

// describe computes all group descriptors.
func (w *writer) describe() []byte {
	table := make([]byte, w.geo.descBlocks*blockSize)
	for i, dirs := range w.countDirs() {
		w.describeGroup(i, dirs, table[i*descSize:(i+1)*descSize])
	}
	return table
}

func (w *writer) describeGroup(i, dirs int, d []byte) {
	g, le := w.geo, binary.LittleEndian
	flags := uint16(bgItableZero)
	blocks, free, uninit := w.blockBitmap(i)
	w.freeBlocks += free
	inodes := w.usedInodesOf(i)
	putSplit := func(lo, hi int, v int64) {
		le.PutUint32(d[lo:], uint32(v))
		le.PutUint32(d[hi:], uint32(v>>32))
	}
	putSplit(0x0, 0x20, g.blockBitmap[i])
	putSplit(0x4, 0x24, g.inodeBitmap[i])
	putSplit(0x8, 0x28, g.inodeTable[i])
	le.PutUint16(d[0xC:], uint16(free))
	le.PutUint16(d[0xE:], uint16(int64(g.inodesGroup)-inodes))
	le.PutUint16(d[0x10:], uint16(dirs))
	le.PutUint16(d[0x1C:], uint16(int64(g.inodesGroup)-inodes)) // never used: the tail of the table
	if uninit {
		flags |= bgBlockUninit
	} else {
		w.putBitmapSum(d[0x18:], d[0x38:], blocks)
	}
	if inodes == 0 {
		flags |= bgInodeUninit
	} else {
		w.putBitmapSum(d[0x1A:], d[0x3A:], w.inodeBitmap(inodes)[:g.inodesGroup/8])
	}
	le.PutUint16(d[0x12:], flags)
	if w.o.Checksums == MetadataCsum {
		le.PutUint16(d[0x1E:], w.sum.descriptor(w.seed, i, d))
	} else {
		le.PutUint16(d[0x1E:], descriptor16(w.o.UUID[:], i, d))
	}
}

// putBitmapSum stores the two halves of a bitmap's checksum.
func (w *writer) putBitmapSum(lo, hi, bitmap []byte) {
	if w.o.Checksums == MetadataCsum {
		crc := w.sum.update(w.seed, bitmap)
		binary.LittleEndian.PutUint16(lo, uint16(crc))
		binary.LittleEndian.PutUint16(hi, uint16(crc>>16))
	}
}

// writeBlockBitmap and writeInodeBitmap emit the bitmaps that a group has.
func (w *writer) writeBlockBitmap(i int) error {
	bitmap, _, uninit := w.blockBitmap(i)
	if uninit {
		return nil
	}
	return w.blocks(w.geo.blockBitmap[i], bitmap)
}

func (w *writer) writeInodeBitmap(i int) error {
	used := w.usedInodesOf(i)
	if used == 0 {
		return nil
	}
	return w.blocks(w.geo.inodeBitmap[i], w.inodeBitmap(used))
}

// usedInodesOf counts those of a group.
func (p *plan) usedInodesOf(group int) int64 {
	before := int64(group) * int64(p.geo.inodesGroup)
	return min(max(p.usedInodes()-before, 0), int64(p.geo.inodesGroup))
}

func countBits(b []byte) (n int64) {
	for _, x := range b {
		n += int64(bits.OnesCount8(x))
	}
	return n
}

// blockBitmap returns the bitmap of group i, its free blocks, and whether the bitmap may stay
// unwritten: the kernel then assumes that only the group's own superblock copy is used.
func (w *writer) blockBitmap(i int) (bitmap []byte, free int64, uninit bool) {
	g := w.geo
	bitmap = make([]byte, blockSize)
	first := int64(i) * blocksPerGroup
	last := min(first+blocksPerGroup, g.blocks)
	setBits(bitmap, 0, min(max(w.end-first, 0), last-first))
	for _, s := range g.meta {
		if s.start < last && s.end > first {
			setBits(bitmap, max(s.start, first)-first, min(s.end, last)-first)
		}
	}
	used := countBits(bitmap)
	own := int64(0)
	if hasSuper(i) {
		own = g.superBlocks()
	}
	setBits(bitmap, last-first, blocksPerGroup)
	return bitmap, last - first - used, used == own && i != g.groups-1
}

func (w *writer) inodeBitmap(used int64) []byte {
	bitmap := make([]byte, blockSize)
	setBits(bitmap, 0, used)
	setBits(bitmap, int64(w.geo.inodesGroup), blocksPerGroup)
	return bitmap
}

func setBits(bitmap []byte, from, to int64) {
	for i := from; i < to; i++ {
		if i%8 == 0 && to-i >= 8 {
			bitmap[i/8] = 0xFF
			i += 7
			continue
		}
		bitmap[i/8] |= 1 << (i % 8)
	}
}
