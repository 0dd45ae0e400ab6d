package ext4

import "encoding/binary"

const (
	maxExtentBlocks = 32768 // of an initialised extent
	rootExtents     = 4     // in an inode
	blockExtents    = (blockSize - 12 - 4) / 12
	extentTail      = 12 + 12*blockExtents
)

// extentBlock is a block of an extent tree; data lacks its checksum.
type extentBlock struct {
	physical int64
	data     []byte
}

// extentTree returns the 60 bytes of i_block for rs and the blocks below, page "ifork".
func extentTree(rs []run, a *allocator) (root []byte, blocks []extentBlock) {
	depth := 0
	for len(rs) > rootExtents {
		var parents []run
		for len(rs) > 0 {
			n := min(len(rs), blockExtents)
			b := extentBlock{a.one(), extentNode(rs[:n], depth, blockSize, blockExtents)}
			blocks = append(blocks, b)
			parents = append(parents, run{logical: rs[0].logical, physical: b.physical})
			rs = rs[n:]
		}
		rs, depth = parents, depth+1
	}
	return extentNode(rs, depth, 60, rootExtents), blocks
}

// extentNode encodes a header and its entries: extents at depth 0, else indexes.
func extentNode(rs []run, depth, size, limit int) []byte {
	le := binary.LittleEndian
	b := make([]byte, size)
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[2:], uint16(len(rs)))
	le.PutUint16(b[4:], uint16(limit))
	le.PutUint16(b[6:], uint16(depth))
	for i, r := range rs {
		e := b[12+12*i:]
		le.PutUint32(e, uint32(r.logical))
		if depth > 0 {
			le.PutUint32(e[4:], uint32(r.physical))
			le.PutUint16(e[8:], uint16(r.physical>>32))
			continue
		}
		le.PutUint16(e[4:], uint16(r.n))
		le.PutUint16(e[6:], uint16(r.physical>>32))
		le.PutUint32(e[8:], uint32(r.physical))
	}
	return b
}
