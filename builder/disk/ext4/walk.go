package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// walk is one reading of a whole tree.
type walk struct {
	fs     *FS
	blob   cas.Digest
	base   int64
	chunks map[int64][]byte // pieces of inode tables, by their place in the image
	budget int64            // blocks of metadata that may still be read
	found  []tree.Entry
	inodes []uint32 // of those found
	dirs   map[uint32]bool
	memory int // bytes, see maxTree
}

func (f *FS) newWalk(blob cas.Digest, base int64) *walk {
	return &walk{fs: f, blob: blob, base: base, chunks: map[int64][]byte{}, budget: f.blocks, dirs: map[uint32]bool{}}
}

// Tree returns all that is in the file system. Contents are extents of blob, in which the file
// system starts at base; holes and unwritten extents are extents without a blob. The first name
// of a file, in the order of paths, is the file; the others are hard links to it.
func (f *FS) Tree(ctx context.Context, blob cas.Digest, base int64) (tree.Tree, error) {
	w := f.newWalk(blob, base)
	if err := w.visit(ctx); err != nil {
		return tree.Tree{}, fmt.Errorf("reading ext4 %q: %w", f.label(), err)
	}
	w.linked()
	t, err := tree.Take(w.found)
	if err != nil {
		return tree.Tree{}, fmt.Errorf("reading ext4 %q: %w", f.label(), err)
	}
	return t, nil
}

// visit reads the directories, starting with the root; found grows while it is walked over.
func (w *walk) visit(ctx context.Context) error {
	files := map[uint32]tree.Entry{}
	if err := w.add(".", rootIno, files); err != nil {
		return err
	}
	for i := 0; i < len(w.found); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := w.found[i]
		if at.Type != tree.Dir {
			continue
		}
		names, err := w.readDir(w.inodes[i])
		if err != nil {
			return fmt.Errorf("%s: %w", at.Path, err)
		}
		for _, n := range names {
			if err := w.add(path.Join(at.Path, n.name), n.ino, files); err != nil {
				return err
			}
		}
	}
	return nil
}

// add records one name.
func (w *walk) add(p string, ino uint32, files map[uint32]tree.Entry) error {
	if len(p) > maxPath {
		return fmt.Errorf("a path has more than %d bytes", maxPath)
	}
	if err := w.take(entryCost + len(p)); err != nil {
		return err
	}
	e, known := files[ino]
	if !known {
		in, err := w.inode(ino)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if e, err = w.entry(in); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if err := w.take(len(e.Link) + len(e.Content.Inline)); err != nil {
			return err
		}
		if e.Type != tree.Dir && in.links > 1 {
			if err := w.take(entryCost); err != nil {
				return err
			}
			files[ino] = e
		}
	}
	if e.Type == tree.Dir && w.dirs[ino] {
		return fmt.Errorf("%s: directory %d has a second name", p, ino)
	}
	if e.Type == tree.Dir {
		w.dirs[ino] = true
	}
	e.Path = p
	w.found, w.inodes = append(w.found, e), append(w.inodes, ino)
	return nil
}

// linked turns all but the first name of an inode into hard links.
func (w *walk) linked() {
	first := map[uint32]int{}
	for i, e := range w.found {
		k, again := first[w.inodes[i]]
		if e.Type != tree.Dir && (!again || tree.ComparePaths(e.Path, w.found[k].Path) < 0) {
			first[w.inodes[i]] = i
		}
	}
	for i, e := range w.found {
		if k := first[w.inodes[i]]; e.Type != tree.Dir && k != i {
			w.found[i] = tree.Entry{Path: e.Path, Type: tree.Hardlink, Link: w.found[k].Path}
		}
	}
}

// name is an entry of a directory.
type name struct {
	name string
	ino  uint32
}

// readDir returns the names in a directory, without "." and "..". The blocks of an index look
// like blocks with one empty entry, so all blocks are read alike.
func (w *walk) readDir(ino uint32) ([]name, error) {
	in, err := w.inode(ino)
	if err != nil {
		return nil, err
	}
	if in.flags&flagInlineData != 0 {
		return w.inlineDir(in)
	}
	runs, err := w.runsOf(in)
	if err != nil {
		return nil, err
	}
	m := &mapper{walk: w}
	b := make([]byte, w.fs.bs)
	var out []name
	for _, r := range runs {
		for i := range r.n {
			if err := m.spend(r.physical+i, b); err != nil {
				return nil, err
			}
			before := len(out)
			if out, err = appendNames(out, b); err != nil {
				return nil, err
			}
			if err := w.take((len(out) - before) * nameCost); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// inlineDir reads a directory in its inode: the parent's number, then entries, which go on in
// the attribute system.data (page "ifork", "Inline Directories").
func (w *walk) inlineDir(in inode) ([]name, error) {
	out, err := appendNames(nil, in.block[4:])
	if err != nil || len(in.more) == 0 {
		return out, err
	}
	return appendNames(out, in.more)
}

// appendNames reads directory entries until the end of b, page "directory".
func appendNames(out []name, b []byte) ([]name, error) {
	for len(b) >= 8 {
		ino, length := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint16(b[4:]))
		if length == 0xFFFF || length == 0 && len(b) == 1<<16 {
			length = len(b) // a whole block of 64 KiB
		}
		end := 8 + int(b[6])
		if length < 8 || length > len(b) || ino != 0 && end > length {
			return nil, fmt.Errorf("a directory entry of %d bytes has a name of %d, and %d bytes are left", length, b[6], len(b))
		}
		if ino != 0 {
			s := string(b[8:end])
			if s == "" || bytes.ContainsAny(b[8:end], "/\x00") {
				return nil, fmt.Errorf("%q is no name", s)
			}
			if s != "." && s != ".." {
				out = append(out, name{s, ino})
			}
		}
		b = b[length:]
	}
	return out, nil
}
