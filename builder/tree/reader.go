package tree

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/edgebake/edgebake/builder/cas"
)

// Reader opens contents. It keeps blobs open, so that many small files of one blob cost one
// open; Close releases them. It is safe for concurrent use.
type Reader struct {
	store *cas.Store
	mu    sync.Mutex
	open  map[cas.Digest]io.ReaderAt
	close []io.Closer
}

// NewReader reads blobs from store, which may be nil when all contents are inline or added.
func NewReader(store *cas.Store) *Reader {
	return &Reader{store: store, open: map[cas.Digest]io.ReaderAt{}}
}

// Add makes r readable under the name blob, for bytes that are not in the store (an image file
// that was opened by its path). The caller closes r after the Reader.
func (r *Reader) Add(blob cas.Digest, at io.ReaderAt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[blob] = at
}

// Close closes the blobs that the Reader opened itself.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.close {
		_ = c.Close() // opened for reading only: nothing can be lost
	}
	r.close, r.open = nil, map[cas.Digest]io.ReaderAt{}
	return nil
}

// Blob returns a blob for reading at any offset.
func (r *Reader) Blob(d cas.Digest) (io.ReaderAt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.open[d]; ok {
		return at, nil
	}
	if r.store == nil {
		return nil, fmt.Errorf("opening blob %s: no store", d.Short())
	}
	b, err := r.store.Open(d)
	if err != nil {
		return nil, err
	}
	r.open[d], r.close = b, append(r.close, b)
	return b, nil
}

// Open returns the bytes of c from start to end.
func (r *Reader) Open(c Content) (io.Reader, error) {
	if c.Inline != nil || len(c.Extents) == 0 {
		return bytes.NewReader(c.Inline), nil
	}
	parts := make([]io.Reader, 0, len(c.Extents))
	for _, e := range c.Extents {
		if e.Blob == "" {
			parts = append(parts, io.LimitReader(zeros{}, e.Length))
			continue
		}
		at, err := r.Blob(e.Blob)
		if err != nil {
			return nil, err
		}
		parts = append(parts, &fullReader{r: io.NewSectionReader(at, e.Offset, e.Length), want: e.Length, blob: e.Blob})
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return io.MultiReader(parts...), nil
}

// fullReader turns a blob that ends too early into an error.
type fullReader struct {
	r    io.Reader
	want int64
	blob cas.Digest
}

func (f *fullReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.want -= int64(n)
	if err == io.EOF && f.want > 0 {
		return n, fmt.Errorf("reading blob %s: %d bytes are missing at its end", f.blob.Short(), f.want)
	}
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
