package verify

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lint"
	"github.com/edgebake/edgebake/builder/tree"
)

// Traces says where a secret is on a disk.
type Traces struct {
	// Files that hold it, as PARTITION:/PATH.
	Files []string
	// Freed counts the places where it was written and is in no file any more: blocks of files that
	// were removed. Only who reads the disk as a device finds those.
	Freed int
}

// String is what a check says of it.
func (t Traces) String() string {
	switch {
	case len(t.Files) > 0:
		return "it is in " + strings.Join(t.Files, ", ")
	case t.Freed > 0:
		return fmt.Sprintf("no file of the disk has it (%d free blocks have)", t.Freed)
	}
	return "no file of the disk has it"
}

// Find looks for a secret on the disk of a machine that has powered off: in everything that the
// machine has written, and, when it is there, in the files of all partitions.
func Find(ctx context.Context, d *Disk, secret []byte) (Traces, error) {
	written, err := d.count(ctx, secret)
	if err != nil || written == 0 {
		return Traces{}, err
	}
	img, err := image.New(d, d.Size(), cas.Of(secret))
	if err != nil {
		return Traces{}, fmt.Errorf("looking for a secret: %w", err)
	}
	defer img.Close()
	var t Traces
	for _, p := range img.Partitions() {
		if p.FS != "ext4" && p.FS != "vfat" {
			continue
		}
		files, err := img.Tree(ctx, p.Number)
		if err != nil {
			return Traces{}, fmt.Errorf("looking for a secret: %w", err)
		}
		for _, e := range files.Entries() {
			has, err := holds(ctx, img.Reader(), e, secret)
			if err != nil {
				return Traces{}, fmt.Errorf("looking for a secret in %s: %w", e.Path, err)
			}
			if has {
				t.Files = append(t.Files, fmt.Sprintf("%d:/%s", p.Number, e.Path))
			}
		}
	}
	t.Freed = max(0, written-len(t.Files))
	return t, nil
}

// Secrets lists what the linter finds on the disk of a machine that has powered off: keys that others than
// root may read, tokens, passwords.
func Secrets(ctx context.Context, d *Disk) ([]string, error) {
	img, err := image.New(d, d.Size(), cas.Of(nil))
	if err != nil {
		return nil, fmt.Errorf("looking for secrets: %w", err)
	}
	defer img.Close()
	report, err := lint.Run(ctx, img, lint.Options{Rules: []string{"secrets", "tokens"}, Booted: true})
	if err != nil {
		return nil, fmt.Errorf("looking for secrets: %w", err)
	}
	var found []string
	for _, f := range report.Findings {
		if f.Severity == lint.Error {
			found = append(found, fmt.Sprintf("%s: %s", f.Path, f.Why))
		}
	}
	return found, nil
}

// count counts secret in what was written, also over the borders of neighbouring clusters.
func (d *Disk) count(ctx context.Context, secret []byte) (n int, err error) {
	var kept []byte
	end := int64(-1)
	err = d.Written(func(off int64, data []byte) error {
		if off != end {
			kept = kept[:0]
		}
		kept = append(kept, data...)
		n += bytes.Count(kept, secret)
		kept = append(kept[:0], kept[len(kept)-min(len(kept), len(secret)-1):]...)
		end = off + int64(len(data))
		return ctx.Err()
	})
	if err != nil {
		return 0, fmt.Errorf("looking for a secret: %w", err)
	}
	return n, nil
}

// holds reports whether the content of a file, or the target of a link, has the secret in it.
func holds(ctx context.Context, src *tree.Reader, e tree.Entry, secret []byte) (bool, error) {
	if e.Type != tree.File {
		return strings.Contains(e.Link, string(secret)), nil
	}
	r, err := src.Open(e.Content)
	if err != nil {
		return false, err
	}
	buf := make([]byte, 0, 1<<20)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if bytes.Contains(buf, secret) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		buf = append(buf[:0], buf[len(buf)-min(len(buf), len(secret)-1):]...)
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}
