// Package faulty lets changes of files go wrong under a program that knows nothing of it: a full disk, a failing
// one, a process that is killed.
//
// The kernel asks this package about every system call by which the program, in any of its threads, changes a file
// below a directory (seccomp's user notification, seccomp_unotify(2)). An Op is one such call. An Answer
// says what comes of it. Processes that the program starts are left alone. The program is what users run: static,
// without a hook, and no file system has to be mounted. Neither root nor a privilege is needed; Linux 5.19 or newer is.
package faulty

import (
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Op is a call that changes a file, and has not been carried out yet.
type Op struct {
	Call string // its name in the kernel's table
	Path string // the file that changes or appears, from the directory on
}

func (o Op) String() string { return o.Call + " " + o.Path }

// Answer is what comes of an Op. The zero value lets it happen.
type Answer struct {
	// Errno makes it fail, without any effect.
	Errno unix.Errno
	// Kill kills the whole program before it happens.
	Kill bool
	// Half writes the first half of what a write was to write, before the program is killed or (with an Errno)
	// instead of it: the program then hears of half. Calls that write nothing know no half.
	Half bool
}

// Decide answers the program's calls, one after the other, in the order in which the kernel has them.
type Decide func(Op) Answer

// Run starts cmd, lets decide answer for what it changes below dir, and waits until it and all that it has started
// are gone. The error is that of (*exec.Cmd).Wait, or says why the kernel does not allow it.
//
// This process starts itself as a launcher, which turns into the program: Launch has to be what it does first.
func Run(cmd *exec.Cmd, dir string, decide Decide) error {
	socket, err := launchWith(cmd)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := errors.Join(cmd.Start(), cmd.ExtraFiles[0].Close()); err != nil {
		return fmt.Errorf("starting the launcher: %w", err)
	}
	listener, err := receiveListener(socket)
	if err != nil {
		return errors.Join(err, cmd.Wait()) // what the launcher has said is in cmd's Stderr
	}
	s := &supervisor{dir: dir, decide: decide, listener: listener, pid: cmd.Process.Pid}
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	return errors.Join(cmd.Wait(), <-served)
}
