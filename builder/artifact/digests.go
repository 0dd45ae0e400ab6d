package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

const digestsVersion = "artifact.digests/1"

// digests are SHA-256s of files by where in the store's blobs their bytes are. A blob's bytes never change
// and whoever hands blobs on has verified them, so what was hashed for one image need not be for the next.
type digests struct {
	store *cas.Store
	key   cas.Digest
	known map[sum]cas.Digest

	mu   sync.Mutex
	used map[sum]cas.Digest // by this image
	more bool               // something was not known
}

type sum = [sha256.Size]byte

// maxDigests bounds the file: 64 bytes for each of 4 million files.
const maxDigests = 256 << 20

// loadDigests returns what an earlier image of the same packages needed; without a store it knows nothing.
func loadDigests(s Set) *digests {
	d := &digests{store: s.Store, key: cas.Of([]byte(digestsVersion + " " + string(s.Kin))), known: map[sum]cas.Digest{}, used: map[sum]cas.Digest{}}
	if s.Store == nil {
		return d
	}
	blob, ok, err := s.Store.Result(d.key)
	if err != nil || !ok {
		return d
	}
	text, err := s.Store.ReadAll(cas.Digest(blob), maxDigests) // verifies it
	if err != nil {
		return d
	}
	for ; len(text) >= 2*sha256.Size; text = text[2*sha256.Size:] {
		d.known[sum(text)] = cas.FromSum(text[sha256.Size : 2*sha256.Size])
	}
	return d
}

// of returns the digest of c, hashed now when it is not known.
func (d *digests) of(h *contentHasher, src *tree.Reader, c tree.Content) (cas.Digest, error) {
	if d.store == nil || len(c.Extents) == 0 {
		return h.sum(src, c)
	}
	place := placeOf(c)
	got, ok := d.known[place]
	if !ok {
		var err error
		if got, err = h.sum(src, c); err != nil {
			return "", err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[place] = got
	d.more = d.more || !ok
	return got, nil
}

func placeOf(c tree.Content) sum {
	var b []byte
	for _, e := range c.Extents {
		b = fmt.Appendf(b, "%s %d %d\n", e.Blob, e.Offset, e.Length)
	}
	return sha256.Sum256(b)
}

// save keeps what this image needed.
func (d *digests) save() error {
	if d.store == nil || !d.more {
		return nil
	}
	var b []byte
	for _, place := range slices.SortedFunc(maps.Keys(d.used), compareSums) {
		b = append(b, place[:]...)
		b, _ = hex.AppendDecode(b, []byte(d.used[place])) // it was made by FromSum
	}
	blob, err := d.store.PutBytes(b)
	if err != nil {
		return fmt.Errorf("keeping digests of files: %w", err)
	}
	return d.store.SaveResult(d.key, []byte(blob))
}

func compareSums(a, b sum) int { return bytes.Compare(a[:], b[:]) }
