package tree

import (
	"bytes"
	"fmt"
	"io"

	"github.com/edgebake/edgebake/builder/cas"
)

// Save keeps t in the store as the result of key.
func Save(store *cas.Store, key cas.Digest, t Tree) error {
	var b bytes.Buffer
	if err := Encode(&b, t); err != nil {
		return err
	}
	digest, err := store.PutBytes(b.Bytes())
	if err != nil {
		return fmt.Errorf("keeping a tree: %w", err)
	}
	return store.SaveResult(key, []byte(digest))
}

// Saved returns the tree that was kept under key; ok is false when there is none, or when gc has
// taken something that it refers to, so that it has to be made again.
func Saved(store *cas.Store, key cas.Digest) (t Tree, ok bool) {
	value, ok, err := store.Result(key)
	if err != nil || !ok {
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

func (t Tree) storedIn(store *cas.Store) bool {
	for i := range t.Len() {
		for _, x := range t.At(i).Content.Extents {
			if x.Blob != "" && !store.Has(x.Blob) {
				return false
			}
		}
	}
	return true
}
