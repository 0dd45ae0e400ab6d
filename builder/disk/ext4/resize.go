package ext4

import "encoding/binary"

// The resize inode (number 7) owns the blocks kept behind each copy of the group descriptors, so
// that descriptors can grow online. Its double indirect block points to the reserved blocks of
// the first copy; each of them is an indirect block that lists its counterparts in the other
// copies (lib/ext2fs/res_gdt.c, check_resize_inode of e2fsck).

// resizeSize is the size that covers a whole double indirect tree.
const resizeSize = (addrsPerBlock*addrsPerBlock + addrsPerBlock + 12) * blockSize

func planResize(g *geometry, a *allocator) *node {
	n := &node{ino: resizeIno, mode: modeFile | 0o600, links: 1, size: resizeSize, entry: -1, root: make([]byte, 60)}
	double := a.one()
	binary.LittleEndian.PutUint32(n.root[4*13:], uint32(double))
	copies := int64(len(g.supers()))
	n.blocks = 1 + g.reservedDescs*copies
	n.runs = []run{{physical: double, n: 1}}
	return n
}

// supers lists the groups with a superblock.
func (g *geometry) supers() (groups []int) {
	for i := range g.groups {
		if hasSuper(i) {
			groups = append(groups, i)
		}
	}
	return groups
}

// writeReserved emits block i of the reserve, an indirect block.
func (w *writer) writeReserved(i int64) error {
	at := 1 + w.geo.descBlocks + i
	b := make([]byte, blockSize)
	for k, group := range w.geo.supers()[1:] {
		binary.LittleEndian.PutUint32(b[4*k:], uint32(at+int64(group)*blocksPerGroup))
	}
	return w.blocks(at, b)
}

// writeDouble emits the double indirect block.
func (w *writer) writeDouble() error {
	b := make([]byte, blockSize)
	for i := range w.geo.reservedDescs {
		at := w.geo.descBlocks + i
		binary.LittleEndian.PutUint32(b[4*(at%addrsPerBlock):], uint32(at+1))
	}
	return w.blocks(w.resize.runs[0].physical, b)
}
