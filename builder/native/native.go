// Package native does on the machine that bakes what an emulated processor would take long for.
//
// Some programs of a distribution give the same result on every processor: Python's compiler, depmod. Programs are those
// of the image's own version, built for this machine. They run in a Box: a directory that holds nothing but them and the part
// of the system that they read is the root of their file systems; their user, network and process namespaces are their own
// (user_namespaces(7)), without any capability. Nothing of this machine is visible inside. Where the kernel allows no
// such thing they fail, and the guest does the work.
//
// Supported are the packages pythonX.Y-minimal (from 3.9 on, without -O) and kmod of Debian and derived distributions, on Linux.
package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// Job is what is done, and with what.
type Job struct {
	Programs tree.Tree // and the libraries that they need, for this machine
	System   tree.Tree // packages unpacked, and not configured
	Reader   *tree.Reader
	Dir      string // is empty; on a file system from which programs can run
	Epoch    int64  // the time that new files get, seconds since 1970
}

// Probe runs one of the programs, to know whether this machine allows it.
func Probe(ctx context.Context, j Job) error {
	b, err := NewBox(ctx, j, filepath.Join(j.Dir, "probe"))
	if err != nil {
		return err
	}
	defer b.Close()
	if _, ok := j.Programs.Lookup("usr/sbin/depmod"); ok {
		return b.Run(ctx, nil, "/usr/sbin/depmod", "--version")
	}
	return b.Run(ctx, nil, "/usr/bin/env", "true")
}

// Files collects what programs made: entries whose bytes are in a file. Several goroutines may use it.
type Files struct {
	epoch int64
	blob  *os.File
	mu    sync.Mutex
	size  int64
}

// NewFiles makes the file in dir; r finds it by its name until Close.
func NewFiles(dir string, r *tree.Reader, epoch int64) (*Files, error) {
	blob, err := os.Create(filepath.Join(dir, "made"))
	if err != nil {
		return nil, err
	}
	f := &Files{epoch: epoch, blob: blob}
	r.Add(f.Name(), blob)
	return f, nil
}

// Close is called when nobody reads the entries' contents any more.
func (f *Files) Close() error { return f.blob.Close() }

// Name is what the Reader calls the file: nothing in the store refers to it.
func (f *Files) Name() cas.Digest { return cas.Of([]byte(f.blob.Name())) }

// maxMade is far above any file that is made here: the longest, modules.alias, has 1.3 MB.
const maxMade = 64 << 20

// take copies a file of the box; mode is that of the entry, whatever the umask here is.
func (f *Files) take(b Box, name string, mode uint32) (tree.Entry, error) {
	info, err := b.root.Lstat(name)
	if err != nil {
		return tree.Entry{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxMade {
		return tree.Entry{}, fmt.Errorf("taking %s: it is no file, or has more than %d bytes", name, maxMade)
	}
	in, err := b.root.Open(name)
	if err != nil {
		return tree.Entry{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// By offset: what a copy that fails has left is written over by the next.
	n, err := io.Copy(io.NewOffsetWriter(f.blob, f.size), io.LimitReader(in, maxMade))
	if err := errors.Join(err, in.Close()); err != nil {
		return tree.Entry{}, fmt.Errorf("taking %s: %w", name, err)
	}
	e := tree.Entry{Path: name, Type: tree.File, Mode: mode, MTime: tree.Time{Sec: f.epoch}, Content: tree.BlobContent(f.Name(), f.size, n)}
	f.size += n
	return e, nil
}
