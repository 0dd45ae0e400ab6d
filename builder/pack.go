package builder

import (
	"context"
	"fmt"
	"io"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// pack copies the contents that lie in the blob from into one new blob of the store, one after the
// other, and returns the tree that refers to that.
func (c Config) pack(ctx context.Context, t tree.Tree, from cas.Digest, src *tree.Reader) (tree.Tree, error) {
	w, err := c.Store.Create()
	if err != nil {
		return tree.Tree{}, err
	}
	defer w.Abort() // does nothing after Commit
	entries := t.Entries()
	offsets := map[int]int64{}
	for i, e := range entries {
		if err := ctx.Err(); err != nil {
			return tree.Tree{}, err
		}
		if !refersTo(e.Content, from) {
			continue
		}
		offsets[i] = w.Size()
		if err := copyContent(w, e.Content, src); err != nil {
			return tree.Tree{}, fmt.Errorf("keeping /%s: %w", e.Path, err)
		}
	}
	if len(offsets) == 0 {
		return t, nil
	}
	blob, err := w.Commit()
	if err != nil {
		return tree.Tree{}, err
	}
	for i, off := range offsets {
		entries[i].Content = tree.BlobContent(blob, off, entries[i].Content.Size)
	}
	return tree.Take(entries)
}

func refersTo(c tree.Content, blob cas.Digest) bool {
	for _, x := range c.Extents {
		if x.Blob == blob {
			return true
		}
	}
	return false
}

func copyContent(w io.Writer, c tree.Content, src *tree.Reader) error {
	r, err := src.Open(c)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}
