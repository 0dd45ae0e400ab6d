package cas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Waiting for a lock polls, because a blocking flock(2) cannot be interrupted by a context.
const (
	lockPollFirst = 5 * time.Millisecond
	lockPollLast  = 200 * time.Millisecond
)

func (s *Store) tmp() string { return filepath.Join(s.dir, "tmp") }

// Lock takes the inter-process lock called name and waits for it until ctx ends. The kernel
// releases it when the process dies. It is not re-entrant.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	unlock, err = s.flock(ctx, "name-"+string(Of([]byte(name))), syscall.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("locking %q: %w", name, err)
	}
	return unlock, nil
}

// Hold keeps gc from removing blobs until release is called or the process dies. Any number of
// processes hold a store at once; a bake does for as long as it runs.
func (s *Store) Hold(ctx context.Context) (release func(), err error) {
	release, err = s.flock(ctx, "use", syscall.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("holding the store: %w", err)
	}
	return release, nil
}

// guardTemp keeps gc from seeing an entry of tmp between its creation and its lock.
func (s *Store) guardTemp() (func(), error) {
	if err := s.make(s.tmp()); err != nil {
		return nil, fmt.Errorf("creating store: %w", err)
	}
	return s.flock(context.Background(), "tmp", syscall.LOCK_SH)
}

func (s *Store) flock(ctx context.Context, name string, how int) (func(), error) {
	dir := filepath.Join(s.dir, "locks")
	if err := s.make(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := waitFlock(ctx, f, how); err != nil {
		f.Close()
		return nil, err
	}
	return sync.OnceFunc(func() { f.Close() }), nil
}

func waitFlock(ctx context.Context, f *os.File, how int) error {
	for pause := lockPollFirst; ; pause = min(2*pause, lockPollLast) {
		err := flockNow(f, how)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// tryLock takes the exclusive lock of f or returns EWOULDBLOCK.
func tryLock(f *os.File) error { return flockNow(f, syscall.LOCK_EX) }

func flockNow(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}

// TempDir makes an empty directory below tmp that stays until release is called or the process
// dies and gc comes by. It also holds the store, as Hold does.
func (s *Store) TempDir(prefix string) (dir string, release func(), err error) {
	drop, err := s.Hold(context.Background())
	if err != nil {
		return "", nil, err
	}
	dir, f, err := s.lockedDir(prefix)
	if err != nil {
		drop()
		return "", nil, fmt.Errorf("creating temporary directory: %w", err)
	}
	return dir, sync.OnceFunc(func() {
		_ = os.RemoveAll(dir) // gc removes what is left
		f.Close()
		drop()
	}), nil
}

func (s *Store) lockedDir(prefix string) (string, *os.File, error) {
	unguard, err := s.guardTemp()
	if err != nil {
		return "", nil, err
	}
	defer unguard()
	dir, err := os.MkdirTemp(s.tmp(), "dir-"+filepath.Base(prefix)+"-")
	if err != nil {
		return "", nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	if err := tryLock(f); err != nil {
		f.Close()
		return "", nil, err
	}
	return dir, f, nil
}
