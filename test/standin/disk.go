package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	sector   = 512
	mebibyte = 1 << 20
)

// part is the file system of one partition: exactly one of ext4 and fat is set.
type part struct {
	start int64 // bytes
	tree  tree.Tree
	ext4  *ext4.Options
	fat   *fat.Options
}

// writeDisk makes a sparse raw image: the table by edgebake, as raw regions what boots, and the
// file systems with options that no profile has.
func writeDisk(ctx context.Context, path string, plan disk.Plan, src *tree.Reader, regions map[int64][]byte, parts []part) error {
	if err := disk.Assemble(ctx, path, plan, src, progress.Discard{}); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for at, data := range regions {
		_, werr := f.WriteAt(data, at)
		err = errors.Join(err, werr)
	}
	for _, p := range parts {
		err = errors.Join(err, p.write(ctx, f, src))
	}
	return errors.Join(err, f.Close())
}

func (p part) write(ctx context.Context, f *os.File, src *tree.Reader) error {
	w := io.NewOffsetWriter(f, p.start)
	if p.fat != nil {
		return fat.Write(ctx, w, p.tree, src, *p.fat)
	}
	if err := ext4.Write(ctx, w, p.tree, src, *p.ext4); err != nil {
		return fmt.Errorf("writing %s: %w", p.ext4.Label, err)
	}
	return nil
}
