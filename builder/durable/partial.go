package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const suffix = ".partial"

// create makes an empty partial whose name begins so, and removes those of processes that were killed.
func create(dir, prefix string) (*os.File, error) {
	sweep(dir, prefix)
	for {
		f, err := os.CreateTemp(dir, prefix+"*"+suffix)
		if err != nil {
			return nil, err
		}
		if hold(f) {
			return f, nil
		}
		_ = f.Close() // another process swept it before it was locked
	}
}

// hold locks a partial, unless it is gone or going. Where a file system has no locks nobody sweeps either.
func hold(f *os.File) bool {
	if err := lock(f); err != nil {
		return !errors.Is(err, unix.EWOULDBLOCK)
	}
	mine, err := f.Stat()
	if err != nil {
		return true
	}
	there, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || os.SameFile(mine, there)
}

// sweep is only tidy: what it cannot remove hinders nobody.
func sweep(dir, prefix string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), suffix) {
			removeLeft(filepath.Join(dir, e.Name()))
		}
	}
}

// removeLeft removes a partial that no process holds.
func removeLeft(path string) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if lock(f) == nil {
		_ = os.Remove(path)
	}
}

func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
