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
	"os"
	"os/exec"
	"runtime"

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
func Run(cmd *exec.Cmd, dir string, decide Decide) error {
	s := &supervisor{dir: dir, decide: decide}
	started, served := make(chan error, 1), make(chan error, 1)
	onThread(func() { started <- s.start(cmd, served) })
	if err := <-started; err != nil {
		return err
	}
	err := cmd.Wait()
	return errors.Join(err, <-served)
}

// onThread runs do on a thread of its own that ends with it. The main thread of a process never ends.
func onThread(do func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			do()
			return // without unlocking: that ends the thread
		}
		defer runtime.UnlockOSThread()
		over := make(chan struct{})
		onThread(func() { defer close(over); do() }) // on another one: this one is taken until then
		<-over
	}()
}

// start forks cmd from this thread, and so gives it this thread's filter.
func (s *supervisor) start(cmd *exec.Cmd, served chan<- error) error {
	listener, err := listen()
	if err != nil {
		return err
	}
	s.listener = listener
	go func() { served <- s.serve() }() // on another thread: this one may have to be answered too
	return cmd.Start()
}

// listen gives this thread a filter, and returns the file that the kernel's questions are read from.
func listen() (*os.File, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("giving up new privileges: %w", err)
	}
	fd, err := install(program())
	if err != nil {
		return nil, fmt.Errorf("asking the kernel to ask about system calls (seccomp user notification, Linux 5.19 or newer, not forbidden by a container's own filter): %w", err)
	}
	return os.NewFile(uintptr(fd), "seccomp"), nil
}
