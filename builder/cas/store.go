package cas

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Store is a directory of blobs and small stage results. Its layout:
//
//	blobs/ab/cdef...    read-only content, named by its SHA-256
//	results/ab/cdef...  small values, named by the digest of what they were computed from
//	tmp/                work of running processes, each entry held by a lock
//	tmp/partial/        unverified downloads that a later process resumes
//	locks/              lock files, never removed
//	CACHEDIR.TAG        says that this is a store, and to backup programs that it is a cache
//
// All methods are safe for use by several goroutines and by several processes at once.
type Store struct {
	dir     string
	intact  sync.Map // Digest: hashed by this process and found good
	damaged func(*DamagedError)
}

// NotFoundError says that the store has no blob of that name.
type NotFoundError struct{ Digest Digest }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("blob %s is not in the store; fetch or bake again to get it back", e.Digest)
}

// Is makes errors.Is(err, fs.ErrNotExist) true.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// MismatchError says that bytes are not the ones that were asked for. Sizes are in bytes;
// a size below zero is unknown.
type MismatchError struct {
	Name              string
	Want, Got         Digest
	WantSize, GotSize int64
}

func (e *MismatchError) Error() string {
	name := e.Name
	if name == "" {
		name = "content"
	}
	if e.WantSize >= 0 && e.WantSize != e.GotSize {
		return fmt.Sprintf("%s has %d bytes or more instead of %d (SHA-256 wanted %s)",
			name, e.GotSize, e.WantSize, e.Want)
	}
	return fmt.Sprintf("%s has SHA-256 %s instead of %s (%d bytes)", name, e.Got, e.Want, e.GotSize)
}

// LimitError says that a blob is larger than its reader allows.
type LimitError struct {
	Digest      Digest
	Size, Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("blob %s has %d bytes, more than the %d that are read at once", e.Digest.Short(), e.Size, e.Limit)
}

// DefaultDir returns $EDGEBAKE_STORE, else $XDG_CACHE_HOME/edgebake, else ~/.cache/edgebake.
func DefaultDir(getenv func(string) string) string {
	if dir := getenv("EDGEBAKE_STORE"); dir != "" {
		return dir
	}
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "edgebake")
	}
	return filepath.Join(getenv("HOME"), ".cache", "edgebake")
}

// Open returns the store in dir. Directories are made when they are first needed. A directory with
// things in it that are not a store's is a *ForeignError: gc would remove what is in its tmp.
func Open(dir string) (*Store, error) {
	if dir == "" {
		return nil, fmt.Errorf("opening store: no directory given; set --store or EDGEBAKE_STORE")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if err := checkDir(abs); err != nil {
		return nil, err
	}
	return &Store{dir: abs}, nil
}

// Dir returns the absolute path of the store.
func (s *Store) Dir() string { return s.dir }

// Path returns where the blob is or would be. A blob is read-only; nobody may change it.
func (s *Store) Path(d Digest) string { return s.fanOut("blobs", d) }

func (s *Store) fanOut(kind string, d Digest) string {
	if _, err := ParseDigest(string(d)); err != nil {
		return filepath.Join(s.dir, kind, "none", "none")
	}
	return filepath.Join(s.dir, kind, string(d[:2]), string(d[2:]))
}

// Has reports whether the blob is there, and marks it as used.
func (s *Store) Has(d Digest) bool {
	info, err := os.Stat(s.Path(d))
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	touch(s.Path(d))
	return true
}

// touch marks a file as used now, for gc. A read-only store works too, so it may go wrong.
func touch(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// Put stores what r gives and returns its digest and size.
func (s *Store) Put(r io.Reader) (Digest, int64, error) {
	w, err := s.Create()
	if err != nil {
		return "", 0, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return "", 0, fmt.Errorf("storing content: %w", err)
	}
	d, err := w.Commit()
	return d, w.Size(), err
}

// PutBytes stores b.
func (s *Store) PutBytes(b []byte) (Digest, error) {
	d := Of(b)
	if s.Intact(d) {
		return d, nil
	}
	d, _, err := s.Put(bytes.NewReader(b))
	return d, err
}

// PutVerified stores what r gives if its SHA-256 is want and, when size is not below zero, its
// size is size; otherwise it keeps nothing and returns a *MismatchError. It reads at most one
// byte more than size.
func (s *Store) PutVerified(r io.Reader, want Digest, size int64) error {
	w, err := s.Create()
	if err != nil {
		return err
	}
	defer w.Abort()
	if size >= 0 {
		r = io.LimitReader(r, size+1)
	}
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("storing %s: %w", want.Short(), err)
	}
	if got := w.sum(); got != want || (size >= 0 && w.Size() != size) {
		return &MismatchError{Want: want, Got: got, WantSize: size, GotSize: w.Size()}
	}
	_, err = w.Commit()
	return err
}

// Blob is an open blob: random access to bytes that do not change.
type Blob struct {
	f    *os.File
	size int64
}

// Open opens a blob, or returns a *NotFoundError. The blob stays readable when gc removes it.
func (s *Store) Open(d Digest) (*Blob, error) {
	f, err := os.Open(s.Path(d))
	if os.IsNotExist(err) {
		return nil, &NotFoundError{Digest: d}
	}
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d.Short(), err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening blob %s: %w", d.Short(), err)
	}
	touch(f.Name())
	return &Blob{f: f, size: info.Size()}, nil
}

func (b *Blob) ReadAt(p []byte, off int64) (int, error) { return b.f.ReadAt(p, off) }

// Close releases the file.
func (b *Blob) Close() error { return b.f.Close() }

// Size returns the number of bytes.
func (b *Blob) Size() int64 { return b.size }

// Reader returns a new reader of the whole blob, independent of other readers.
func (b *Blob) Reader() *io.SectionReader { return io.NewSectionReader(b.f, 0, b.size) }

// ReadAll returns a blob of at most limit bytes and checks its digest again: see DamagedError.
func (s *Store) ReadAll(d Digest, limit int64) ([]byte, error) {
	b, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.size > limit {
		return nil, &LimitError{Digest: d, Size: b.size, Limit: limit}
	}
	data := make([]byte, b.size)
	if _, err := io.ReadFull(b.Reader(), data); err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d.Short(), err)
	}
	if got := Of(data); got != d {
		return nil, s.drop(&DamagedError{Path: s.Path(d), Want: d, Got: got})
	}
	return data, nil
}

// Result returns the value saved under key and whether there is one. Blobs that the value names
// may have been removed since; ask Has.
func (s *Store) Result(key Digest) ([]byte, bool, error) {
	path := s.fanOut("results", key)
	value, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading stage result %s: %w", key.Short(), err)
	}
	touch(path)
	return value, true, nil
}

// SaveResult saves value under key, atomically; the last of several writers wins.
func (s *Store) SaveResult(key Digest, value []byte) error {
	if _, err := ParseDigest(string(key)); err != nil {
		return fmt.Errorf("saving stage result: %w", err)
	}
	w, err := s.Create()
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(value); err != nil {
		return fmt.Errorf("saving stage result %s: %w", key.Short(), err)
	}
	return w.publish(s.fanOut("results", key))
}
