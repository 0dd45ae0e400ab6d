package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// runsOf returns where the bytes of an inode lie, in order and without holes. Unwritten extents
// read as zeros, so they are holes too.
func (w *walk) runsOf(in inode) ([]run, error) {
	m := &mapper{walk: w, end: ceilDiv(in.size, w.fs.bs)}
	var err error
	if in.flags&flagExtents != 0 {
		err = m.extents(in.block[:], -1)
	} else {
		err = m.blockMap(in.block[:])
	}
	if err != nil {
		return nil, fmt.Errorf("mapping inode %d: %w", in.number, err)
	}
	return m.runs, nil
}

// mapper collects the runs of one inode.
type mapper struct {
	*walk
	runs []run
	next int64 // first logical block that may come next
	end  int64 // blocks of the file
}

// add appends n blocks, joined with those before if they continue them.
func (m *mapper) add(logical, physical, n int64) error {
	if logical < m.next || physical < 1 || physical > m.fs.blocks-n {
		return fmt.Errorf("its blocks %d to %d lie at %d, out of order or beyond the end", logical, logical+n-1, physical)
	}
	m.next = logical + n
	if n = min(n, m.end-logical); n <= 0 {
		return nil // kept beyond the end of the file
	}
	if k := len(m.runs) - 1; k >= 0 && m.runs[k].logical+m.runs[k].n == logical && m.runs[k].physical+m.runs[k].n == physical {
		m.runs[k].n += n
		return nil
	}
	m.runs = append(m.runs, run{logical, physical, n})
	return m.take(runCost)
}

// extents reads a node of an extent tree, page "ifork"; depth is what its parent demands, or -1.
func (m *mapper) extents(b []byte, depth int) error {
	le := binary.LittleEndian
	count, own := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	if le.Uint16(b) != extentMagic || count > (len(b)-12)/12 || own > maxTreeDepth || depth >= 0 && own != depth {
		return fmt.Errorf("an extent node is damaged (magic %#x, %d entries, depth %d)", le.Uint16(b), count, own)
	}
	for i := range count {
		e := b[12+12*i:][:12]
		var err error
		if own == 0 {
			err = m.extent(e)
		} else {
			err = m.child(int64(le.Uint32(e[4:]))|int64(le.Uint16(e[8:]))<<32, own-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) extent(e []byte) error {
	le := binary.LittleEndian
	logical, n := int64(le.Uint32(e)), int64(le.Uint16(e[4:]))
	physical := int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32
	if n > maxExtentBlocks { // unwritten
		m.next = max(m.next, logical+n-maxExtentBlocks)
		return nil
	}
	return m.add(logical, physical, n)
}

func (m *mapper) child(at int64, depth int) error {
	b := make([]byte, m.fs.bs)
	if err := m.spend(at, b); err != nil {
		return err
	}
	return m.extents(b, depth)
}

// spend reads a block of metadata that belongs to one inode. All of them together cannot be more
// than the file system has blocks: a hostile image that shares them ends here.
func (m *mapper) spend(at int64, b []byte) error {
	if m.budget -= int64(len(b)) / m.fs.bs; m.budget < 0 {
		return fmt.Errorf("its metadata is larger than the file system: blocks are used twice")
	}
	return m.fs.readBlock(at, b)
}

// blockMap reads the twelve direct and three indirect pointers of ext2 and ext3.
func (m *mapper) blockMap(b []byte) error {
	var logical int64
	for i := range 15 {
		if logical >= m.end {
			return nil
		}
		at := int64(binary.LittleEndian.Uint32(b[4*i:]))
		n, err := m.pointer(logical, at, max(i-11, 0))
		if err != nil {
			return err
		}
		logical += n
	}
	return nil
}

// pointer follows a pointer of some level of indirection and returns the blocks it stands for.
func (m *mapper) pointer(logical, at int64, level int) (int64, error) {
	n := int64(1)
	for range level {
		n *= m.fs.bs / 4
	}
	if at == 0 || logical >= m.end {
		return n, nil
	}
	if level == 0 {
		return n, m.add(logical, at, 1)
	}
	b := make([]byte, m.fs.bs)
	if err := m.spend(at, b); err != nil {
		return 0, err
	}
	for i := range m.fs.bs / 4 {
		part := n / (m.fs.bs / 4)
		if _, err := m.pointer(logical+i*part, int64(binary.LittleEndian.Uint32(b[4*i:])), level-1); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// content returns the bytes of a file as extents of the image.
func (w *walk) content(in inode) (tree.Content, error) {
	if in.flags&flagInlineData != 0 {
		b, err := in.inline()
		return tree.InlineContent(b), err
	}
	runs, err := w.runsOf(in)
	if err != nil || in.size == 0 {
		return tree.Content{}, err
	}
	c := tree.Content{Size: in.size}
	var at int64
	for _, r := range runs {
		start := r.logical * w.fs.bs
		if start > at {
			c.Extents = append(c.Extents, tree.Extent{Length: start - at})
		}
		n := min(r.n*w.fs.bs, in.size-start)
		c.Extents = append(c.Extents, tree.Extent{Blob: w.blob, Offset: w.base + r.physical*w.fs.bs, Length: n})
		at = start + n
	}
	if at < in.size {
		c.Extents = append(c.Extents, tree.Extent{Length: in.size - at})
	}
	return c, nil
}

// bytes returns the first n bytes of an inode's content, zeros where it has none.
func (w *walk) bytes(in inode, n int64) ([]byte, error) {
	out := make([]byte, n)
	if in.flags&flagInlineData != 0 {
		b, err := in.inline()
		copy(out, b)
		return out, err
	}
	runs, err := w.runsOf(in)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		start := r.logical * w.fs.bs
		if start >= n {
			break
		}
		if err := w.fs.readBlock(r.physical, out[start:min(n, start+r.n*w.fs.bs)]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
