package faulty

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// supervisor answers the kernel for one program and all that it starts.
type supervisor struct {
	dir      string
	decide   Decide
	listener *os.File
	pid      int // of the program
}

// serve ends when nobody is left who could ask.
func (s *supervisor) serve() error {
	defer s.listener.Close()
	fd, table := int(s.listener.Fd()), calls()
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for system calls: %w", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents != 0 {
				return nil
			}
			continue
		}
		var q question
		switch err := q.receive(fd); {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR):
			continue // who asked was killed meanwhile
		case err != nil:
			return fmt.Errorf("receiving a system call: %w", err)
		}
		r, answered := s.answer(q, table[uint32(q.number)])
		if !answered {
			continue
		}
		if err := r.send(fd); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("answering a system call: %w", err)
		}
	}
}

// answer returns what the caller hears; nobody hears anything when it was killed.
func (s *supervisor) answer(q question, c call) (r reply, answered bool) {
	r = reply{id: q.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if !s.ours(int(q.thread)) {
		return r, true
	}
	path, err := c.path(q)
	below, ok := strings.CutPrefix(path, s.dir+"/")
	if err != nil || !ok {
		return r, true // a pipe, /dev/null, or a path that the kernel will not like either
	}
	a := s.decide(Op{c.name, below})
	written := 0
	if a.Half {
		written = c.half(s.pid, q)
	}
	switch {
	case a.Kill:
		_ = unix.Kill(s.pid, unix.SIGKILL) // it waits for us, so it lives
		return r, false
	case written > 0:
		return reply{id: q.id, value: int64(written)}, true
	case a.Errno != 0:
		return reply{id: q.id, errno: -int32(a.Errno)}, true
	}
	return r, true
}

// ours reports whether the thread is one of the program, and not of what the program started.
func (s *supervisor) ours(thread int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", s.pid, thread))
	return err == nil
}

// path is the absolute name of the file that the call changes.
func (c call) path(q question) (string, error) {
	number := int32(q.arguments[c.at])
	if c.by == byFile || q.arguments[c.at+1] == 0 { // futimens(3) has no path
		return os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", q.thread, number))
	}
	name, err := textAt(int(q.thread), uintptr(q.arguments[c.at+1]))
	if err != nil || filepath.IsAbs(name) {
		return filepath.Clean(name), err
	}
	from := fmt.Sprintf("/proc/%d/cwd", q.thread)
	if number != unix.AT_FDCWD {
		from = fmt.Sprintf("/proc/%d/fd/%d", q.thread, number)
	}
	dir, err := os.Readlink(from)
	return filepath.Join(dir, name), err
}

// textAt reads a string of another process.
func textAt(pid int, address uintptr) (string, error) {
	const page = 4096 // what is readable ends at the end of a page, if not behind the text
	var text []byte
	for len(text) < unix.PathMax {
		part := make([]byte, page-int(address)%page)
		if err := memory(pid, address, part); err != nil {
			return "", err
		}
		if end := bytes.IndexByte(part, 0); end >= 0 {
			return string(append(text, part[:end]...)), nil
		}
		text = append(text, part...)
		address += uintptr(len(part))
	}
	return "", unix.ENAMETOOLONG
}

func memory(pid int, address uintptr, p []byte) error {
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: address, Len: len(p)}}, 0)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	return err
}

// half carries out the first half of a write for the program, through the file that it has open, and returns how
// many bytes that were.
func (c call) half(pid int, q question) int {
	length := int(q.arguments[2]) / 2
	if c.name != "write" && c.name != "pwrite64" || length == 0 {
		return 0
	}
	p := make([]byte, length)
	if memory(pid, uintptr(q.arguments[1]), p) != nil {
		return 0
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(process)
	file, err := unix.PidfdGetfd(process, int(q.arguments[0]), 0)
	if err != nil {
		return 0
	}
	defer unix.Close(file)
	var n int
	if c.name == "write" {
		n, err = unix.Write(file, p) // moves the offset, which both share
	} else {
		n, err = unix.Pwrite(file, p, int64(q.arguments[3]))
	}
	if err != nil {
		return 0
	}
	return n
}
