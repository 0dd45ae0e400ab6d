package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Diff returns the layers that make after out of before: one of whiteouts, then one of entries.
// Either is left out when it would be empty. Contents with different references are compared by
// their bytes, several at once; a file whose bytes are the same keeps before's reference. Names
// of one inode go together: a change to the set of its names brings all of them.
func Diff(ctx context.Context, src *Reader, before, after Tree) ([]Layer, error) {
	same, err := sameBytes(ctx, src, before, after)
	if err != nil {
		return nil, err
	}
	changed := changedPaths(before, after, same)
	removed := Layer{Name: "removed", Tree: removals(before, after)}
	added := Layer{Name: "changed", Tree: additions(before, after, changed, same)}
	return slices.DeleteFunc([]Layer{removed, added}, func(l Layer) bool { return l.Tree.Len() == 0 }), nil
}

// Equal reports whether two readings of contents give the same bytes.
func Equal(src *Reader, a, b Content) (bool, error) {
	at, err := Mismatch(src, a, b)
	return at < 0, err
}

// Mismatch returns the offset of the first byte that differs, or -1 when there is none.
// When one content is the beginning of the other it is the shorter one's size.
func Mismatch(src *Reader, a, b Content) (int64, error) {
	if sameReference(a, b) {
		return -1, nil
	}
	ra, err := src.Open(a)
	if err != nil {
		return 0, err
	}
	rb, err := src.Open(b)
	if err != nil {
		return 0, err
	}
	n := min(compareSize, max(a.Size, b.Size)+1)
	bufA, bufB := make([]byte, n), make([]byte, n)
	for at := int64(0); ; {
		na, errA := io.ReadFull(ra, bufA)
		nb, errB := io.ReadFull(rb, bufB)
		if err := errors.Join(unexpected(errA), unexpected(errB)); err != nil {
			return 0, err
		}
		if !bytes.Equal(bufA[:na], bufB[:nb]) {
			return at + firstDifference(bufA[:na], bufB[:nb]), nil
		}
		if errA != nil || errB != nil {
			return -1, nil
		}
		at += int64(na)
	}
}

const compareSize = 128 << 10

func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func firstDifference(a, b []byte) int64 {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return int64(i)
		}
	}
	return int64(n)
}

func sameReference(a, b Content) bool {
	return a.Size == b.Size && bytes.Equal(a.Inline, b.Inline) && slices.Equal(a.Extents, b.Extents)
}

// sameBytes returns, for each path that is a file with the same size in both trees, whether the
// bytes agree.
func sameBytes(ctx context.Context, src *Reader, before, after Tree) (map[string]bool, error) {
	var pairs []int32 // places in after
	for i, e := range after.entries {
		old, ok := before.Lookup(e.Path)
		old, e = inodeOf(before, old), inodeOf(after, e)
		if ok && e.Type == File && old.Type == File && e.Content.Size == old.Content.Size {
			pairs = append(pairs, int32(i))
		}
	}
	verdicts := make([]bool, len(pairs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, at := range pairs {
		e := inodeOf(after, after.entries[at])
		old, _ := before.Lookup(e.Path)
		old = inodeOf(before, old)
		if sameReference(old.Content, e.Content) {
			verdicts[i] = true
			continue
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			equal, err := Equal(src, old.Content, e.Content)
			if err != nil {
				return fmt.Errorf("comparing %s: %w", e.Path, err)
			}
			verdicts[i] = equal
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	same := make(map[string]bool, len(pairs))
	for i, at := range pairs {
		same[after.entries[at].Path] = verdicts[i]
	}
	return same, nil
}

// inodeOf returns e, or for a hard link the file it names, under e's path.
func inodeOf(t Tree, e Entry) Entry {
	if e.Type != Hardlink {
		return e
	}
	file, _ := t.Lookup(e.Link)
	file.Path = e.Path
	return file
}

// groups maps each name of an inode that has several to all of them, in order.
func groups(t Tree) map[string][]string {
	byFile := map[string][]string{}
	for _, e := range t.entries {
		if e.Type == Hardlink {
			byFile[e.Link] = append(byFile[e.Link], e.Path)
		}
	}
	out := map[string][]string{}
	for file, links := range byFile {
		all := append([]string{file}, links...)
		slices.SortFunc(all, ComparePaths)
		for _, p := range all {
			out[p] = all
		}
	}
	return out
}

func changedPaths(before, after Tree, same map[string]bool) map[string]bool {
	oldGroups, newGroups := groups(before), groups(after)
	changed := map[string]bool{}
	for _, e := range after.entries {
		old, ok := before.Lookup(e.Path)
		differs := !ok || !sameEntry(inodeOf(before, old), inodeOf(after, e), same[e.Path]) ||
			!slices.Equal(oldGroups[e.Path], newGroups[e.Path])
		if !differs {
			continue
		}
		changed[e.Path] = true
		for _, p := range newGroups[e.Path] {
			changed[p] = true
		}
	}
	return changed
}

func sameEntry(a, b Entry, sameContent bool) bool {
	if a.Type == File && !sameContent {
		return false
	}
	return len(DifferingAttributes(a, b)) == 0
}

// DifferingAttributes names the attributes in which a and b differ, contents aside, in a fixed
// order: type, mode, uid, gid, mtime, link, device, xattrs.
func DifferingAttributes(a, b Entry) []string {
	var out []string
	note := func(name string, differs bool) {
		if differs {
			out = append(out, name)
		}
	}
	note("type", a.Type != b.Type)
	note("mode", a.Mode != b.Mode && a.Type != Symlink) // the mode of a link has no meaning
	note("uid", a.UID != b.UID)
	note("gid", a.GID != b.GID)
	note("mtime", a.MTime != b.MTime)
	note("link", a.Link != b.Link)
	note("device", a.Major != b.Major || a.Minor != b.Minor)
	note("xattrs", !slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y Xattr) bool {
		return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
	}))
	return out
}

// removals returns whiteouts for what is gone and for directories that became something else, or
// the other way round, with the directories above them.
func removals(before, after Tree) Tree {
	keep, gone := map[string]bool{}, map[string]bool{}
	for _, e := range before.entries {
		now, ok := after.Lookup(e.Path)
		if (ok && (now.Type == Dir) == (e.Type == Dir)) || underAny(e.Path, gone) {
			continue
		}
		gone[e.Path] = true
		keepWithParents(keep, e.Path)
	}
	return pick(before, keep, func(e Entry) Entry {
		if gone[e.Path] {
			return Entry{Path: e.Path, Type: Whiteout}
		}
		return e
	})
}

func additions(before, after Tree, changed, same map[string]bool) Tree {
	keep := map[string]bool{}
	for p := range changed {
		keepWithParents(keep, p)
	}
	return pick(after, keep, func(e Entry) Entry {
		if e.Type == File && same[e.Path] {
			old, _ := before.Lookup(e.Path)
			e.Content = inodeOf(before, old).Content
		}
		return e
	})
}

func keepWithParents(keep map[string]bool, p string) {
	for ; p != "." && !keep[p]; p = path.Dir(p) {
		keep[p] = true
	}
	keep["."] = true
}

func pick(t Tree, keep map[string]bool, f func(Entry) Entry) Tree {
	var out []Entry
	for _, e := range t.entries {
		if keep[e.Path] {
			out = append(out, f(e))
		}
	}
	return Tree{entries: out}
}
