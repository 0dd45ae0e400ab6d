package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
)

const (
	// maxMembers bounds a tar: the sources of Linux have 90,000, and each member costs some hundred bytes of memory.
	maxMembers = 1 << 20
	// maxName bounds names and link targets: the kernel's PATH_MAX, without which no program can use them.
	maxName = 4096
	// maxAttributes bounds extended attributes over all members; those of a system with a capability on each
	// program and an ACL on each directory have 2 MiB.
	maxAttributes = 16 << 20
)

// FromTar reads an uncompressed tar stream (ustar, pax, GNU) that is stored as blob. Contents are
// extents of the blob; nothing is copied. Leading "/" and "./" go; names with ".." are refused,
// and so are sparse members, names of more than 4096 bytes, and more than a million members. Of two members with one name the later counts.
func FromTar(blob cas.Digest, at io.ReaderAt, size int64) (Tree, error) {
	section := io.NewSectionReader(at, 0, size)
	r := tar.NewReader(section)
	var b *Builder
	attributes := 0
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Tree{}, fmt.Errorf("reading tar: %w", err)
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return Tree{}, fmt.Errorf("reading tar: %w", err)
		}
		e, err := tarEntry(h, blob, offset, size)
		if err != nil {
			return Tree{}, fmt.Errorf("reading tar member %.200q: %w", h.Name, err)
		}
		for _, x := range e.Xattrs {
			attributes += len(x.Name) + len(x.Value)
		}
		if n >= maxMembers || attributes > maxAttributes {
			return Tree{}, fmt.Errorf("reading tar: more than the allowed %d members or %d bytes of attributes", maxMembers, maxAttributes)
		}
		if e.Type == 0 {
			continue
		}
		if b == nil {
			b = NewBuilder(e.MTime)
		}
		b.addLink(e)
	}
	if b == nil {
		b = NewBuilder(Time{})
	}
	return b.Tree()
}

// addLink adds e; a hard link to a hard link becomes one to the file.
func (b *Builder) addLink(e Entry) {
	if to, ok := b.entries[e.Link]; ok && e.Type == Hardlink && to.Type == Hardlink {
		e.Link = to.Link
	}
	if e.Type == Hardlink && e.Link == e.Path {
		return
	}
	b.Add(e)
}

func tarEntry(h *tar.Header, blob cas.Digest, offset, size int64) (Entry, error) {
	name, err := cleanName(h.Name)
	if err != nil {
		return Entry{}, err
	}
	if len(h.Name) > maxName || len(h.Linkname) > maxName {
		return Entry{}, fmt.Errorf("its name has %d bytes and its link %d; %d are allowed", len(h.Name), len(h.Linkname), maxName)
	}
	e := Entry{
		Path: name, Mode: uint32(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid),
		MTime:  Time{Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())},
		Xattrs: tarXattrs(h),
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return Entry{}, errors.New("sparse members are not supported; repack without --sparse")
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size < 0 || offset+h.Size > size {
			return Entry{}, fmt.Errorf("%d bytes are announced and %d are left", h.Size, size-offset)
		}
		e.Type, e.Content = File, BlobContent(blob, offset, h.Size)
	case tar.TypeDir:
		e.Type = Dir
	case tar.TypeSymlink:
		e.Type, e.Link, e.Mode = Symlink, h.Linkname, 0o777
	case tar.TypeLink:
		e.Type = Hardlink
		e.Link, err = cleanName(h.Linkname)
	case tar.TypeChar:
		e.Type, e.Major, e.Minor = CharDevice, uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeBlock:
		e.Type, e.Major, e.Minor = BlockDevice, uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeFifo:
		e.Type = Fifo
	case tar.TypeXGlobalHeader:
		return Entry{}, nil
	default:
		return Entry{}, fmt.Errorf("type %q is not supported", h.Typeflag)
	}
	if e.Path == "." && e.Type != Dir {
		return Entry{}, errors.New("it would replace the root directory")
	}
	return e, err
}

func cleanName(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("name %q leaves the archive", name)
	}
	if strings.Contains(name, "\x00") {
		return "", fmt.Errorf("name %q holds a zero byte", name)
	}
	return path.Clean(strings.TrimLeft("./"+strings.TrimLeft(name, "/"), "/")), nil
}

const paxXattr = "SCHILY.xattr."

func tarXattrs(h *tar.Header) []Xattr {
	var out []Xattr
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, paxXattr); ok {
			out = append(out, Xattr{Name: name, Value: []byte(v)})
		}
	}
	slices.SortFunc(out, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// maxInline is the size up to which FromFS keeps bytes in the tree instead of the store.
const maxInline = 4 << 10

// FromFS reads all of fsys, an overlay. Owners become root; modes become 0755 for directories and
// executable files and 0644 otherwise; every time becomes t: a checkout carries no more than that.
// Contents above 4 KiB go to store, which may be nil: then they are inline too.
func FromFS(fsys fs.FS, store *cas.Store, t Time) (Tree, error) {
	b := NewBuilder(t)
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("reading overlay: %w", err)
		}
		e, err := fsEntry(fsys, store, p, d)
		if err != nil {
			return fmt.Errorf("reading overlay file %s: %w", p, err)
		}
		e.MTime = t
		b.Add(e)
		return nil
	})
	if err != nil {
		return Tree{}, err
	}
	return b.Tree()
}

func fsEntry(fsys fs.FS, store *cas.Store, p string, d fs.DirEntry) (Entry, error) {
	info, err := d.Info()
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: p, Mode: 0o644}
	if info.Mode()&0o100 != 0 {
		e.Mode = 0o755
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		e.Type, e.Mode = Dir, 0o755
	case fs.ModeSymlink:
		e.Type, e.Mode = Symlink, 0o777
		e.Link, err = fs.ReadLink(fsys, p)
	case 0:
		e.Type = File
		e.Content, err = fsContent(fsys, store, p)
	default:
		err = fmt.Errorf("mode %s is not supported", info.Mode())
	}
	return e, err
}

func fsContent(fsys fs.FS, store *cas.Store, p string) (Content, error) {
	b, err := fs.ReadFile(fsys, p)
	if err != nil {
		return Content{}, err
	}
	if len(b) <= maxInline || store == nil {
		return InlineContent(b), nil
	}
	d, err := store.PutBytes(b)
	if err != nil {
		return Content{}, err
	}
	return BlobContent(d, 0, int64(len(b))), nil
}
