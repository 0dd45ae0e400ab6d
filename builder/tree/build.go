package tree

import (
	"path"
	"slices"
	"strings"
)

// Builder collects entries for a Tree. Directories that are missing above an added entry appear
// by themselves with mode 0755, owner root and the Builder's time. It is not for concurrent use.
type Builder struct {
	time    Time
	entries map[string]Entry
	implied map[string]bool
}

// NewBuilder returns a Builder that holds nothing; t is the time of directories it adds itself.
func NewBuilder(t Time) *Builder {
	return &Builder{time: t, entries: map[string]Entry{}, implied: map[string]bool{}}
}

// Add puts e in; an entry of the same path that was added before is replaced.
func (b *Builder) Add(e Entry) {
	b.entries[e.Path] = e
	delete(b.implied, e.Path)
	for p := e.Path; p != "." && p != "/" && p != ""; {
		p = path.Dir(p)
		if _, ok := b.entries[p]; ok {
			return
		}
		b.entries[p] = Entry{Path: p, Type: Dir, Mode: 0o755, MTime: b.time}
		b.implied[p] = true
	}
}

// AddDefault puts in an entry that counts only where a Merge finds none of its path below: for a
// directory that is what "mkdir -p" does. An entry of the path that was added before stays.
func (b *Builder) AddDefault(e Entry) {
	if _, ok := b.entries[e.Path]; ok && !b.implied[e.Path] {
		return
	}
	b.Add(e)
	b.implied[e.Path] = true
}

// Tree returns what was added so far.
func (b *Builder) Tree() (Tree, error) {
	if len(b.entries) == 0 {
		b.entries["."] = Entry{Path: ".", Type: Dir, Mode: 0o755, MTime: b.time}
		b.implied["."] = true
	}
	list := make([]Entry, 0, len(b.entries))
	for _, e := range b.entries { // Take sorts
		list = append(list, e)
	}
	return Take(list)
}

// Layer returns what was added so far as a layer whose implied directories do not change the
// attributes of directories that are below it in a Merge.
func (b *Builder) Layer(name string) (Layer, error) {
	t, err := b.Tree()
	if err != nil {
		return Layer{}, err
	}
	implied := make(map[string]bool, len(b.implied))
	for p := range b.implied {
		implied[p] = true
	}
	return Layer{Name: name, Tree: t, implied: implied}, nil
}

// With returns t with entries added, as a Builder adds them: they replace those of the same paths, and directories that are
// missing above them appear with the time now. It needs far less memory than a Builder with all of t.
func With(t Tree, now Time, added ...Entry) (Tree, error) {
	b := NewBuilder(now)
	for _, e := range added {
		b.Add(e)
	}
	out := make([]Entry, 0, len(t.entries)+len(b.entries))
	for _, e := range t.entries {
		if _, ok := b.entries[e.Path]; !ok || b.implied[e.Path] {
			out = append(out, e)
			delete(b.entries, e.Path)
		}
	}
	for _, e := range b.entries { // Take sorts
		out = append(out, e)
	}
	return Take(out)
}

// Sub returns the tree below the directory dir, which becomes the root. It is the empty Tree
// when dir is not a directory of t. Hard links to files outside become files of their own.
func Sub(t Tree, dir string) Tree {
	if dir == "." {
		return t
	}
	kept := Filter(t, func(e Entry) bool { return within(e.Path, dir) || isAncestor(e.Path, dir) })
	var out []Entry
	for _, e := range kept.entries {
		if !within(e.Path, dir) {
			continue
		}
		e.Path = reroot(e.Path, dir)
		if e.Type == Hardlink {
			e.Link = reroot(e.Link, dir)
		}
		out = append(out, e)
	}
	if len(out) == 0 || out[0].Type != Dir {
		return Tree{}
	}
	return Tree{entries: out}
}

// Without returns t without the given paths and everything below them.
func Without(t Tree, paths ...string) Tree {
	gone := make(map[string]bool, len(paths))
	for _, p := range paths {
		gone[p] = true
	}
	return Filter(t, func(e Entry) bool { return !underAny(e.Path, gone) })
}

// Filter returns the entries of t that keep wants. What is below a directory that is not kept
// goes with it. When the file that hard links name goes, the first link becomes the file.
func Filter(t Tree, keep func(Entry) bool) Tree {
	dirs := map[string]bool{} // that are kept
	out := make([]Entry, 0, len(t.entries))
	for _, e := range t.entries {
		if (e.Path == "." || dirs[path.Dir(e.Path)]) && keep(e) {
			if e.Type == Dir {
				dirs[e.Path] = true
			}
			out = append(out, e)
		}
	}
	kept := Tree{entries: out}      // paths do not change below
	promoted := map[string]string{} // the file that went, and the link that took its place
	for i, e := range out {
		if e.Type != Hardlink {
			continue
		}
		if _, ok := kept.Lookup(e.Link); ok {
			continue
		}
		if p, ok := promoted[e.Link]; ok {
			out[i].Link = p
			continue
		}
		file, _ := t.Lookup(e.Link)
		promoted[e.Link] = e.Path
		file.Path = e.Path
		out[i] = file
	}
	if len(out) < len(t.entries)/2 {
		out = slices.Clone(out) // a small part of t does not hold the room for all
	}
	return Tree{entries: slices.Clip(out)}
}

func within(p, dir string) bool {
	return dir == "." || p == dir || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

func isAncestor(p, dir string) bool { return p == "." || within(dir, p) }

func reroot(p, dir string) string {
	if p == dir {
		return "."
	}
	return p[len(dir)+1:]
}

// underAny reports whether p or one of its parents is in set.
func underAny(p string, set map[string]bool) bool {
	for ; p != "."; p = path.Dir(p) {
		if set[p] {
			return true
		}
	}
	return set["."]
}
