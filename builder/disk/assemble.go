package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// Assemble writes the image of p to path: a sparse file, which appears under that name when it is
// whole. Until then it is path.partial, which a later Assemble takes over. Faults: *SizeError,
// and *ext4.TooSmallError or *fat.TooSmallError for a partition.
func Assemble(ctx context.Context, path string, p Plan, src *tree.Reader, report progress.Reporter) error {
	if err := p.check(); err != nil {
		return err
	}
	f, err := openPartial(path + ".partial")
	if err != nil {
		return err
	}
	err = errors.Join(p.write(ctx, f, src, report), f.Close())
	if err == nil {
		err = replace(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("assembling image %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// replace gives the file from the name to. A rename over an image makes ext4 write out all of the new one first
// (auto_da_alloc, ext4(5)), which takes seconds; where both change their names it does not. So after a power cut the
// image may have holes, until somebody has synced it: package artifact does while it hashes.
func replace(from, to string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err != nil {
		return os.Rename(from, to) // there is none, or the file system can't
	}
	return os.Remove(from)
}

// openPartial opens an empty file that no other process writes.
func openPartial(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("creating image: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("creating image: %s is being written by another process: %w", name, err)
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("creating image: %w", err)
	}
	return f, nil
}

func (p Plan) write(ctx context.Context, f *os.File, src *tree.Reader, report progress.Reporter) error {
	if err := f.Truncate(p.Size); err != nil {
		return err
	}
	if err := p.writeOutside(ctx, f, src, report); err != nil {
		return err
	}
	for i, part := range p.Partitions {
		w := &window{w: f, base: part.Start, size: part.Size, tell: p.Settled, limit: p.untouched(i + 1)}
		if err := part.write(ctx, w, src, report); err != nil {
			return fmt.Errorf("partition %d (%s): %w", part.Number, part.Label, err)
		}
		if err := w.told(w.limit); err != nil {
			return err
		}
	}
	if p.Settled == nil {
		return nil
	}
	return p.Settled(f, p.Size)
}

// untouched is where the first partition begins that is still to be written when i are done.
func (p Plan) untouched(i int) int64 {
	first := p.Size
	for _, part := range p.Partitions[i:] {
		if part.written() {
			first = min(first, part.Start)
		}
	}
	return first
}

// written says that the partition gets a file system.
func (p Partition) written() bool { return p.FS != None && p.FS != "" && !p.kept }

// writeOutside writes what no file system is made for: the table, or all that a base image gives.
func (p Plan) writeOutside(ctx context.Context, f *os.File, src *tree.Reader, report progress.Reporter) error {
	if p.kept == nil {
		return p.writeTable(f)
	}
	var total int64
	for _, r := range p.kept.regions {
		total += r.length
	}
	task := report.Task("base image", total, progress.Bytes)
	err := p.kept.write(ctx, f, src, task.Add)
	task.Done(err)
	return err
}

func (p Partition) write(ctx context.Context, w *window, src *tree.Reader, report progress.Reporter) error {
	if !p.written() {
		return nil
	}
	w.task = report.Task(fmt.Sprintf("partition %d (%s)", p.Number, p.Label), contentSize(p.Tree), progress.Bytes)
	var err error
	switch p.FS {
	case Ext4:
		err = ext4.Write(ctx, w, p.Tree, src, ext4Options(p))
	case VFAT:
		err = fat.Write(ctx, w, p.Tree, src, fatOptions(p))
	default:
		err = fmt.Errorf("file system %q is not known: use ext4, vfat or none", p.FS)
	}
	w.task.Done(err)
	return err
}

func ext4Options(p Partition) ext4.Options {
	o := ext4.Options{Size: p.Size, Label: p.Label, UUID: p.UUID, HashSeed: p.HashSeed, Time: p.Time}
	if p.ext4 != nil {
		o = *p.ext4
	}
	o.NoDelayedAllocation = p.NoDelayedAllocation
	return o
}

func fatOptions(p Partition) fat.Options {
	if p.fat != nil {
		return *p.fat
	}
	return fat.Options{Size: p.Size, Label: p.Label, VolumeID: p.VolumeID(), ClusterSize: p.ClusterSize, Time: p.Time}
}

func contentSize(t tree.Tree) int64 {
	var n int64
	for i := range t.Len() {
		n += t.At(i).Content.Size
	}
	return n
}

// window is one partition of the file; it counts what is written and lets nothing out.
type window struct {
	w    *os.File
	base int64
	size int64
	task progress.Task

	tell    func(f *os.File, n int64) error
	settled int64 // of the file: nothing may be written before it
	limit   int64 // of the file: before it, nothing but this window is still to be written
}

func (w *window) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > w.size {
		return 0, fmt.Errorf("writing %d bytes at %d: the partition has %d", len(p), off, w.size)
	}
	if w.base+off < w.settled {
		return 0, fmt.Errorf("writing %d bytes at %d of the image: what lies before %d was read already", len(p), w.base+off, w.settled)
	}
	n, err := w.w.WriteAt(p, w.base+off)
	w.task.Add(int64(n))
	return n, err
}

// Settled is called by a file system's writer that will write nothing before this byte any more.
func (w *window) Settled(before int64) error { return w.told(min(w.base+before, w.limit)) }

func (w *window) told(n int64) error {
	if w.tell == nil || n <= w.settled {
		return nil
	}
	w.settled = n
	return w.tell(w.w, n)
}
