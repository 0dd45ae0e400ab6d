// Package tree holds a file system as data.
//
// A Tree is an immutable, sorted list of entries. An Entry is one name with its type, owner,
// mode, times, extended attributes and, for a file, a Content: a reference into blobs, never a
// copy. A Layer is a Tree with a name that may hold whiteouts; Merge lays layers over each other.
//
// Paths are relative, clean and separated by slashes; the root directory is ".". Names are bytes:
// they need not be UTF-8. Entries are sorted so that a directory comes before what is in it
// (ComparePaths). Every entry's parent is in the tree, and the root always is.
package tree

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
)

// Type is the kind of an entry.
type Type uint8

const (
	File Type = iota + 1
	Dir
	Symlink     // Link is the target as written
	Hardlink    // Link is the path of the File entry that holds the inode's attributes
	CharDevice  // Major, Minor
	BlockDevice // Major, Minor
	Fifo
	Socket
	Whiteout // in layers only: what lies below under this path, and all inside, is removed
)

func (t Type) String() string {
	names := []string{"invalid", "file", "directory", "symlink", "hardlink", "chardevice", "blockdevice", "fifo", "socket", "whiteout"}
	if int(t) < len(names) {
		return names[t]
	}
	return names[0]
}

// Time is a point in time: seconds since 1970 (may be negative) and nanoseconds.
type Time struct {
	Sec  int64  `json:"sec"`
	Nsec uint32 `json:"nsec,omitempty"`
}

// Xattr is one extended attribute with its full name, "user.comment" or "security.capability".
type Xattr struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// Extent is Length bytes at Offset of a blob; an empty Blob means zeros (a hole).
type Extent struct {
	Blob   cas.Digest `json:"blob,omitempty"`
	Offset int64      `json:"offset,omitempty"`
	Length int64      `json:"length"`
}

// Content says where the bytes of a file are: in Inline when that is set, otherwise in Extents,
// which cover exactly Size bytes in order.
type Content struct {
	Size    int64    `json:"size"`
	Inline  []byte   `json:"inline,omitempty"`
	Extents []Extent `json:"extents,omitempty"`
}

// InlineContent returns a content that carries its own bytes; meant for small, generated files.
func InlineContent(b []byte) Content { return Content{Size: int64(len(b)), Inline: b} }

// BlobContent returns a content of size bytes at offset of one blob.
func BlobContent(blob cas.Digest, offset, size int64) Content {
	if size == 0 {
		return Content{}
	}
	return Content{Size: size, Extents: []Extent{{Blob: blob, Offset: offset, Length: size}}}
}

// Entry is one name of a tree.
type Entry struct {
	Path    string  `json:"path"`
	Type    Type    `json:"type"`
	Mode    uint32  `json:"mode"` // permission, setuid, setgid and sticky bits: 07777
	UID     uint32  `json:"uid,omitempty"`
	GID     uint32  `json:"gid,omitempty"`
	MTime   Time    `json:"mtime"`
	Xattrs  []Xattr `json:"xattrs,omitempty"` // sorted by name
	Link    string  `json:"link,omitempty"`
	Major   uint32  `json:"major,omitempty"`
	Minor   uint32  `json:"minor,omitempty"`
	Content Content `json:"content,omitzero"`
}

// Tree is an immutable file system. The zero value is empty (it has not even a root).
type Tree struct{ entries []Entry }

// New checks entries and returns them as a Tree. It sorts them; it does not keep the slice.
// All faults are joined in the error, up to a dozen.
func New(entries []Entry) (Tree, error) { return Take(slices.Clone(entries)) }

// Take is New for a caller that gives the slice away.
func Take(entries []Entry) (Tree, error) {
	t := Tree{entries: entries}
	slices.SortFunc(t.entries, func(a, b Entry) int { return ComparePaths(a.Path, b.Path) })
	return t, t.check()
}

const maxFaults = 12

func (t Tree) check() error {
	var faults []error
	for i, e := range t.entries {
		if err := t.checkEntry(i, e); err != nil {
			faults = append(faults, err)
		}
		if len(faults) == maxFaults {
			break
		}
	}
	return errors.Join(faults...)
}

func (t Tree) checkEntry(i int, e Entry) error {
	switch {
	case e.Path != path.Clean(e.Path) || e.Path == "" || e.Path[0] == '/' || e.Path == ".." || strings.HasPrefix(e.Path, "../"):
		return fmt.Errorf("checking tree: path %q is not relative and clean", e.Path)
	case e.Type < File || e.Type > Whiteout:
		return fmt.Errorf("checking tree: %s has no valid type (%d)", e.Path, e.Type)
	case i > 0 && t.entries[i-1].Path == e.Path:
		return fmt.Errorf("checking tree: %s appears twice", e.Path)
	}
	if e.Path != "." {
		parent, ok := t.Lookup(path.Dir(e.Path))
		if !ok || parent.Type != Dir {
			return fmt.Errorf("checking tree: %s: its parent is not a directory of the tree", e.Path)
		}
	}
	if e.Type == Hardlink {
		if target, ok := t.Lookup(e.Link); !ok || target.Type == Dir || target.Type == Hardlink {
			return fmt.Errorf("checking tree: hard link %s names %q, which is no file of the tree", e.Path, e.Link)
		}
	}
	return nil
}

// Len returns the number of entries.
func (t Tree) Len() int { return len(t.entries) }

// At returns the entry at position i of the sorted order.
func (t Tree) At(i int) Entry { return t.entries[i] }

// Entries returns a copy of the entries in order.
func (t Tree) Entries() []Entry { return slices.Clone(t.entries) }

// Lookup finds the entry with exactly this path; it follows no links.
func (t Tree) Lookup(p string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(t.entries, p, func(e Entry, p string) int { return ComparePaths(e.Path, p) })
	if !ok {
		return Entry{}, false
	}
	return t.entries[i], true
}

// ComparePaths orders paths so that "." is first and a directory comes directly before what is
// in it: the separator sorts before every other byte.
func ComparePaths(a, b string) int {
	if a == b {
		return 0
	}
	if a == "." || b == "." {
		return cmp.Compare(boolInt(b == "."), boolInt(a == "."))
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return cmp.Compare(rank(a[i]), rank(b[i]))
		}
	}
	return cmp.Compare(len(a), len(b))
}

func rank(c byte) int {
	if c == '/' {
		return -1
	}
	return int(c)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
