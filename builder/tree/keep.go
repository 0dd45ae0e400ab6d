package tree

import (
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
)

// Save keeps t in the store as the result of key.
func Save(store *cas.Store, key cas.Digest, t Tree) error {
	w, err := store.Create()
	if err != nil {
		return fmt.Errorf("keeping a tree: %w", err)
	}
	defer w.Abort() // does nothing after Commit
	if err := Encode(w, t); err != nil {
		return err
	}
	digest, err := w.Commit()
	if err != nil {
		return fmt.Errorf("keeping a tree: %w", err)
	}
	return store.SaveResult(key, []byte(digest))
}

// Saved returns the tree that was kept under key; ok is false when there is none, or when something
// that it refers to was taken by gc or is damaged, so that it has to be made again.
func Saved(store *cas.Store, key cas.Digest) (t Tree, ok bool) {
	value, ok, err := store.Result(key)
	if err != nil || !ok || !store.Intact(cas.Digest(value)) {
		return Tree{}, false
	}
	b, err := store.Open(cas.Digest(value))
	if err != nil {
		return Tree{}, false
	}
	defer b.Close()
	t, err = Decode(io.NewSectionReader(b, 0, b.Size()))
	return t, err == nil && t.storedIn(store)
}

// storedIn reports whether the store has all blobs of t, with the right bytes. Hashing them costs
// less than writing them into an image, and an image is a function of its lock.
func (t Tree) storedIn(store *cas.Store) bool {
	blobs := map[cas.Digest]bool{}
	for i := range t.Len() {
		for _, x := range t.At(i).Content.Extents {
			if x.Blob != "" {
				blobs[x.Blob] = true
			}
		}
	}
	var missing atomic.Bool
	var all errgroup.Group
	all.SetLimit(runtime.NumCPU())
	for blob := range blobs {
		all.Go(func() error {
			if !store.Intact(blob) {
				missing.Store(true)
			}
			return nil
		})
	}
	_ = all.Wait() // no error is returned
	return !missing.Load()
}
