package artifact

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgebake/edgebake/builder/progress"
)

// Following is the digest of a file that is still being written. It reads behind the writer what will
// not change any more, from the system's memory, so that it is done soon after the writer is.
type Following struct {
	file    *os.File // the writer's goroutine opens it
	settled chan reach
	cancel  context.CancelFunc
	done    chan struct{}
	sum     Artifact
	err     error
}

// reach says that bytes of f will not change any more: those before n.
type reach struct {
	f *os.File
	n int64
}

// Follow begins the digest of a file that will be called name and have size bytes. The caller lets the writer
// call Settled, asks for the digest with Wait, and calls Stop in the end.
func Follow(ctx context.Context, name string, size int64, report progress.Reporter) *Following {
	ctx, cancel := context.WithCancel(ctx)
	f := &Following{settled: make(chan reach, 1), cancel: cancel, done: make(chan struct{}), sum: Artifact{Name: filepath.Base(name), Size: size}}
	go func() {
		defer close(f.done)
		if err := f.run(ctx, report); err != nil {
			f.err = fmt.Errorf("hashing %s while it is written: %w", name, err)
		}
	}()
	return f
}

// Settled says that the first n bytes of f will not change any more. One goroutine calls it, with
// numbers that do not become smaller.
func (f *Following) Settled(file *os.File, n int64) (err error) {
	if f.file == nil { // of our own: the writer closes and renames its file
		if f.file, err = os.Open(file.Name()); err != nil {
			return fmt.Errorf("hashing: %w", err)
		}
	}
	select { // the newest number is all that the reader needs
	case <-f.settled:
	default:
	}
	f.settled <- reach{f.file, n}
	return nil
}

func (f *Following) run(ctx context.Context, report progress.Reporter) (err error) {
	task := report.Task("hash "+f.sum.Name, f.sum.Size, progress.Bytes)
	defer func() { task.Done(err) }()
	h := newHasher(nil, task)
	for h.at < f.sum.Size {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-f.settled:
			h.f = r.f
			if err := h.run(ctx, r.n); err != nil {
				return err
			}
		}
	}
	info, err := h.f.Stat()
	if err == nil && info.Size() != f.sum.Size {
		err = fmt.Errorf("it has %d bytes instead of %d", info.Size(), f.sum.Size) // reading it gave zeros
	}
	f.sum.SHA256 = sumOf(h.hash)
	return err
}

// Wait returns the digest when all bytes are settled and read.
func (f *Following) Wait() (Artifact, error) {
	<-f.done
	return f.sum, f.err
}

// Stop ends the reading, done or not.
func (f *Following) Stop() {
	f.cancel()
	<-f.done
	if f.file != nil {
		_ = f.file.Close() // opened for reading only
	}
}
