package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/progress"
)

// maxLock bounds the lock, as package lock does.
const maxLock = 32 << 20

// Lock returns the content of the lock file, which has its digest in the index.
func (b *Bundle) Lock() (name string, data []byte, err error) {
	for _, f := range b.Index.Files {
		if f.Path != b.Index.Lock {
			continue
		}
		if f.Size > maxLock {
			return "", nil, fmt.Errorf("reading %s of %s: it has %d bytes, more than %d", f.Path, b.path, f.Size, maxLock)
		}
		var out bytes.Buffer
		err := b.copy(&out, f)
		return filepath.Join(b.path, f.Path), out.Bytes(), err
	}
	return "", nil, fmt.Errorf("reading %s: it has no lock", b.path) // ParseIndex has seen to it
}

// Import brings the requests that the store lacks out of the bundle into the store, and returns
// how many that were. What the bundle does not have it leaves to a download. A file that is not
// what the request wants is a *DamagedError, and nothing of it is kept.
func (b *Bundle) Import(ctx context.Context, store *cas.Store, requests []fetch.Request, report progress.Reporter) (int, error) {
	files := map[cas.Digest]File{}
	for _, f := range b.Index.Files {
		files[f.SHA256] = f
	}
	task := report.Task("inputs of "+b.path, int64(len(requests)), progress.Items)
	imported := 0
	err := func() error {
		for _, r := range requests {
			task.Add(1)
			f, ok := files[r.Digest]
			if !ok || store.Intact(r.Digest) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := b.store(store, f, r); err != nil {
				return err
			}
			imported++
		}
		return nil
	}()
	task.Done(err)
	return imported, err
}

func (b *Bundle) store(store *cas.Store, f File, r fetch.Request) error {
	in, err := b.open(f.Path)
	if err != nil {
		return &DamagedError{Bundle: b.path, File: f.Path, Cause: err}
	}
	defer in.Close()
	err = store.PutVerified(in, r.Digest, r.Size)
	var wrong *cas.MismatchError
	if errors.As(err, &wrong) {
		return &DamagedError{Bundle: b.path, File: f.Path, Want: r.Digest, Got: wrong.Got}
	}
	return err
}

// HasGo reports whether the bundle has Go modules.
func (b *Bundle) HasGo() bool {
	for _, f := range b.Index.Files {
		if strings.HasPrefix(f.Path, GoDir+"/") {
			return true
		}
	}
	return false
}

// ExtractGo writes the Go modules into dir, which then is what a GOPROXY serves.
func (b *Bundle) ExtractGo(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("extracting Go modules of %s: %w", b.path, err)
	}
	defer root.Close()
	for _, f := range b.Index.Files {
		name, ok := strings.CutPrefix(f.Path, GoDir+"/")
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.extract(root, name, f); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bundle) extract(root *os.Root, name string, f File) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("extracting Go modules of %s: %w", b.path, err)
	}
	out, err := root.Create(name)
	if err != nil {
		return fmt.Errorf("extracting Go modules of %s: %w", b.path, err)
	}
	err = b.copy(out, f)
	return errors.Join(err, out.Close())
}

// copy writes a file's bytes to w and compares them with the index.
func (b *Bundle) copy(w io.Writer, f File) error {
	in, err := b.open(f.Path)
	if err != nil {
		return &DamagedError{Bundle: b.path, File: f.Path, Cause: err}
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(in, f.Size+1))
	if err != nil {
		return fmt.Errorf("reading %s of %s: %w", f.Path, b.path, err)
	}
	if got := cas.FromSum(sum.Sum(nil)); got != f.SHA256 || n != f.Size {
		return &DamagedError{Bundle: b.path, File: f.Path, Want: f.SHA256, Got: got}
	}
	return nil
}
