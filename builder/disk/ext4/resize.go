package ext4

import "encoding/binary"

// The resize inode (number 7) owns the blocks kept behind each copy of the group descriptors, so
// that descriptors can grow online. Its double indirect block points to the reserved blocks of
// the first copy; each of them is an indirect block that lists its counterparts in the other
// copies (lib/ext2fs/res_gdt.c, check_resize_inode of e2fsck).

// resizeSize is the size that covers a whole double indirect tree.
const resizeSize = (addrsPerBlock*addrsPerBlock + addrsPerBlock + 12) * blockSize

func planResize(g *geometry, a *allocator) *node {
	n := &node{ino: resizeIno, mode: modeFile | 0o600, links: 1, size: resizeSize, root: make([]byte, 60)}
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

// writeResize emits the double indirect block and the indirect blocks.
func (w *writer) writeResize() error {
	g := w.geo
	double := make([]byte, blockSize)
	for i := range g.reservedDescs {
		at := 1 + g.descBlocks + i
		binary.LittleEndian.PutUint32(double[4*((g.descBlocks+i)%addrsPerBlock):], uint32(at))
		indirect := make([]byte, blockSize)
		for k, group := range g.supers()[1:] {
			binary.LittleEndian.PutUint32(indirect[4*k:], uint32(at+int64(group)*blocksPerGroup))
		}
		if err := w.out.block(at, indirect); err != nil {
			return err
		}
	}
	return w.out.block(w.resize.runs[0].physical, double)
}
