package native

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Depmod makes the lists of a kernel's modules (depmod(8)), which the kernel's package makes when it is configured. version is as in
// usr/lib/modules/VERSION. The entries are those that the system does not have.
func Depmod(ctx context.Context, j Job, version string, out *Files) ([]tree.Entry, error) {
	dir := path.Join("usr/lib/modules", version)
	b, err := NewBox(ctx, j, filepath.Join(j.Dir, "depmod"))
	if err != nil {
		return nil, err
	}
	defer b.Close()
	err = b.Put(ctx, j.System, j.Reader, func(e tree.Entry) bool {
		return strings.HasPrefix(e.Path, dir+"/") || strings.HasPrefix(e.Path, "usr/lib/depmod.d/")
	})
	if err != nil {
		return nil, err
	}
	if err := b.Run(ctx, nil, "/usr/sbin/depmod", version); err != nil {
		return nil, err
	}
	list, err := fs.ReadDir(b.root.FS(), dir)
	if err != nil {
		return nil, err
	}
	var made []tree.Entry
	for _, f := range list {
		if _, ok := j.System.Lookup(path.Join(dir, f.Name())); ok {
			continue
		}
		e, err := out.take(b, path.Join(dir, f.Name()), 0o644)
		if err != nil {
			return nil, fmt.Errorf("keeping what depmod made: %w", err)
		}
		made = append(made, e)
	}
	return made, nil
}
