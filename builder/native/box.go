package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/tree"
)

// Box is a directory in which programs run.
type Box struct {
	dir  string
	root *os.Root
}

// NewBox makes the directory and puts the job's programs into it.
func NewBox(ctx context.Context, j Job, dir string) (Box, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return Box{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Box{}, err
	}
	b := Box{dir: dir, root: root}
	if err := b.Put(ctx, j.Programs, j.Reader, func(e tree.Entry) bool { return !strings.HasPrefix(e.Path, "usr/share/") }); err != nil {
		return Box{}, errors.Join(err, root.Close())
	}
	return b, nil
}

// Close removes the box.
func (b Box) Close() error { return errors.Join(b.root.Close(), os.RemoveAll(b.dir)) }

// Put writes the entries that want takes, and directories above them. What is there already is replaced by files, and stays otherwise.
func (b Box) Put(ctx context.Context, t tree.Tree, src *tree.Reader, want func(tree.Entry) bool) error {
	for i := range t.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e := t.At(i); want(e) {
			if err := b.put(e, src); err != nil {
				return fmt.Errorf("writing %s: %w", e.Path, err)
			}
		}
	}
	return nil
}

// put ignores owners, devices and the like: no program here looks at them.
func (b Box) put(e tree.Entry, src *tree.Reader) error {
	name := strings.TrimSuffix(e.Path, ".dpkg-new") // a configuration file, as dpkg unpacks it
	if err := b.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch e.Type {
	case tree.Dir:
		return b.root.MkdirAll(name, 0o755)
	case tree.Symlink:
		return ifAbsent(b.root.Symlink(e.Link, name))
	case tree.Hardlink:
		return ifAbsent(b.root.Link(e.Link, name))
	case tree.File:
		return b.file(name, e, src)
	}
	return nil
}

func ifAbsent(err error) error {
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

func (b Box) file(name string, e tree.Entry, src *tree.Reader) error {
	in, err := src.Open(e.Content)
	if err != nil {
		return err
	}
	f, err := b.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600|os.FileMode(e.Mode&0o777))
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, in); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	at := time.Unix(e.MTime.Sec, int64(e.MTime.Nsec))
	return b.root.Chtimes(name, at, at)
}

// has reports whether there is something of that name.
func (b Box) has(name string) bool {
	_, err := b.root.Lstat(name)
	return err == nil
}

// nobody is who programs are, in their own eyes: not root, so that they have no capabilities.
const nobody = 65534

const (
	// niceness as in nice(1). The guest comes first: all wait for it.
	niceness = 10
	// runTimeout is far above the seconds that a program takes.
	runTimeout = 10 * time.Minute
	// maxMemory is what a process may have, and maxFile its longest file, in bytes: Python compiles with some 60 MB, depmod needs as much
	// as all modules have, some 300 MB.
	maxMemory = 4 << 30
	maxFile   = 1 << 30
)

// Run starts a program, named by its path in the box, in the environment of a maintainer script in the guest.
// A program that ends with another code than 0 gives an *exec.ExitError.
func (b Box) Run(ctx context.Context, stdin io.Reader, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var output bytes.Buffer
	cmd := b.command(ctx, program, args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &output, &output
	err := cmd.Start()
	if err == nil {
		restrain(cmd.Process.Pid)
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("running %s in a box: %w: %s", program, err, lastLine(output.String()))
	}
	return nil
}

// restrain keeps a process, and those that it starts from now on, from taking all of the machine. It may have ended.
func restrain(pid int) {
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, niceness)
	_ = unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: maxMemory, Max: maxMemory}, nil)
	_ = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: maxFile, Max: maxFile}, nil)
}

func (b Box) command(ctx context.Context, program string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Path, cmd.Err, cmd.Dir = program, nil, "/" // as in the box
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C", "LANG=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: b.dir,
		// Not CLONE_NEWNS: a copy of this machine's mounts would keep them from being unmounted in the meantime.
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getgid(), Size: 1}},
		Setpgid:     true, Pdeathsig: syscall.SIGKILL,
	}
	return cmd
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
