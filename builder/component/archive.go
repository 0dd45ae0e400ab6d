package component

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	unpackVersion = "component.unpack/1"
	// maxUnpacked bounds an archive or image layer without its compression: twice the largest
	// image layers that people ship to edge nodes.
	maxUnpacked = 8 << 30
	// maxMembers bounds an archive: the sources of Linux have 90,000.
	maxMembers = 500_000
	// maxWindow bounds a decoder's memory: dictionary of xz -9, window of zstd -19 --long=27.
	maxWindow = 128 << 20
)

// unpacked is an archive that lies uncompressed in the store.
type unpacked struct {
	Blob cas.Digest `json:"blob"`
	Size int64      `json:"size"`
}

// unpack decompresses a blob of the store into the store, once; cached says that it was there.
func unpack(store *cas.Store, blob cas.Digest, limit int64) (u unpacked, cached bool, err error) {
	key := cas.Of([]byte(unpackVersion + "\n" + string(blob)))
	if saved, ok, err := store.Result(key); err == nil && ok && json.Unmarshal(saved, &u) == nil && store.Intact(u.Blob) && u.Size <= limit {
		return u, true, nil
	}
	in, err := store.Open(blob)
	if err != nil {
		return unpacked{}, false, err
	}
	defer in.Close()
	r, plain, err := decompress(in.Reader())
	if err != nil {
		return unpacked{}, false, err
	}
	if plain {
		return unpacked{Blob: blob, Size: in.Size()}, true, nil
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	if u.Blob, u.Size, err = store.Put(&bounded{r: r, left: limit, limit: limit}); err != nil {
		return unpacked{}, false, err
	}
	value, err := json.Marshal(u)
	if err != nil {
		return unpacked{}, false, err
	}
	return u, false, store.SaveResult(key, value)
}

// decompress recognises a compression by its first bytes; plain says that there is none.
func decompress(in io.Reader) (r io.Reader, plain bool, err error) {
	b := bufio.NewReaderSize(in, 1<<20)
	head, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		r, err = xz.NewReader(b, maxWindow)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)); err == nil {
			r = d.IOReadCloser()
		}
	case bytes.HasPrefix(head, []byte("BZh")):
		r = bzip2.NewReader(b)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		err = errors.New("it is a zip, which is not supported; .tar, .tar.gz, .tar.xz and .tar.zst are")
	default:
		r, plain = b, true
	}
	return r, plain, err
}

// bounded ends a decompression bomb.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it has more than the allowed %d bytes without its compression", b.limit)
	}
	return n, err
}

// placement says which members of an archive go where.
type placement struct {
	strip int
	// from is a directory, after strip, whose members alone are taken, with names below it.
	from        string
	pick        []string
	destination string // absolute in the image
	uid, gid    uint32
	// mode of files and links to them; negative is the archive's.
	mode int64
}

// archive unpacks a pinned file of the component.
func (s *site) archive(name string, p placement) error {
	f, err := s.file(name)
	if err != nil {
		return err
	}
	u, cached, err := unpack(s.store, f.SHA256, maxUnpacked)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	s.cached = s.cached && cached
	in, err := s.store.Open(u.Blob)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := countMembers(in.Reader()); err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	t, err := tree.FromTar(u.Blob, in, u.Size)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	if err := s.place(t, p); err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	return nil
}

// countMembers reads the headers alone, before any of them costs memory.
func countMembers(section *io.SectionReader) error {
	r := tar.NewReader(section)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && n == 0 {
			return errors.New("it is no tar, or an empty one")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading tar: %w", err)
		}
		if strings.HasPrefix(h.Name, "/") {
			return fmt.Errorf("member %s has an absolute name; it is refused", h.Name)
		}
		if n >= maxMembers {
			return fmt.Errorf("it has more than the allowed %d members", maxMembers)
		}
	}
}

// place adds the members that p picks.
func (s *site) place(t tree.Tree, p placement) error {
	used := make([]bool, len(p.pick))
	picked := map[string]bool{}
	for i := range t.Len() {
		e := t.At(i)
		if name, ok := p.name(e.Path); ok && p.picks(name, used) {
			picked[e.Path] = true
		}
	}
	for i, was := range used {
		if !was {
			return fmt.Errorf("no member matches %q; the first ones are %s", p.pick[i], firstNames(t, p.strip))
		}
	}
	if len(picked) == 0 && p.from != "" {
		return fmt.Errorf("it has no directory %s; the first members are %s", p.from, firstNames(t, p.strip))
	}
	if len(picked) == 0 {
		return fmt.Errorf("nothing is left of it with %d directories stripped; the first members are %s", p.strip, firstNames(t, 0))
	}
	// Filter keeps hard links whole when the file that they name is not picked.
	kept := tree.Filter(t, func(e tree.Entry) bool { return picked[e.Path] || e.Type == tree.Dir })
	for i := range kept.Len() {
		if e := kept.At(i); picked[e.Path] {
			if err := s.placeEntry(e, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *site) placeEntry(e tree.Entry, p placement) error {
	member := e.Path
	if err := refuse(e); err != nil {
		return fmt.Errorf("member %s %w", member, err)
	}
	name, _ := p.name(e.Path)
	e.Path = inTree(path.Join(p.destination, name))
	e.UID, e.GID, e.Mode, e.Xattrs = p.uid, p.gid, e.Mode&0o777, nil
	switch e.Type {
	case tree.Dir:
		e.Mode |= 0o700
		s.dir("/"+e.Path, e.Mode)
		return nil
	case tree.Hardlink:
		to, ok := p.name(e.Link)
		if !ok {
			return fmt.Errorf("member %s is a link to %s, which is not unpacked", member, e.Link)
		}
		e.Link = inTree(path.Join(p.destination, to))
	case tree.Symlink:
		if !inside(e, p.destination) {
			return fmt.Errorf("member %s is a symbolic link to %s, which is out of %s; it is refused", member, e.Link, p.destination)
		}
	case tree.File:
		if p.mode >= 0 {
			e.Mode = uint32(p.mode)
		}
	}
	s.add(e)
	return nil
}

// refuse says what no archive may bring into an image.
func refuse(e tree.Entry) error {
	switch e.Type {
	case tree.CharDevice, tree.BlockDevice, tree.Fifo, tree.Socket:
		return fmt.Errorf("is a %s; it is refused", e.Type)
	}
	if e.Type == tree.File && e.Mode&0o6000 != 0 {
		return fmt.Errorf("has mode %04o; set-id files are refused", e.Mode)
	}
	for _, x := range e.Xattrs {
		if x.Name == "security.capability" {
			return errors.New("has file capabilities; it is refused")
		}
	}
	return nil
}

// inside reports whether the symbolic link e points below destination.
func inside(e tree.Entry, destination string) bool {
	target := e.Link
	if !strings.HasPrefix(target, "/") {
		// Joined without path.Clean's forgiveness: ".." above the root counts as outside.
		if depth(path.Dir(e.Path), target) < 0 {
			return false
		}
		target = "/" + path.Join(path.Dir(e.Path), target)
	}
	root := path.Clean(destination)
	target = path.Clean(target)
	return root == "/" || target == root || strings.HasPrefix(target, root+"/")
}

// depth is the lowest depth that the walk from dir along target reaches.
func depth(dir, target string) int {
	n := len(strings.Split(dir, "/"))
	if dir == "." {
		n = 0
	}
	lowest := n
	for _, part := range strings.Split(target, "/") {
		switch part {
		case "", ".":
		case "..":
			n--
		default:
			n++
		}
		lowest = min(lowest, n)
	}
	return lowest
}

// stripped drops n leading directories; a name that has no more goes, and so does the root.
func stripped(name string, n int) (string, bool) {
	parts := strings.Split(name, "/")
	if len(parts) <= n || name == "." {
		return "", false
	}
	return strings.Join(parts[n:], "/"), true
}

// name is what a member is called below the destination; ok is false when it is not wanted.
func (p placement) name(member string) (name string, ok bool) {
	name, ok = stripped(member, p.strip)
	if !ok || p.from == "" {
		return name, ok
	}
	return strings.CutPrefix(name, p.from+"/")
}

// picks matches the name and each directory above it.
func (p placement) picks(name string, used []bool) bool {
	found := len(p.pick) == 0
	for i, pattern := range p.pick {
		pattern = strings.TrimSuffix(path.Clean(pattern), "/")
		for at := name; at != "." && at != "/"; at = path.Dir(at) {
			if ok, err := path.Match(pattern, at); err == nil && ok {
				found, used[i] = true, true
			}
		}
	}
	return found
}

func firstNames(t tree.Tree, strip int) string {
	var names []string
	for i := 0; i < t.Len() && len(names) < 8; i++ {
		if name, ok := stripped(t.At(i).Path, strip); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
