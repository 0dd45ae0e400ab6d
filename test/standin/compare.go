package standin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// Differences tells what a raw image that was baked from another has changed: a line for each
// partition, region and path, in order. Sizes of the disk, of its last partition and of the file
// system there are left out, and so are times: those of directories change with what is in them.
func Differences(ctx context.Context, base, baked string) ([]string, error) {
	a, err := image.Open(base)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	b, err := image.Open(baked)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	c := comparison{base: base, baked: baked}
	if err := c.bootCode(); err != nil {
		return nil, err
	}
	if a.Table() != b.Table() || a.ID() != b.ID() {
		c.say("table: %s %s became %s %s", a.Table(), a.ID(), b.Table(), b.ID())
	}
	before, after := a.Partitions(), b.Partitions()
	if len(before) != len(after) {
		c.say("table: %d partitions became %d", len(before), len(after))
		return c.found, nil
	}
	for i := range before {
		if err := c.partition(ctx, a, b, before[i], after[i], last(before)); err != nil {
			return nil, fmt.Errorf("comparing partition %d: %w", before[i].Number, err)
		}
	}
	return c.found, nil
}

type comparison struct {
	base, baked string
	found       []string
}

func (c *comparison) say(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// last is the number of the partition at the end of the disk, which may grow.
func last(list []image.Partition) int {
	return slices.MaxFunc(list, func(a, b image.Partition) int { return int(a.Start/sector - b.Start/sector) }).Number
}

// bootCode compares the first sector up to the table.
func (c *comparison) bootCode() error {
	same, err := sameRegion(c.base, c.baked, 0, bootCode)
	if err == nil && !same {
		c.say("boot code")
	}
	return err
}

func (c *comparison) partition(ctx context.Context, a, b *image.Image, before, after image.Partition, grows int) error {
	size := before.Size
	if before.Number == grows {
		before.Size = after.Size
	}
	if before != after {
		c.say("partition %d: %+v became %+v", before.Number, before, after)
	}
	if before.FS == "" {
		same, err := sameRegion(c.base, c.baked, before.Start, size)
		if err == nil && !same {
			c.say("partition %d: bytes", before.Number)
		}
		return err
	}
	x, err := a.Tree(ctx, before.Number)
	if err != nil {
		return err
	}
	y, err := b.Tree(ctx, after.Number)
	if err != nil {
		return err
	}
	return c.trees(ctx, before.Number, x, y)
}

func (c *comparison) trees(ctx context.Context, number int, before, after tree.Tree) error {
	src := tree.NewReader(nil)
	for _, path := range []string{c.base, c.baked} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		src.Add(cas.Of([]byte("image "+path)), f) // the name that image.Open gives its bytes
	}
	layers, err := tree.Diff(ctx, src, withoutTimes(before), withoutTimes(after))
	if err != nil {
		return err
	}
	var paths []string
	for _, l := range layers {
		for i := range l.Tree.Len() {
			if line, ok := change(before, l.Tree.At(i)); ok {
				paths = append(paths, line)
			}
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		c.say("partition %d: %s", number, p)
	}
	return nil
}

func withoutTimes(t tree.Tree) tree.Tree {
	entries := t.Entries()
	for i := range entries {
		entries[i].MTime = tree.Time{}
	}
	out, err := tree.New(entries)
	if err != nil {
		return t // it was a tree: it still is one
	}
	return out
}

// change names what a layer does to a path. Directories that are there for what is in them are none.
func change(before tree.Tree, e tree.Entry) (string, bool) {
	was, there := before.Lookup(e.Path)
	switch {
	case e.Type == tree.Whiteout:
		return "/" + e.Path + " removed", true
	case !there:
		return "/" + e.Path + " added", true
	}
	was.MTime = tree.Time{}
	differs := tree.DifferingAttributes(was, e)
	return "/" + e.Path + " changed", e.Type != tree.Dir || len(differs) > 0
}

func sameRegion(base, baked string, at, size int64) (bool, error) {
	a, err := os.Open(base)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(baked)
	if err != nil {
		return false, err
	}
	defer b.Close()
	x, y := io.NewSectionReader(a, at, size), io.NewSectionReader(b, at, size)
	const piece = 1 << 20
	p, q := make([]byte, piece), make([]byte, piece)
	for {
		n, err := io.ReadFull(x, p)
		m, _ := io.ReadFull(y, q) // a shorter image differs in length
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		if n < piece {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = nil
			}
			return true, err
		}
	}
}
