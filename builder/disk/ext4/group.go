package ext4

import "encoding/binary"

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

// describe computes all group descriptors and writes the bitmaps of the groups that have any.
func (w *writer) describe() ([]byte, error) {
	g := w.geo
	table := make([]byte, g.descBlocks*blockSize)
	for i, dirs := range w.countDirs() {
		d := table[i*descSize : (i+1)*descSize]
		if err := w.describeGroup(i, dirs, d); err != nil {
			return nil, err
		}
	}
	return table, nil
}

func (w *writer) describeGroup(i, dirs int, d []byte) error {
	g, le := w.geo, binary.LittleEndian
	flags := uint16(bgItableZero)
	blocks, free, uninit := w.blockBitmap(i)
	w.freeBlocks += free
	inodes := min(max(w.usedInodes()-int64(i*g.inodesGroup), 0), int64(g.inodesGroup))
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
	} else if err := w.putBitmap(d[0x18:], d[0x38:], g.blockBitmap[i], blocks, blocksPerGroup/8); err != nil {
		return err
	}
	if inodes == 0 {
		flags |= bgInodeUninit
	} else if err := w.putBitmap(d[0x1A:], d[0x3A:], g.inodeBitmap[i], w.inodeBitmap(inodes), g.inodesGroup/8); err != nil {
		return err
	}
	le.PutUint16(d[0x12:], flags)
	if w.o.Checksums == MetadataCsum {
		le.PutUint16(d[0x1E:], w.sum.descriptor(w.seed, i, d))
	} else {
		le.PutUint16(d[0x1E:], descriptor16(w.o.UUID[:], i, d))
	}
	return nil
}

// putBitmap writes a bitmap to block at, and the two halves of the checksum over n bytes of it.
func (w *writer) putBitmap(lo, hi []byte, at int64, bitmap []byte, n int) error {
	if w.o.Checksums == MetadataCsum {
		crc := w.sum.update(w.seed, bitmap[:n])
		binary.LittleEndian.PutUint16(lo, uint16(crc))
		binary.LittleEndian.PutUint16(hi, uint16(crc>>16))
	}
	return w.out.block(at, bitmap)
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
