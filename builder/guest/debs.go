package guest

import (
	"context"
	"fmt"
	"os"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/tree"
)

// Deb is a package to install with the system's own dpkg.
type Deb struct {
	Package string   // its name
	File    string   // its name on the disk of packages
	Before  []string // packages to configure before it is unpacked: its Pre-Depends
}

// WriteDebs makes the disk of packages, a raw ext4 file system at path, and returns what to put
// into a Job. Packages are repacked without compression, since an emulated xz is slow. epoch is
// the time of the files.
func WriteDebs(ctx context.Context, path string, store *cas.Store, packages []deb.Extracted, epoch int64) ([]Deb, error) {
	now := tree.Time{Sec: epoch}
	b := tree.NewBuilder(now)
	var list []Deb
	for i, p := range packages {
		name, preDepends, err := p.Names()
		if err != nil {
			return nil, err
		}
		content, err := deb.Repack(store, p, epoch)
		if err != nil {
			return nil, fmt.Errorf("repacking package %s: %w", name, err)
		}
		d := Deb{Package: name, File: fmt.Sprintf("%04d-%s.deb", i, name), Before: preDepends}
		b.Add(tree.Entry{Path: d.File, Type: tree.File, Mode: 0o644, MTime: now, Content: content})
		list = append(list, d)
	}
	t, err := b.Tree()
	if err != nil {
		return nil, err
	}
	src := tree.NewReader(store)
	defer src.Close()
	if err := writeDisk(ctx, path, t, src, now); err != nil {
		return nil, fmt.Errorf("writing the disk of packages: %w", err)
	}
	return list, nil
}

func writeDisk(ctx context.Context, path string, t tree.Tree, src *tree.Reader, now tree.Time) error {
	o := ext4.Options{Label: "debs", Time: now, JournalSize: -1, ReservedPercent: -1}
	size, err := ext4.MinSize(t, o)
	if err != nil {
		return err
	}
	o.Size = size
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := ext4.Write(ctx, f, t, src, o); err != nil {
		return err
	}
	return f.Close()
}
