package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// claim makes the output directory and keeps every other edgebake from writing into it until
// release is called or the process dies. It is asked for before the long work begins.
func claim(dir string) (release func(), err error) {
	const remedy = "name another directory with -o"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making output directory: %w; %s", err, remedy)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("preparing to write into %s: %w; %s", dir, err, remedy)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening output directory: %w; %s", err, remedy)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("claiming output directory %s: another edgebake writes into it; wait for its end, or %s", dir, remedy)
	}
	// Some network file systems cannot lock a directory: there two bakes are not kept apart.
	return func() { f.Close() }, nil
}
