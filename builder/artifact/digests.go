package artifact

import (
	"bytes"
	"crypto/sha256"
	"fmt"
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
	known []record // sorted

	mu   sync.Mutex
	used []record // by this image
	more bool     // something was not known
}

type sum = [sha256.Size]byte

// record is the place of a file's bytes and their digest. It lies in the store as it is.
type record struct{ place, digest sum }

func compareRecords(a, b record) int { return compareSums(a.place, b.place) }

// maxDigests bounds the file: 64 bytes for each of 4 million files.
const maxDigests = 256 << 20

// loadDigests returns what an earlier image of the same packages needed; without a store it knows nothing.
func loadDigests(s Set) *digests {
	d := &digests{store: s.Store, key: cas.Of([]byte(digestsVersion + " " + string(s.Kin)))}
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
	d.known = make([]record, 0, len(text)/(2*sha256.Size))
	for ; len(text) >= 2*sha256.Size; text = text[2*sha256.Size:] {
		d.known = append(d.known, record{sum(text), sum(text[sha256.Size:])})
	}
	return d
}

// find returns where c's bytes are, and their digest when it is known.
func (d *digests) find(c tree.Content) (place, digest sum, ok bool) {
	if d.store == nil || len(c.Extents) == 0 {
		return place, digest, false
	}
	place = placeOf(c)
	i, ok := slices.BinarySearchFunc(d.known, place, func(r record, place sum) int { return compareSums(r.place, place) })
	if ok {
		digest = d.known[i].digest
		d.use(record{place, digest})
	}
	return place, digest, ok
}

// add keeps the digest of what find did not know. A place of zeros is none: find gave none.
func (d *digests) add(place, digest sum) {
	if place == (sum{}) {
		return
	}
	d.use(record{place, digest})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.more = true
}

func (d *digests) use(r record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = append(d.used, r)
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
	slices.SortFunc(d.used, compareRecords)
	for _, r := range slices.CompactFunc(d.used, func(a, b record) bool { return a.place == b.place }) {
		b = append(append(b, r.place[:]...), r.digest[:]...)
	}
	blob, err := d.store.PutBytes(b)
	if err != nil {
		return fmt.Errorf("keeping digests of files: %w", err)
	}
	return d.store.SaveResult(d.key, []byte(blob))
}

func compareSums(a, b sum) int { return bytes.Compare(a[:], b[:]) }
