package ext4

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/edgebake/edgebake/builder/tree"
)

// Write lays t out as a file system of o.Size bytes in w, which is sparse and zeroed: zeros are
// never written. src opens the contents. A tree that does not fit is a *TooSmallError; nothing is
// written then. Blocks are written in ascending order, each once, by a goroutine that ends before Write does.
// When w has a method Settled(before int64) error it is told there, every now and then, that
// nothing before this byte will be written any more.
func Write(ctx context.Context, w io.WriterAt, t tree.Tree, src *tree.Reader, o Options) error {
	p, err := prepare(t, o)
	if err != nil {
		return err
	}
	if err := p.layout(); err != nil {
		return p.explain(err)
	}
	wr := &writer{plan: p, out: newSink(w), src: src, sum: newChecksummer()}
	wr.seed = wr.sum.fsSeed(o.UUID[:])
	return wr.write(ctx)
}

// explain replaces the first shortage that was met by the whole one.
func (p *plan) explain(err error) error {
	var small *TooSmallError
	if !errors.As(err, &small) {
		return err
	}
	have := p.o.Size
	need, err := p.minSize()
	if err != nil {
		return err
	}
	return &TooSmallError{Need: max(need, have+blockSize), Have: have}
}

// writer emits a plan.
type writer struct {
	*plan
	out        *sink
	src        *tree.Reader
	sum        checksummer
	seed       uint32
	freeBlocks int64
	fixed      []place // that are still to be written
	byIno      []*node // whose inodes are still to be written
}

// place is metadata that lies where the geometry says: block at and those behind it.
type place struct {
	at   int64
	emit func() error
}

func (w *writer) write(ctx context.Context) error {
	err := w.emit(ctx)
	if err == nil {
		err = w.out.flush()
	}
	if closed := w.out.close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("writing ext4: %w", err)
	}
	return nil
}

// emit writes all blocks in ascending order: data as it was allocated, and before each piece of it the metadata
// that lies before it.
func (w *writer) emit(ctx context.Context) error {
	w.byIno = w.inodesInOrder()
	w.fixed = w.places(w.describe())
	for _, step := range []func() error{w.writeDouble, w.writeJournal} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, dirs := range []bool{true, false} { // as layout allocates
		for _, n := range w.nodes {
			if (n.dir != nil) != dirs {
				continue
			}
			if err := w.writeNode(ctx, n); err != nil {
				return fmt.Errorf("%s: %w", w.entryOf(n).Path, err)
			}
		}
	}
	return w.before(math.MaxInt64)
}

// places lists all metadata at fixed places, in order.
func (w *writer) places(table []byte) []place {
	var out []place
	for _, g := range w.geo.supers() {
		out = append(out, place{int64(g) * blocksPerGroup, func() error { return w.writeSuper(g, table) }})
	}
	for i := range w.geo.reservedDescs {
		out = append(out, place{1 + w.geo.descBlocks + i, func() error { return w.writeReserved(i) }})
	}
	for g := range w.geo.groups {
		out = append(out, place{w.geo.blockBitmap[g], func() error { return w.writeBlockBitmap(g) }},
			place{w.geo.inodeBitmap[g], func() error { return w.writeInodeBitmap(g) }},
			place{w.geo.inodeTable[g], func() error { return w.writeInodes(g) }})
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	return out
}

// before writes the metadata that lies before block at.
func (w *writer) before(at int64) error {
	for len(w.fixed) > 0 && w.fixed[0].at < at {
		next := w.fixed[0]
		w.fixed = w.fixed[1:] // first, because next.emit comes here too
		if err := next.emit(); err != nil {
			return err
		}
	}
	return nil
}

// blocks writes whole blocks from block at on, after what lies before them.
func (w *writer) blocks(at int64, b []byte) error {
	if err := w.before(at); err != nil {
		return err
	}
	return w.out.blocks(at, b)
}

func (w *writer) writeSuper(group int, table []byte) error {
	b := make([]byte, blockSize)
	if group == 0 {
		copy(b[1024:], w.superblock(0))
	} else {
		copy(b, w.superblock(group))
	}
	at := int64(group) * blocksPerGroup
	if err := w.blocks(at, b); err != nil {
		return err
	}
	return w.blocks(at+1, table)
}

// inodesInOrder returns all inodes that are written.
func (w *writer) inodesInOrder() []*node {
	nodes := []*node{w.resize}
	if w.log != nil {
		nodes = append(nodes, w.log)
	}
	nodes = append(nodes, w.nodes...)
	slices.SortStableFunc(nodes, func(a, b *node) int { return cmp.Compare(a.ino, b.ino) })
	return nodes
}

// writeInodes emits the used part of a group's inode table.
func (w *writer) writeInodes(group int) error {
	b := make([]byte, blockSize)
	for len(w.byIno) > 0 {
		at, _ := w.inodeAt(w.byIno[0].ino)
		if at >= w.geo.inodeTable[group]+w.geo.tableBlocks {
			return nil
		}
		clear(b)
		for len(w.byIno) > 0 {
			block, offset := w.inodeAt(w.byIno[0].ino)
			if block != at {
				break
			}
			copy(b[offset:], w.encodeInode(w.byIno[0]))
			w.byIno = w.byIno[1:]
		}
		if err := w.blocks(at, b); err != nil {
			return err
		}
	}
	return nil
}

// inodeAt returns the block and the offset in it of an inode.
func (w *writer) inodeAt(ino uint32) (block int64, offset int) {
	group, index := int(ino-1)/w.geo.inodesGroup, int(ino-1)%w.geo.inodesGroup
	return w.geo.inodeTable[group] + int64(index/inodesPerBlock), index % inodesPerBlock * inodeSize
}

func (w *writer) writeJournal() error {
	if w.log == nil {
		return nil
	}
	if err := w.blocks(w.log.runs[0].physical, w.journalSuper()); err != nil {
		return err
	}
	return w.writeIndex(w.log)
}

func (w *writer) writeNode(ctx context.Context, n *node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.writeData(ctx, n); err != nil {
		return err
	}
	if n.attrs != nil && n.attrs.block != nil {
		if err := w.blocks(n.attrs.at, w.sealAttrs(n)); err != nil {
			return err
		}
	}
	return w.writeIndex(n)
}

func (w *writer) writeData(ctx context.Context, n *node) error {
	switch e := w.entryOf(n); {
	case n.dir != nil:
		return w.writeDir(n)
	case e.Type == tree.Symlink && len(n.runs) > 0:
		b := make([]byte, blockSize)
		copy(b, e.Link)
		return w.blocks(n.runs[0].physical, b)
	case e.Type == tree.File:
		return w.writeFile(ctx, n, e.Content)
	}
	return nil
}

func (w *writer) writeDir(n *node) error {
	seed := w.sum.inodeSeed(w.seed, n.ino, 0)
	for _, r := range n.runs {
		for i := range r.n {
			if err := w.blocks(r.physical+i, n.dir.block(r.logical+i, n, w.sum, seed)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile copies the runs of a file from its content.
func (w *writer) writeFile(ctx context.Context, n *node, c tree.Content) error {
	content := cutter{c: c}
	for _, r := range n.runs {
		start := r.logical * blockSize
		end := min(start+r.n*blockSize, n.size)
		in, err := w.src.Open(content.cut(start, end))
		if err != nil {
			return err
		}
		if err := w.before(r.physical); err != nil {
			return err
		}
		if err := w.out.copy(ctx, r.physical, in, end-start); err != nil {
			return err
		}
	}
	return nil
}

// cutter takes parts out of a content, in order.
type cutter struct {
	c  tree.Content
	at int64 // where c.Extents begin
}

// cut returns the bytes from start to end.
func (c *cutter) cut(start, end int64) tree.Content {
	if c.c.Inline != nil {
		return tree.InlineContent(c.c.Inline[start:end])
	}
	for len(c.c.Extents) > 0 && c.at+c.c.Extents[0].Length <= start {
		c.at += c.c.Extents[0].Length
		c.c.Extents = c.c.Extents[1:]
	}
	out := tree.Content{Size: end - start}
	at := c.at
	for _, e := range c.c.Extents {
		if at >= end {
			break
		}
		from, to := max(start, at), min(end, at+e.Length)
		if from < to {
			part := tree.Extent{Blob: e.Blob, Length: to - from}
			if e.Blob != "" {
				part.Offset = e.Offset + from - at
			}
			out.Extents = append(out.Extents, part)
		}
		at += e.Length
	}
	return out
}

func (w *writer) writeIndex(n *node) error {
	seed := w.sum.inodeSeed(w.seed, n.ino, 0)
	for _, x := range n.index {
		if w.o.Checksums == MetadataCsum {
			binary.LittleEndian.PutUint32(x.data[extentTail:], w.sum.update(seed, x.data[:extentTail]))
		}
		if err := w.blocks(x.physical, x.data); err != nil {
			return err
		}
	}
	return nil
}

// sealAttrs returns the attribute block with its checksum, which covers its place.
func (w *writer) sealAttrs(n *node) []byte {
	if w.o.Checksums == MetadataCsum {
		at := binary.LittleEndian.AppendUint64(nil, uint64(n.attrs.at))
		crc := w.sum.update(w.sum.update(w.seed, at), n.attrs.block)
		binary.LittleEndian.PutUint32(n.attrs.block[16:], crc)
	}
	return n.attrs.block
}
