package cas

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// DamagedError says that a blob's bytes changed since it was stored: a disk that fails, or a hand
// that wrote to it. Got is empty when the bytes could not be read.
type DamagedError struct {
	Path      string
	Want, Got Digest
	Cause     error
}

func (e *DamagedError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("reading blob %s: %v; removed it", e.Path, e.Cause)
	}
	return fmt.Sprintf("reading blob %s: its SHA-256 is %s now and was %s; removed it", e.Path, e.Got, e.Want)
}

func (e *DamagedError) Unwrap() error { return e.Cause }

// OnDamage sets who is told of blobs that were found damaged. It is called before the Store is used.
func (s *Store) OnDamage(tell func(*DamagedError)) { s.damaged = tell }

// Intact reports whether the blob is there with the bytes that it was stored with, and marks it
// as used. A damaged one is removed, so that whoever needs it makes or fetches it again. Each blob
// is hashed once in the life of the Store.
func (s *Store) Intact(d Digest) bool {
	if _, known := s.intact.Load(d); known {
		return s.Has(d)
	}
	if err := s.check(d); err != nil {
		return false
	}
	s.intact.Store(d, true)
	touch(s.Path(d))
	return true
}

// check hashes a blob: nil, a *NotFoundError, or a *DamagedError for one that it removed.
func (s *Store) check(d Digest) error {
	damage := &DamagedError{Path: s.Path(d), Want: d}
	damage.Got, damage.Cause = s.hashBlob(d)
	if errors.Is(damage.Cause, fs.ErrNotExist) {
		return &NotFoundError{Digest: d}
	}
	if damage.Cause == nil && damage.Got == d {
		return nil
	}
	if s.damaged != nil {
		s.damaged(damage)
	}
	return s.drop(damage)
}

// drop removes a damaged blob. Where nothing can be removed nothing can be stored either.
func (s *Store) drop(damage *DamagedError) error {
	_ = os.Remove(damage.Path)
	s.intact.Delete(damage.Want)
	return damage
}

// hashBlob is the digest that a blob has now.
func (s *Store) hashBlob(d Digest) (Digest, error) {
	f, err := os.Open(s.Path(d))
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Size() >= largeBlob {
		return s.hashLarge(f, info.Size(), d)
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return FromSum(h.Sum(nil)), nil
}

// hashLarge hashes a large blob as a whole once, and from then on in pieces.
func (s *Store) hashLarge(f *os.File, size int64, d Digest) (Digest, error) {
	if s.checkPieces(f, size, d) {
		return d, nil
	}
	got, sums, err := hashPieces(f, size)
	if err == nil && got == d {
		_ = s.SaveResult(piecesKey(d), sums) // only a help: without it the next check takes longer
	}
	return got, err
}
