package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stagingPrefix begins the names of the directories in which seeds are made.
const stagingPrefix = ".edgebake-seed-"

// lockStaging locks a directory for this process: nobody else has it as long as the file is open. A killed process
// has none.
func lockStaging(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		_ = f.Close() // only read
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return f, nil
}

// newStaging makes a locked directory in parent, and removes those there whose makers were killed: there are tokens
// in them. Another process may take a new one for abandoned until it is locked; then there is another try.
func newStaging(parent string) (dir string, lock *os.File, err error) {
	if err := removeAbandoned(parent); err != nil {
		return "", nil, err
	}
	for {
		if dir, err = os.MkdirTemp(parent, stagingPrefix); err != nil { // mode 0700
			return "", nil, err
		}
		lock, err = lockStaging(dir, unix.LOCK_EX)
		switch {
		case noLocks(err):
			return dir, nil, nil
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", nil, errors.Join(err, os.Remove(dir))
		}
		if _, err := os.Lstat(dir); err == nil {
			return dir, lock, nil
		}
		_ = lock.Close() // of a directory that is gone
	}
}

// noLocks: a file system without locks; what was abandoned on it cannot be told from what is in use.
func noLocks(err error) bool {
	return errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

func removeAbandoned(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), stagingPrefix) || !e.IsDir() {
			continue
		}
		if err := removeUnlocked(filepath.Join(parent, e.Name())); err != nil {
			return fmt.Errorf("removing what a killed run of seed left: %w", err)
		}
	}
	return nil
}

// removeUnlocked removes a directory that is ours, and that no process has locked.
func removeUnlocked(dir string) error {
	lock, err := lockStaging(dir, unix.LOCK_EX|unix.LOCK_NB)
	if noLocks(err) || errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // somebody's
	}
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // only read
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() {
		return nil
	}
	return os.RemoveAll(dir)
}
