package deb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// extractVersion is part of the key under which an extracted package is remembered.
const extractVersion = "deb.extract/1"

// Extracted is a package whose data archive lies uncompressed in the store, so that a tree can
// refer to its files without copying them.
type Extracted struct {
	// Control are the members of control.tar, sorted by name, "control" among them.
	Control []ControlMember `json:"control"`
	// Data is the uncompressed data.tar.
	Data     cas.Digest `json:"data"`
	DataSize int64      `json:"dataSize"`
}

// ControlMember is one file of control.tar: control, md5sums, postinst ...
type ControlMember struct {
	Name string `json:"name"`
	Mode uint32 `json:"mode"`
	Data []byte `json:"data"`
}

// Member returns the control member of that name.
func (e Extracted) Member(name string) ([]byte, bool) {
	for _, m := range e.Control {
		if m.Name == name {
			return m.Data, true
		}
	}
	return nil, false
}

// Extract decompresses the data archive of a .deb of the store into the store, once.
func Extract(ctx context.Context, store *cas.Store, blob cas.Digest) (Extracted, error) {
	key := cas.Of([]byte(extractVersion + "\n" + string(blob)))
	if saved, ok, err := store.Result(key); err == nil && ok {
		var e Extracted
		if json.Unmarshal(saved, &e) == nil && store.Intact(e.Data) {
			return e, nil
		}
	}
	e, err := extract(store, blob)
	if err != nil {
		return Extracted{}, err
	}
	value, err := json.Marshal(e)
	if err != nil {
		return Extracted{}, err
	}
	return e, store.SaveResult(key, value)
}

func extract(store *cas.Store, blob cas.Digest) (Extracted, error) {
	b, err := store.Open(blob)
	if err != nil {
		return Extracted{}, err
	}
	defer b.Close()
	f, err := Open(b, b.Size())
	if err != nil {
		return Extracted{}, err
	}
	control, err := f.ControlFiles()
	if err != nil {
		return Extracted{}, err
	}
	var e Extracted
	for name, c := range control {
		e.Control = append(e.Control, ControlMember{Name: name, Mode: uint32(c.Mode), Data: c.Data})
	}
	slices.SortFunc(e.Control, func(a, b ControlMember) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	data, err := f.Data()
	if err != nil {
		return Extracted{}, err
	}
	defer data.Close()
	e.Data, e.DataSize, err = store.Put(data)
	return e, err
}

// ExtractAll extracts many packages on jobs cores; done is called after each.
func ExtractAll(ctx context.Context, store *cas.Store, blobs []cas.Digest, jobs int, done func()) ([]Extracted, error) {
	out := make([]Extracted, len(blobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, jobs))
	for _, i := range largestFirst(store, blobs) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if out[i], err = Extract(ctx, store, blobs[i]); err != nil {
				return fmt.Errorf("unpacking package %s: %w", blobs[i].Short(), err)
			}
			done()
			return nil
		})
	}
	return out, g.Wait()
}

// largestFirst are the indexes of blobs. A kernel, a third of an image's bytes, would keep one core busy alone if it were last.
func largestFirst(store *cas.Store, blobs []cas.Digest) []int {
	sizes, order := make([]int64, len(blobs)), make([]int, len(blobs))
	for i, blob := range blobs {
		order[i] = i
		if info, err := os.Stat(store.Path(blob)); err == nil { // one that is missing is somebody else's fault to report
			sizes[i] = info.Size()
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	return order
}

// Tree returns the package's files as its data archive has them.
func (e Extracted) Tree(src *tree.Reader) (tree.Tree, error) {
	at, err := src.Blob(e.Data)
	if err != nil {
		return tree.Tree{}, err
	}
	return tree.FromTar(e.Data, at, e.DataSize)
}
