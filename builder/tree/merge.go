package tree

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Layer is a Tree with a name for messages; it may hold whiteouts. Its entries are laid over the
// layers before it.
type Layer struct {
	Name string
	Tree Tree
	// implied are entries that count only where none is below: directories that nobody described,
	// and what Builder.AddDefault was given.
	implied map[string]bool
}

// CollisionError says that two layers want the same path to be different kinds of things.
type CollisionError struct {
	Path         string
	Below, Above string // names of the layers
	Was, Wanted  Type
}

func (e *CollisionError) Error() string {
	return fmt.Sprintf("merging layers: %s is a %s in %s and a %s in %s", e.Path, e.Was, e.Below, e.Wanted, e.Above)
}

// Merge lays layers over each other. The whiteouts of a layer take effect before its entries. A
// later directory gives an existing one its attributes; anything else replaces what is not a
// directory, and an empty directory. A directory over a symbolic link to a directory means that
// directory, as dpkg has it (usr-merged systems). Hard links share one inode: replacing one of
// the names leaves the others as they are. Other changes of kind are CollisionErrors.
func Merge(layers ...Layer) (Tree, error) {
	m := merger{nodes: map[string]*node{}, children: map[string]int{}}
	for _, l := range layers {
		if err := m.apply(l); err != nil {
			return Tree{}, err
		}
	}
	return m.tree()
}

// inode is what hard links have in common.
type inode struct{ entry Entry }

type node struct {
	inode *inode
	owner string
}

type merger struct {
	nodes    map[string]*node
	children map[string]int // entries directly in a directory
}

func (m *merger) apply(l Layer) error {
	dirs := map[string]string{".": "."}
	m.remove(l, dirs)
	inodes := map[string]*inode{} // by the layer's own paths
	for _, e := range l.Tree.entries {
		if e.Type == Whiteout || e.Type == Hardlink {
			continue
		}
		ino := &inode{entry: e}
		inodes[e.Path] = ino
		if err := m.put(l, dirs, e.Path, ino); err != nil {
			return err
		}
	}
	for _, e := range l.Tree.entries {
		if e.Type != Hardlink {
			continue
		}
		ino, ok := inodes[e.Link]
		if !ok {
			return fmt.Errorf("merging layers: hard link %s of %s names %q, which the layer does not have", e.Path, l.Name, e.Link)
		}
		if err := m.put(l, dirs, e.Path, ino); err != nil {
			return err
		}
	}
	return nil
}

func (m *merger) put(l Layer, dirs map[string]string, p string, ino *inode) error {
	target := m.place(dirs, p)
	old := m.nodes[target]
	wanted := ino.entry.Type
	switch {
	case old == nil:
		m.children[path.Dir(target)]++
	case l.implied[p] && wanted != Dir:
		return nil
	case wanted == Dir && old.inode.entry.Type == Dir:
		if l.implied[p] {
			return nil
		}
	case wanted == Dir && old.inode.entry.Type == Symlink && m.isDir(m.resolve(target)):
		return nil // what is in the directory goes where the link points
	case wanted == Dir, old.inode.entry.Type == Dir && m.children[target] > 0:
		return &CollisionError{Path: target, Below: old.owner, Above: l.Name, Was: old.inode.entry.Type, Wanted: wanted}
	}
	m.nodes[target] = &node{inode: ino, owner: l.Name}
	return nil
}

// remove takes away what the layer's whiteouts name, in one pass over everything.
func (m *merger) remove(l Layer, dirs map[string]string) {
	gone := map[string]bool{}
	for _, e := range l.Tree.entries {
		if e.Type == Whiteout {
			gone[m.place(dirs, e.Path)] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	for p := range m.nodes { // the order does not matter: removals are independent
		if underAny(p, gone) {
			delete(m.nodes, p)
			m.children[path.Dir(p)]--
		}
	}
	clear(dirs)
	dirs["."] = "."
}

// place returns where the layer's path p belongs: its parent with symbolic links followed.
// dirs remembers what parents resolved to.
func (m *merger) place(dirs map[string]string, p string) string {
	if p == "." {
		return p
	}
	parent := path.Dir(p)
	real, ok := dirs[parent]
	if !ok {
		real = m.place(dirs, parent)
		if to := m.resolve(real); m.isDir(to) {
			real = to
		}
		dirs[parent] = real
	}
	return path.Join(real, path.Base(p))
}

func (m *merger) isDir(p string) bool {
	n := m.nodes[p]
	return n != nil && n.inode.entry.Type == Dir
}

// maxLinks is the kernel's limit of symbolic links in one path.
const maxLinks = 40

// resolve follows p and every link in it; p itself is returned when there are too many. Links are counted over the
// whole way, as the kernel does: with links to links, counting depth alone lets the work double with each of them.
func (m *merger) resolve(p string) string {
	at, rest := ".", strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		n := m.nodes[next]
		if n == nil || n.inode.entry.Type != Symlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return p
		}
		rest = append(strings.Split(LinkTarget(next, n.inode.entry.Link), "/"), rest...)
		at = "."
	}
	return at
}

// LinkTarget returns the path that a symbolic link at p with this target names, as a path of the
// tree; ".." does not leave the root.
func LinkTarget(p, link string) string {
	if !strings.HasPrefix(link, "/") {
		link = "/" + path.Dir(p) + "/" + link
	}
	if clean := path.Clean(link)[1:]; clean != "" {
		return clean
	}
	return "."
}

// tree writes the nodes down; of an inode's names, the first in order is the file.
func (m *merger) tree() (Tree, error) {
	paths := make([]string, 0, len(m.nodes))
	for p := range m.nodes {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, ComparePaths)
	first := map[*inode]string{}
	entries := make([]Entry, 0, len(paths))
	for _, p := range paths {
		ino := m.nodes[p].inode
		e := ino.entry
		if file, ok := first[ino]; ok {
			e = Entry{Type: Hardlink, Link: file}
		} else {
			first[ino] = p
		}
		e.Path = p
		entries = append(entries, e)
	}
	return Take(entries)
}
