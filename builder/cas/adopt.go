package cas

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Adopt moves the file at path, which lies on the store's file system (below PartialDir), into
// the store. It reads the file again: when want is not empty and the SHA-256 differs, or size is
// not below zero and differs, the file is removed and the result is a *MismatchError.
func (s *Store) Adopt(path string, want Digest, size int64) (Digest, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("storing download: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return "", fmt.Errorf("storing download: %w", err)
	}
	got := FromSum(sum.Sum(nil))
	if (want != "" && got != want) || (size >= 0 && n != size) {
		_ = os.Remove(path) // the mismatch says more
		return "", &MismatchError{Want: want, Got: got, WantSize: size, GotSize: n}
	}
	return got, s.adoptFile(f, got)
}

func (s *Store) adoptFile(f *os.File, d Digest) error {
	if s.Intact(d) {
		return os.Remove(f.Name())
	}
	if err := f.Chmod(0o444); err != nil {
		return fmt.Errorf("storing %s: %w", d.Short(), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("storing %s: %w", d.Short(), err)
	}
	touch(f.Name())
	if err := os.MkdirAll(filepath.Dir(s.Path(d)), 0o755); err != nil {
		return fmt.Errorf("storing %s: %w", d.Short(), err)
	}
	if err := os.Rename(f.Name(), s.Path(d)); err != nil {
		return fmt.Errorf("storing %s: %w", d.Short(), err)
	}
	return nil
}
