package faulty

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// question is the kernel's struct seccomp_notif, reply its struct seccomp_notif_resp.
type question struct {
	id        uint64
	thread    uint32
	flags     uint32
	number    int32
	arch      uint32
	at        uint64
	arguments [6]uint64
}

type reply struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

// install puts the filter before this thread. A call that the kernel has asked about is only ended by a signal that
// kills: otherwise Go's own signals would make it ask again, and one call would count twice.
func install(p []unix.SockFilter) (listener int, err error) {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	program := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(p)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func (q *question) receive(listener int) error {
	*q = question{} // the kernel wants zeros
	return control(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(q))
}

func (r *reply) send(listener int) error {
	return control(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(r))
}

func control(fd int, request uint, p unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(p))
	if errno != 0 {
		return errno
	}
	return nil
}
