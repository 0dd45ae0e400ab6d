package faulty

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// A call says where the arguments of a system call name the file that changes.
type call struct {
	name string
	// by is how it is named; at is the index of the first argument that does.
	by naming
	at int
}

type naming int

const (
	byFile naming = iota // the number of an open file
	byPath               // the number of a directory, and a path
)

// calls are all by which a Go program changes files, and the sums of changes (fsync and its like) that can fail as
// late as writes do. Go uses the variants that take a directory on every processor.
func calls() map[uint32]call {
	return map[uint32]call{
		unix.SYS_OPENAT:          {"openat", byPath, 0}, // only to create or to empty
		unix.SYS_MKDIRAT:         {"mkdirat", byPath, 0},
		unix.SYS_UNLINKAT:        {"unlinkat", byPath, 0},
		unix.SYS_RENAMEAT:        {"renameat", byPath, 2},
		unix.SYS_RENAMEAT2:       {"renameat2", byPath, 2},
		unix.SYS_LINKAT:          {"linkat", byPath, 2},
		unix.SYS_SYMLINKAT:       {"symlinkat", byPath, 1},
		unix.SYS_FCHMODAT:        {"fchmodat", byPath, 0},
		unix.SYS_UTIMENSAT:       {"utimensat", byPath, 0},
		unix.SYS_FCHMOD:          {"fchmod", byFile, 0},
		unix.SYS_WRITE:           {"write", byFile, 0},
		unix.SYS_PWRITE64:        {"pwrite64", byFile, 0},
		unix.SYS_WRITEV:          {"writev", byFile, 0},
		unix.SYS_PWRITEV:         {"pwritev", byFile, 0},
		unix.SYS_SENDFILE:        {"sendfile", byFile, 0},
		unix.SYS_COPY_FILE_RANGE: {"copy_file_range", byFile, 2},
		unix.SYS_SPLICE:          {"splice", byFile, 2},
		unix.SYS_FTRUNCATE:       {"ftruncate", byFile, 0},
		unix.SYS_FALLOCATE:       {"fallocate", byFile, 0},
		unix.SYS_FSYNC:           {"fsync", byFile, 0},
		unix.SYS_FDATASYNC:       {"fdatasync", byFile, 0},
		unix.SYS_SYNCFS:          {"syncfs", byFile, 0},
	}
}

// Offsets in struct seccomp_data.
const (
	dataNumber    = 0
	dataArch      = 4
	dataArguments = 16
)

// program is a filter that asks about all calls, and lets the others pass.
func program() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	end := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	unless := func(skip uint8, k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: k}
	}
	p := []unix.SockFilter{load(dataArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch()}, end(unix.SECCOMP_RET_ALLOW), load(dataNumber)}
	for number := range calls() {
		if number == unix.SYS_OPENAT {
			const flags = unix.O_CREAT | unix.O_TRUNC
			p = append(p, unless(4, number), load(dataArguments+2*8),
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: flags}, end(unix.SECCOMP_RET_USER_NOTIF), end(unix.SECCOMP_RET_ALLOW))
			continue
		}
		p = append(p, unless(1, number), end(unix.SECCOMP_RET_USER_NOTIF))
	}
	return append(p, end(unix.SECCOMP_RET_ALLOW))
}

// arch is how the kernel calls this processor; the numbers in calls are its.
func arch() uint32 {
	if runtime.GOARCH == "arm64" {
		return unix.AUDIT_ARCH_AARCH64
	}
	return unix.AUDIT_ARCH_X86_64
}
