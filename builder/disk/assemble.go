package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

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
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("assembling image %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
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
	for _, part := range p.Partitions {
		if err := part.write(ctx, f, src, report); err != nil {
			return fmt.Errorf("partition %d (%s): %w", part.Number, part.Label, err)
		}
	}
	return nil
}

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

func (p Partition) write(ctx context.Context, f *os.File, src *tree.Reader, report progress.Reporter) error {
	if p.FS == None || p.FS == "" || p.kept {
		return nil
	}
	task := report.Task(fmt.Sprintf("partition %d (%s)", p.Number, p.Label), contentSize(p.Tree), progress.Bytes)
	w := &window{w: f, base: p.Start, size: p.Size, task: task}
	var err error
	switch p.FS {
	case Ext4:
		err = ext4.Write(ctx, w, p.Tree, src, ext4Options(p))
	case VFAT:
		err = fat.Write(ctx, w, p.Tree, src, fatOptions(p))
	default:
		err = fmt.Errorf("file system %q is not known: use ext4, vfat or none", p.FS)
	}
	task.Done(err)
	return err
}

func ext4Options(p Partition) ext4.Options {
	if p.ext4 != nil {
		return *p.ext4
	}
	return ext4.Options{Size: p.Size, Label: p.Label, UUID: p.UUID, HashSeed: p.HashSeed, Time: p.Time}
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
	w    io.WriterAt
	base int64
	size int64
	task progress.Task
}

func (w *window) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > w.size {
		return 0, fmt.Errorf("writing %d bytes at %d: the partition has %d", len(p), off, w.size)
	}
	n, err := w.w.WriteAt(p, w.base+off)
	w.task.Add(int64(n))
	return n, err
}
