// Package durable puts files in their places whole: whoever looks at a final name at any moment, also after this
// process was killed, finds the old file, no file, or all of the new one. The bytes are on the disk before
// the name is, so that holds for a power cut too.
//
// A partial is a file that is being written, beside its place and under another name. Its process holds a lock on it;
// the next process that writes the same file removes partials that nobody holds.
package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile puts b under path, readable for everybody, in one step.
func WriteFile(path string, b []byte) error {
	return Write(path, func(w io.Writer) error { _, err := w.Write(b); return err })
}

// Write is WriteFile for what is made while it is written.
func Write(path string, content func(io.Writer) error) error {
	dir, name := filepath.Split(path)
	f, err := create(filepath.Clean(dir), "."+name+".")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	err = content(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = Place(f.Name(), path)
	}
	if err = errors.Join(err, f.Close()); err != nil { // its lock is held until it has its name
		_ = os.Remove(f.Name()) // the first fault says more
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// Place gives the file or directory partial, of the same file system, the name path, where a file or nothing is.
func Place(partial, path string) error {
	if err := syncAll(partial); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	return Sync(filepath.Dir(path))
}

// Sync waits until the bytes of the file at path, or the names in the directory, are on the disk.
func Sync(path string) error { return withFile(path, (*os.File).Sync) }

// syncAll is Sync with all that is below a directory.
func syncAll(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.IsDir() { // one call for thousands of files
		return withFile(path, func(f *os.File) error { return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))) })
	}
	return Sync(path)
}

func withFile(path string, do func(*os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = do(f)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // some network file systems cannot sync a directory
	}
	return errors.Join(err, f.Close())
}
