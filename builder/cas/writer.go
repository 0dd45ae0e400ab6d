package cas

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
)

// Writer takes the bytes of a new blob. Nothing is visible before Commit.
type Writer struct {
	store *Store
	f     *os.File
	hash  hash.Hash
	size  int64
	// lazy leaves it to the system when the bytes reach the disk.
	lazy bool
}

// Create begins a blob. The caller ends it with Commit or Abort; Abort after Commit does nothing.
func (s *Store) Create() (*Writer, error) {
	unguard, err := s.guardTemp()
	if err != nil {
		return nil, err
	}
	defer unguard()
	f, err := os.CreateTemp(s.tmp(), "put-")
	if err != nil {
		return nil, fmt.Errorf("creating blob: %w", err)
	}
	if err := tryLock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("creating blob: %w", err)
	}
	return &Writer{store: s, f: f, hash: sha256.New()}, nil
}

func (w *Writer) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, errors.New("writing to a blob that was committed or aborted")
	}
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Size returns the number of bytes written so far.
func (w *Writer) Size() int64 { return w.size }

func (w *Writer) sum() Digest { return FromSum(w.hash.Sum(nil)) }

// Commit makes the blob visible under its digest.
func (w *Writer) Commit() (Digest, error) {
	if w.f == nil {
		return "", errors.New("committing a blob that was committed or aborted")
	}
	d := w.sum()
	if w.store.Intact(d) { // a damaged one is replaced
		w.Abort()
		return d, nil
	}
	if err := w.publish(w.store.Path(d)); err != nil {
		return "", err
	}
	return d, nil
}

// publish moves the temporary file to path once its bytes are on the disk, so that neither a
// killed process nor a power cut leaves a short file under a final name.
func (w *Writer) publish(path string) error {
	defer w.Abort()
	if err := w.f.Chmod(0o444); err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	if !w.lazy {
		if err := w.f.Sync(); err != nil {
			return fmt.Errorf("storing %s: %w", path, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	if err := os.Rename(w.f.Name(), path); err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	w.f.Close()
	w.f = nil
	return nil
}

// Abort drops what was written.
func (w *Writer) Abort() {
	if w.f == nil {
		return
	}
	_ = os.Remove(w.f.Name()) // gc removes what is left
	w.f.Close()
	w.f = nil
}
