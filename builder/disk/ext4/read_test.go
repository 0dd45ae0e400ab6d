package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

const imageBlob = cas.Digest("image")

// readImage reads the tree of an image file and a Reader for its contents.
func readImage(t *testing.T, path string) (*FS, tree.Tree, *tree.Reader) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	tr, err := fs.Tree(context.Background(), imageBlob, 0)
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(nil)
	src.Add(imageBlob, f)
	return fs, tr, src
}

func contentOf(t *testing.T, src *tree.Reader, e tree.Entry) []byte {
	t.Helper()
	r, err := src.Open(e.Content)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", e.Path, err)
	}
	return b
}

// sameTrees compares two trees with their contents; lost+found may be missing in want.
func sameTrees(t *testing.T, got, want tree.Tree, gotSrc, wantSrc *tree.Reader) {
	t.Helper()
	if _, ok := want.Lookup(lostFound); !ok && got.Len() != want.Len()+1 {
		t.Errorf("%d entries, want %d and lost+found", got.Len(), want.Len())
	}
	for _, w := range want.Entries() {
		g, ok := got.Lookup(w.Path)
		if !ok {
			t.Errorf("%q is missing", w.Path)
			continue
		}
		if w.Type == tree.Hardlink != (g.Type == tree.Hardlink) {
			continue // another name of the file is the first one
		}
		if w.Type == tree.File && !bytes.Equal(contentOf(t, gotSrc, g), contentOf(t, wantSrc, w)) {
			t.Errorf("%q: bytes differ", w.Path)
		}
		if g.Content.Size != w.Content.Size {
			t.Errorf("%q: %d bytes, want %d", w.Path, g.Content.Size, w.Content.Size)
		}
		g.Content, w.Content = tree.Content{}, tree.Content{}
		if w.Type == tree.Hardlink {
			g.Link, w.Link = "", ""
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%q:\n got %+v\nwant %+v", w.Path, g, w)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for name, es := range map[string][]tree.Entry{"everything": everything(), "index": names(60000, 12), "two levels": names(20000, 250), "files": manyFiles(20, 50, 5000)} {
		for _, sums := range []Checksums{MetadataCsum, UninitBG} {
			t.Run(fmt.Sprintf("%s %s", name, sums), func(t *testing.T) {
				o := testOptions(1200 * mib)
				o.Checksums = sums
				want, src := mustTree(t, es), tree.NewReader(nil)
				fs, got, gotSrc := readImage(t, writeImage(t, want, src, o))
				sameTrees(t, got, want, gotSrc, src)
				if i := fs.Info(); i.Label != "writable" || i.UUID != o.UUID || i.Checksums != sums || i.State != "clean" || i.LastWrite.Sec != o.Time.Sec {
					t.Errorf("Info is %+v", i)
				}
			})
		}
	}
}

// TestHolesStayHoles reads a sparse file back as the extents it was written from.
func TestHolesStayHoles(t *testing.T) {
	blob, src := cas.Of([]byte("blob")), tree.NewReader(nil)
	src.Add(blob, bytes.NewReader(pattern(8192)))
	e := tree.Entry{Path: "sparse", Type: tree.File, MTime: when, Content: tree.Content{Size: 9 << 30, Extents: []tree.Extent{
		{Length: 6 << 30}, {Blob: blob, Length: 8192}, {Length: 3<<30 - 8192}}}}
	_, got, _ := readImage(t, writeImage(t, mustTree(t, []tree.Entry{dir("."), e}), src, testOptions(64*mib)))
	s, _ := got.Lookup("sparse")
	x := s.Content.Extents
	if len(x) != 3 || x[0] != (tree.Extent{Length: 6 << 30}) || x[1].Length != 8192 || x[2] != (tree.Extent{Length: 3<<30 - 8192}) {
		t.Errorf("extents are %+v", x)
	}
}

// hostTree makes a directory on the host; mke2fs -d copies it.
func hostTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"sub/dir", "many"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]int{"big": 30 * mib, "sub/dir/small": 20, "sub/inline": 100, "zero": 0, "sub/block": 5000}
	for i := range 1000 {
		files[fmt.Sprintf("many/a-rather-long-name-%05d", i)] = i % 7
	}
	for name, n := range files {
		if err := os.WriteFile(filepath.Join(root, name), pattern(n), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"fast": "big", "slow": strings.Repeat("t/", 100)} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(root, "big"), filepath.Join(root, "sub/linked")); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer sparse.Close()
	if _, err := sparse.WriteAt([]byte("end"), 40*mib); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestReadMke2fs(t *testing.T) {
	root := hostTree(t)
	tests := []struct {
		name string
		args []string
	}{
		{"ext4", []string{"-t", "ext4"}},
		{"newest", []string{"-t", "ext4", "-O", "metadata_csum_seed,orphan_file"}},
		{"inline_data", []string{"-t", "ext4", "-O", "inline_data"}},
		{"uninit_bg", []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg"}},
		{"1 KiB blocks", []string{"-t", "ext4", "-b", "1024"}},
		{"no journal", []string{"-t", "ext4", "-O", "^has_journal,^64bit"}},
		{"meta_bg", []string{"-t", "ext4", "-O", "meta_bg,^resize_inode"}},
		{"ext3", []string{"-t", "ext3"}},
		{"ext2", []string{"-t", "ext2", "-b", "1024", "-I", "128"}},
		{"ea_inode and large_dir", []string{"-t", "ext4", "-O", "ea_inode,large_dir"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			runTool(t, "mke2fs", slices.Concat([]string{"-q", "-F"}, test.args, []string{"-d", root, image, "200M"})...)
			_, got, src := readImage(t, image)
			sameAsHost(t, root, got, src)
		})
	}
}

func sameAsHost(t *testing.T, root string, got tree.Tree, src *tree.Reader) {
	t.Helper()
	names := 0
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		names++
		rel, _ := filepath.Rel(root, p)
		e, ok := got.Lookup(rel)
		if !ok {
			t.Errorf("%s is missing", rel)
			return nil
		}
		if e.Type == tree.Hardlink {
			e, _ = got.Lookup(e.Link)
		}
		compareHost(t, p, info, e, src)
		return nil
	})
	if err != nil || got.Len() != names+1 {
		t.Errorf("%d entries of %d and lost+found (%v)", got.Len(), names, err)
	}
}

func compareHost(t *testing.T, p string, info os.FileInfo, e tree.Entry, src *tree.Reader) {
	t.Helper()
	switch {
	case info.Mode().IsRegular():
		want, err := os.ReadFile(p)
		if err != nil || e.Type != tree.File || !bytes.Equal(contentOf(t, src, e), want) {
			t.Errorf("%s: bytes differ (%v)", p, err)
		}
	case info.Mode()&os.ModeSymlink != 0:
		if want, _ := os.Readlink(p); e.Link != want {
			t.Errorf("%s leads to %q, want %q", p, e.Link, want)
		}
	case e.Type != tree.Dir:
		t.Errorf("%s is a %s", p, e.Type)
	}
	if e.Type != tree.Symlink && e.Mode != uint32(info.Mode().Perm()) || e.Path != "." && e.MTime.Sec != info.ModTime().Unix() {
		t.Errorf("%s: mode %o and time %d, want %v and %d", p, e.Mode, e.MTime.Sec, info.Mode(), info.ModTime().Unix())
	}
}

func TestOpenRefuses(t *testing.T) {
	image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), testOptions(16*mib))
	good, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string
		change     func(b []byte)
	}{
		{"magic", "magic number", func(b []byte) { b[1024+0x38] = 0 }},
		{"encrypt", "feature encrypt", func(b []byte) { b[1024+0x62] |= 1 }},
		{"unknown feature", "feature bit 31", func(b []byte) { b[1024+0x63] |= 0x80 }},
		{"bigalloc", "feature bigalloc", func(b []byte) { b[1024+0x65] |= 2 }},
		{"checksum", "checksum", func(b []byte) { b[1024+0x78]++ }},
		{"descriptor", "checksum of group 0", func(b []byte) { b[4096+8]++ }},
	}
	for _, test := range tests {
		b := bytes.Clone(good)
		test.change(b)
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Open says %v, want %q", test.name, err, test.want)
		}
	}
}

// withRecovery sets needs_recovery and, if dirty, a start of the log.
func withRecovery(t *testing.T, image string, dirty bool) []byte {
	t.Helper()
	runTool(t, "debugfs", "-w", "-R", "feature needs_recovery", image)
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if dirty {
		at := bytes.Index(b, []byte{0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4})
		b[at+31] = 1
	}
	return b
}

func TestNeedsRecovery(t *testing.T) {
	image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), testOptions(64*mib))
	b := withRecovery(t, image, false)
	if _, err := Open(bytes.NewReader(b), int64(len(b))); err != nil {
		t.Errorf("an empty journal: %v", err)
	}
	b = withRecovery(t, image, true)
	var needs *NeedsRecoveryError
	if _, err := Open(bytes.NewReader(b), int64(len(b))); !errors.As(err, &needs) || needs.Label != "writable" {
		t.Errorf("a journal with changes: %v", err)
	}
}

// checkDamaged reads what may be a file system; it must end, and point nowhere outside.
func checkDamaged(t *testing.T, b []byte) {
	t.Helper()
	fs, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	fs.Info()
	tr, err := fs.Tree(context.Background(), imageBlob, 0)
	if err != nil {
		return
	}
	for _, e := range tr.Entries() {
		for _, x := range e.Content.Extents {
			if x.Blob != "" && (x.Offset < 0 || x.Length < 0 || x.Offset+x.Length > int64(len(b))) {
				t.Fatalf("%q: extent %+v is outside of the image", e.Path, x)
			}
		}
	}
}

// TestDamage changes bytes of the inodes, directories and extents, many at a time, at places
// that a fixed sequence decides.
func TestDamage(t *testing.T) {
	good := smallImage(t, UninitBG)
	good[1024+0x64] &^= 0x10
	var used []int
	for i, c := range good {
		if c != 0 && i >= 1024 {
			used = append(used, i)
		}
	}
	x := uint32(7)
	next := func(n int) int { x = x*1664525 + 1013904223; return int(x>>8) % n }
	for range 4000 {
		b := bytes.Clone(good)
		for range 1 + next(6) {
			b[used[next(len(used))]+next(4)] = byte(next(256))
		}
		checkDamaged(t, b)
	}
}

// memory is an image in memory.
type memory []byte

func (m memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }

func smallImage(f testing.TB, sums Checksums) []byte {
	tr, err := tree.New(slices.DeleteFunc(everything(), func(e tree.Entry) bool { return e.Type == tree.Hardlink || e.Path == "bin/big" }))
	if err != nil {
		f.Fatal(err)
	}
	o := testOptions(512 << 10)
	o.Checksums, o.BytesPerInode = sums, 4096
	m := make(memory, o.Size)
	if err := Write(context.Background(), m, tr, tree.NewReader(nil), o); err != nil {
		f.Fatal(err)
	}
	return m
}
