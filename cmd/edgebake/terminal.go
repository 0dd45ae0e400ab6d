package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// cbreak turns echo and line editing of the terminal off and leaves its signals on, so that Ctrl-C
// still ends edgebake. It returns the state to restore.
func cbreak(fd int) (*term.State, error) {
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Lflag &^= unix.ECHO | unix.ICANON
	t.Iflag &^= unix.ICRNL
	return state, unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
