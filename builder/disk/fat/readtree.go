package fat

import (
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"golang.org/x/text/encoding/charmap"
)

const (
	deleted   = 0xe5
	escapedE5 = 0x05

	lowerBase, lowerExt = 0x08, 0x10 // Windows NT: the short name is shown in lower case

	// maxDepth and maxEntries bound what a hostile volume can make of us: paths of 260 characters
	// are what Windows allows, and no boot volume has a million files.
	maxDepth   = 128
	maxEntries = 1 << 20
)

// Tree reads all names. Contents are extents of blob, which holds the volume base bytes after its
// beginning. It is not for concurrent use.
func (f *FS) Tree(ctx context.Context, blob cas.Digest, base int64) (tree.Tree, error) {
	defer f.forget()
	w := walker{f: f, ctx: ctx, blob: blob, base: base}
	w.entries = append(w.entries, tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755})
	if err := w.walk(f.rootFirst, ".", 0); err != nil {
		return tree.Tree{}, fmt.Errorf("reading FAT %q: %w", f.info.Label, err)
	}
	t, err := tree.New(w.entries)
	if err != nil {
		return tree.Tree{}, fmt.Errorf("reading FAT %q: %w", f.info.Label, err)
	}
	return t, nil
}

type walker struct {
	f       *FS
	ctx     context.Context
	blob    cas.Digest
	base    int64
	entries []tree.Entry
}

func (w *walker) walk(first int64, dir string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: directories are nested more than %d deep", dir, maxDepth)
	}
	d, err := w.f.openDir(first, dir)
	if err != nil {
		return err
	}
	var long longName
	for {
		e, err := d.next()
		if err != nil || e == nil {
			return err
		}
		switch {
		case e[0] == deleted:
			long = longName{}
		case e[11]&0x3f == attrLong:
			long.add(e)
		case e[11]&attrVolume != 0 || e[0] == '.':
			long = longName{}
		default:
			if err := w.add(e, dir, long.name(e), depth); err != nil {
				return err
			}
			long = longName{}
		}
	}
}

func (w *walker) add(e []byte, dir, name string, depth int) error {
	le := binary.LittleEndian
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%s: name %q is not possible", dir, name)
	}
	if len(w.entries) == maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	entry := tree.Entry{
		Path: path.Join(dir, name), Type: tree.File, Mode: 0o755,
		MTime: unstamp(le.Uint16(e[24:]), le.Uint16(e[22:])),
	}
	first := int64(le.Uint16(e[26:]))
	if w.f.info.Bits == 32 {
		first |= int64(le.Uint16(e[20:])) << 16
	}
	if e[11]&attrDirectory != 0 {
		entry.Type = tree.Dir
		w.entries = append(w.entries, entry)
		if first == 0 {
			return fmt.Errorf("%s: the directory has no cluster", entry.Path)
		}
		return w.walk(first, entry.Path, depth+1)
	}
	var err error
	if entry.Content, err = w.content(first, int64(le.Uint32(e[28:]))); err != nil {
		return fmt.Errorf("%s: %w", entry.Path, err)
	}
	w.entries = append(w.entries, entry)
	return nil
}

// content follows a file's chain and joins neighbouring clusters.
func (w *walker) content(first, size int64) (tree.Content, error) {
	c := tree.Content{Size: size}
	n := first
	for left := size; left > 0; {
		if n == 0 {
			return c, fmt.Errorf("the chain ends %d bytes before the file does", left)
		}
		if err := w.f.take(n); err != nil {
			return c, err
		}
		length := min(left, int64(w.f.info.ClusterSize))
		c.Extents = appendExtent(c.Extents, tree.Extent{Blob: w.blob, Offset: w.base + w.f.clusterOffset(n), Length: length})
		left -= length
		var err error
		if n, err = w.f.link(n); err != nil && left > 0 {
			return c, err
		}
	}
	return c, nil
}

func appendExtent(list []tree.Extent, e tree.Extent) []tree.Extent {
	if n := len(list); n > 0 && list[n-1].Offset+list[n-1].Length == e.Offset {
		list[n-1].Length += e.Length
		return list
	}
	return append(list, e)
}

// dirReader gives the 32-byte entries of a directory.
type dirReader struct {
	f       *FS
	path    string
	cluster int64 // next cluster to read; 0 is none
	buf     []byte
	fixed   bool // root of FAT12 and FAT16
}

func (f *FS) openDir(first int64, p string) (*dirReader, error) {
	d := &dirReader{f: f, path: p, cluster: first}
	if p != "." || f.info.Bits == 32 {
		return d, nil
	}
	d.fixed, d.cluster = true, 0
	d.buf = make([]byte, f.rootSize)
	if _, err := f.r.ReadAt(d.buf, f.rootStart); err != nil {
		return nil, fmt.Errorf("reading FAT root directory: %w", err)
	}
	return d, nil
}

// next returns the next entry, or nil at the end.
func (d *dirReader) next() ([]byte, error) {
	if len(d.buf) == 0 {
		if d.cluster == 0 {
			return nil, nil
		}
		if err := d.load(); err != nil {
			return nil, fmt.Errorf("%s: %w", d.path, err)
		}
	}
	e := d.buf[:entrySize]
	d.buf = d.buf[entrySize:]
	if e[0] == 0 {
		d.buf, d.cluster = nil, 0
		return nil, nil
	}
	return e, nil
}

func (d *dirReader) load() error {
	if err := d.f.take(d.cluster); err != nil {
		return err
	}
	d.buf = make([]byte, d.f.info.ClusterSize)
	if _, err := d.f.r.ReadAt(d.buf, d.f.clusterOffset(d.cluster)); err != nil {
		return fmt.Errorf("reading cluster %d: %w", d.cluster, err)
	}
	var err error
	d.cluster, err = d.f.link(d.cluster)
	return err
}

// longName collects the entries of a long name, which come last part first.
type longName struct {
	units []uint16
	next  byte // number of the part that must come next
	sum   byte
	valid bool
}

func (l *longName) add(e []byte) {
	number := e[0] &^ lastLong
	if e[0]&lastLong != 0 {
		*l = longName{next: number, sum: e[13], valid: number > 0 && number <= 20}
	}
	if !l.valid || number != l.next || e[13] != l.sum || number == 0 {
		l.valid = false
		return
	}
	part := make([]uint16, 0, unitsPerSlot+len(l.units))
	for _, at := range unitOffsets() {
		part = append(part, binary.LittleEndian.Uint16(e[at:]))
	}
	l.units = append(part, l.units...)
	l.next--
}

// belongs says that the name is complete and was made for the short entry e.
func (l *longName) belongs(e []byte) bool {
	return l.valid && l.next == 0 && shortName(e[:11]).checksum() == l.sum
}

// name returns the long name when it belongs to the short entry e, otherwise e's own.
func (l *longName) name(e []byte) string {
	if !l.belongs(e) {
		return decodeShort(e)
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// decodeShort reads an 8.3 name; bytes above ASCII are code page 437, as in the Linux driver.
func decodeShort(e []byte) string {
	base, ext := decode437(e[:8]), decode437(e[8:11])
	if e[0] == escapedE5 {
		base = decode437(append([]byte{deleted}, e[1:8]...))
	}
	if e[12]&lowerBase != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&lowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

func decode437(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(charmap.CodePage437.DecodeByte(c))
	}
	return strings.TrimRight(s.String(), " ")
}

// unstamp converts FAT's date and time, taken as UTC.
func unstamp(date, clock uint16) tree.Time {
	month, day := time.Month(date>>5&15), int(date&31)
	if month == 0 || day == 0 { // never set
		month, day = 1, 1
	}
	t := time.Date(1980+int(date>>9), month, day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
	return tree.Time{Sec: t.Unix()}
}
