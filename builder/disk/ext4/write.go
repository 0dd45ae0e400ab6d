package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/edgebake/edgebake/builder/tree"
)

// Write lays t out as a file system of o.Size bytes in w, which is sparse and zeroed: zeros are
// never written. src opens the contents. A tree that does not fit is a *TooSmallError; nothing is
// written then. When w has a method Settled(before int64) error it is told, every now and then, that
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
}

// write emits first what lies at fixed places, then the inode tables, then the data, which is
// in the order of its blocks.
func (w *writer) write(ctx context.Context) error {
	steps := []func() error{w.writeSupers, w.writeInodes, w.writeResize, w.writeJournal}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("writing ext4: %w", err)
		}
	}
	nodes := w.inOrder()
	settled := settledBefore(nodes)
	for i, n := range nodes {
		if err := w.writeNode(ctx, n); err != nil {
			return fmt.Errorf("writing ext4: %s: %w", n.entry.Path, err)
		}
		if err := w.out.settle(settled[i+1]); err != nil {
			return fmt.Errorf("writing ext4: %w", err)
		}
	}
	if err := w.out.flush(); err != nil {
		return fmt.Errorf("writing ext4: %w", err)
	}
	return nil
}

// inOrder returns the nodes as their data is written: directories first.
func (w *writer) inOrder() []*node {
	out := make([]*node, 0, len(w.nodes))
	for _, dirs := range []bool{true, false} {
		for _, n := range w.nodes {
			if (n.dir != nil) == dirs {
				out = append(out, n)
			}
		}
	}
	return out
}

// settledBefore returns for each position the first block that the nodes from there on write.
func settledBefore(nodes []*node) []int64 {
	first := make([]int64, len(nodes)+1)
	first[len(nodes)] = math.MaxInt64
	for i := len(nodes) - 1; i >= 0; i-- {
		first[i] = min(first[i+1], nodes[i].firstBlock())
	}
	return first
}

// firstBlock is the lowest block of a node's data, index and attributes.
func (n *node) firstBlock() int64 {
	first := int64(math.MaxInt64)
	for _, r := range n.runs {
		first = min(first, r.physical)
	}
	for _, x := range n.index {
		first = min(first, x.physical)
	}
	if n.attrs != nil {
		first = min(first, n.attrsAt)
	}
	return first
}

func (w *writer) writeSupers() error {
	table, err := w.describe()
	if err != nil {
		return err
	}
	for _, group := range w.geo.supers() {
		b := make([]byte, blockSize)
		if group == 0 {
			copy(b[1024:], w.superblock(0))
		} else {
			copy(b, w.superblock(group))
		}
		at := int64(group) * blocksPerGroup
		if err := w.out.block(at, b); err != nil {
			return err
		}
		if err := w.out.blocks(at+1, table); err != nil {
			return err
		}
	}
	return nil
}

// writeInodes emits the used part of the inode tables.
func (w *writer) writeInodes() error {
	nodes := []*node{w.resize}
	if w.log != nil {
		nodes = append(nodes, w.log)
	}
	nodes = append(nodes, w.nodes...)
	b, at := make([]byte, blockSize), int64(-1)
	for _, n := range sortedByIno(nodes) {
		block, offset := w.inodeAt(n.ino)
		if block != at && at >= 0 {
			if err := w.out.block(at, b); err != nil {
				return err
			}
			clear(b)
		}
		at = block
		copy(b[offset:], w.encodeInode(n))
	}
	return w.out.block(at, b)
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
	if err := w.out.block(w.log.runs[0].physical, w.journalSuper()); err != nil {
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
	if n.attrs != nil {
		if err := w.out.block(n.attrsAt, w.sealAttrs(n)); err != nil {
			return err
		}
	}
	return w.writeIndex(n)
}

func (w *writer) writeData(ctx context.Context, n *node) error {
	switch {
	case n.dir != nil:
		return w.writeDir(n)
	case n.entry.Type == tree.Symlink && len(n.runs) > 0:
		b := make([]byte, blockSize)
		copy(b, n.entry.Link)
		return w.out.block(n.runs[0].physical, b)
	case n.entry.Type == tree.File:
		return w.writeFile(ctx, n)
	}
	return nil
}

func (w *writer) writeDir(n *node) error {
	seed := w.sum.inodeSeed(w.seed, n.ino, 0)
	for _, r := range n.runs {
		for i := range r.n {
			if err := w.out.block(r.physical+i, n.dir.block(r.logical+i, n, w.sum, seed)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile copies the runs of a file from its content.
func (w *writer) writeFile(ctx context.Context, n *node) error {
	for _, r := range n.runs {
		start := r.logical * blockSize
		end := min(start+r.n*blockSize, n.size)
		content, err := w.src.Open(slice(n.entry.Content, start, end))
		if err != nil {
			return err
		}
		if err := w.out.copy(ctx, r.physical, content, end-start); err != nil {
			return err
		}
	}
	return nil
}

// slice returns the bytes of c from start to end.
func slice(c tree.Content, start, end int64) tree.Content {
	if c.Inline != nil {
		return tree.InlineContent(c.Inline[start:end])
	}
	out := tree.Content{Size: end - start}
	var at int64
	for _, e := range c.Extents {
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
		if err := w.out.block(x.physical, x.data); err != nil {
			return err
		}
	}
	return nil
}

// sealAttrs returns the attribute block with its checksum, which covers its place.
func (w *writer) sealAttrs(n *node) []byte {
	if w.o.Checksums == MetadataCsum {
		at := binary.LittleEndian.AppendUint64(nil, uint64(n.attrsAt))
		crc := w.sum.update(w.sum.update(w.seed, at), n.attrs)
		binary.LittleEndian.PutUint32(n.attrs[16:], crc)
	}
	return n.attrs
}
