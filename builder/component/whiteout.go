package component

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Whiteouts in image layers (image-spec, layer.md; from AUFS).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	aufs     = ".wh..wh."
)

// overlayForm returns a layer's entries as the overlay file system stores them: a removed name is
// a character device 0:0, a directory that hides all below has an extended attribute.
func overlayForm(t tree.Tree) ([]tree.Entry, error) {
	hidden := map[string]bool{} // directories that hide what is below
	for i := range t.Len() {
		dir, base := path.Split(t.At(i).Path)
		dir = path.Clean(dir)
		if base == opaque {
			hidden[dir] = true
			continue
		}
		// A name that the layer removes and makes again as a directory hides the old one.
		if name, ok := strings.CutPrefix(base, whiteout); ok && !strings.HasPrefix(base, aufs) {
			if e, ok := t.Lookup(path.Join(dir, name)); ok && e.Type == tree.Dir {
				hidden[e.Path] = true
			}
		}
	}
	var out []tree.Entry
	for i := range t.Len() {
		e := t.At(i)
		base := path.Base(e.Path)
		if strings.HasPrefix(base, whiteout) {
			w, keep, err := removed(t, e)
			if err != nil {
				return nil, err
			}
			if keep {
				out = append(out, w)
			}
			continue
		}
		e.Xattrs = ownAttributes(e, hidden[e.Path])
		out = append(out, e)
	}
	return out, nil
}

// removed is the device that stands for a removed name.
func removed(t tree.Tree, e tree.Entry) (tree.Entry, bool, error) {
	dir, base := path.Split(e.Path)
	name := strings.TrimPrefix(base, whiteout)
	if strings.HasPrefix(base, aufs) {
		return tree.Entry{}, false, nil // AUFS's own files
	}
	if name == "" || name == "." || name == ".." {
		return tree.Entry{}, false, fmt.Errorf("whiteout %s names nothing", e.Path)
	}
	target := path.Join(dir, name)
	if _, ok := t.Lookup(target); ok {
		return tree.Entry{}, false, nil // the layer has it again
	}
	return tree.Entry{Path: target, Type: tree.CharDevice, UID: e.UID, GID: e.GID, MTime: e.MTime}, true, nil
}

// ownAttributes drops the overlay file system's attributes, which are not an image's to set.
func ownAttributes(e tree.Entry, hides bool) []tree.Xattr {
	out := slices.DeleteFunc(slices.Clone(e.Xattrs), func(x tree.Xattr) bool { return strings.HasPrefix(x.Name, "trusted.overlay.") })
	if hides {
		out = append(out, tree.Xattr{Name: "trusted.overlay.opaque", Value: []byte("y")})
		slices.SortFunc(out, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}
