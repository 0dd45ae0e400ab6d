package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

const mib = 1 << 20

func testOptions(size int64) Options {
	o := Options{Size: size, Label: "writable", Time: tree.Time{Sec: 1700000000, Nsec: 5}}
	for i := range o.UUID {
		o.UUID[i], o.HashSeed[i] = byte(i+1), byte(0xF0-3*i)
	}
	return o
}

// writeImage writes t to a new sparse file.
func writeImage(t *testing.T, tr tree.Tree, src *tree.Reader, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(o.Size); err != nil {
		t.Fatal(err)
	}
	if err := Write(context.Background(), f, tr, src, o); err != nil {
		t.Fatal(err)
	}
	return path
}

func runTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(oracle.Need(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%.6000s", name, args, err, out)
	}
	return string(out)
}

func fsck(t *testing.T, image string) { t.Helper(); runTool(t, "e2fsck", "-fn", image) }

func mustTree(t *testing.T, es []tree.Entry) tree.Tree {
	t.Helper()
	tr, err := tree.New(es)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var when = tree.Time{Sec: 1600000000, Nsec: 123456789}

func dir(p string) tree.Entry {
	return tree.Entry{Path: p, Type: tree.Dir, Mode: 0o755, MTime: when}
}

func file(p string, b []byte) tree.Entry {
	return tree.Entry{Path: p, Type: tree.File, Mode: 0o644, MTime: when, Content: tree.InlineContent(b)}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// everything is a tree with each kind of entry.
func everything() []tree.Entry {
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255}
	caps := []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	es := []tree.Entry{dir("."), dir("bin"), dir("empty"), dir("deep"), dir("deep/er"), dir("deep/er/est"),
		file("deep/er/est/file", []byte("far down\n")), file("none", nil), file("bin/big", pattern(3*mib+77)),
		{Path: "bin/fast", Type: tree.Symlink, Mode: 0o777, MTime: when, Link: "big"},
		{Path: "bin/fast59", Type: tree.Symlink, Mode: 0o777, MTime: when, Link: strings.Repeat("x", 59)},
		{Path: "bin/slow60", Type: tree.Symlink, Mode: 0o777, MTime: when, Link: strings.Repeat("y", 60)},
		{Path: "bin/slow", Type: tree.Symlink, Mode: 0o777, MTime: when, Link: strings.Repeat("long/", 200)},
		{Path: "bin/aaa", Type: tree.Hardlink, Link: "bin/big"},
		{Path: "hard", Type: tree.Hardlink, Link: "bin/big"},
		{Path: "null", Type: tree.CharDevice, Mode: 0o666, MTime: when, Major: 1, Minor: 3},
		{Path: "whiteout", Type: tree.CharDevice, Mode: 0, MTime: when},
		{Path: "large", Type: tree.BlockDevice, Mode: 0o660, MTime: when, Major: 259, Minor: 70000},
		{Path: "fifo", Type: tree.Fifo, Mode: 0o600, MTime: when},
		{Path: "socket", Type: tree.Socket, Mode: 0o755, MTime: when},
		{Path: "old", Type: tree.File, Mode: 0o4755, UID: 70000, GID: 1 << 20, MTime: tree.Time{Sec: -1000000000, Nsec: 999999999}},
		{Path: "future", Type: tree.Dir, Mode: 0o1777, MTime: tree.Time{Sec: 5000000000, Nsec: 1}},
		file("name \xff\xfe\n", []byte("bytes"))}
	attrs := file("attrs", []byte("x"))
	attrs.Xattrs = []tree.Xattr{{Name: "security.capability", Value: caps}, {Name: "system.posix_acl_access", Value: acl},
		{Name: "trusted.overlay.opaque", Value: []byte("y")}, {Name: "user.empty", Value: []byte{}}, {Name: "user.long", Value: pattern(3000)}}
	onlyBody := file("capable", []byte("x"))
	onlyBody.Xattrs = []tree.Xattr{{Name: "security.capability", Value: caps}}
	withACL := dir("acl")
	withACL.Xattrs = []tree.Xattr{{Name: "system.posix_acl_default", Value: acl}}
	return append(es, attrs, onlyBody, withACL)
}

func manyFiles(dirs, files, size int) []tree.Entry {
	es := []tree.Entry{dir(".")}
	for d := range dirs {
		p := fmt.Sprintf("d%04d", d)
		es = append(es, dir(p))
		for f := range files {
			es = append(es, file(fmt.Sprintf("%s/file-%05d.dat", p, f), pattern(size)))
		}
	}
	return es
}

// names returns one directory of n names of length.
func names(n, length int) []tree.Entry {
	es := []tree.Entry{dir("."), dir("big")}
	for i := range n {
		es = append(es, file(fmt.Sprintf("big/%0*d", length, i), nil))
	}
	return es
}

func TestWriteIsCleanForE2fsck(t *testing.T) {
	tests := []struct {
		name    string
		entries []tree.Entry
		size    int64
		change  func(*Options)
	}{
		{"nothing", nil, 16 * mib, nil},
		{"empty", []tree.Entry{dir(".")}, 64 * mib, nil},
		{"tiny without journal", []tree.Entry{dir(".")}, 1 * mib, nil},
		{"odd size", everything(), 200*mib + 12345, nil},
		{"everything", everything(), 64 * mib, nil},
		{"uninit_bg", everything(), 300 * mib, func(o *Options) { o.Checksums = UninitBG }},
		{"many files", manyFiles(100, 200, 100), 600 * mib, nil},
		{"index", names(60000, 12), 1200 * mib, nil},
		{"index of two levels", names(20000, 250), 1024 * mib, nil},
		{"index of two levels, uninit_bg", names(20000, 250), 1024 * mib, func(o *Options) { o.Checksums = UninitBG }},
		{"many inodes", everything(), 5000 * mib, func(o *Options) { o.BytesPerInode = 4096 }},
		{"few inodes", everything(), 5000 * mib, func(o *Options) { o.BytesPerInode = 1 << 20 }},
		{"several flex groups", everything(), 20000 * mib, nil},
		{"large", everything(), 300 << 30, nil},
		{"large journal", everything(), 4000 * mib, func(o *Options) { o.JournalSize = 1 << 30 }},
		{"no reserve", everything(), 2252 * mib, func(o *Options) { o.MaxResize, o.ReservedPercent = 1, -1 }},
		{"cloud image", everything(), 2252 * mib, func(o *Options) { o.MaxResize = 2 << 40; o.BytesPerInode = 8192 }},
		{"last group dropped", everything(), 128*mib + 40*4096, nil},
		{"last group kept", everything(), 1280*mib + 1200*4096, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := testOptions(test.size)
			if test.change != nil {
				test.change(&o)
			}
			var tr tree.Tree
			if test.entries != nil {
				tr = mustTree(t, test.entries)
			}
			fsck(t, writeImage(t, tr, tree.NewReader(nil), o))
		})
	}
}

func TestManySubdirectories(t *testing.T) {
	es := []tree.Entry{dir(".")}
	for i := range 65010 {
		es = append(es, dir(fmt.Sprintf("d%d", i)))
	}
	fsck(t, writeImage(t, mustTree(t, es), tree.NewReader(nil), testOptions(1500*mib)))
}

func TestWriteTwiceIsIdentical(t *testing.T) {
	tr := mustTree(t, everything())
	var images [2][]byte
	for i := range images {
		b, err := os.ReadFile(writeImage(t, tr, tree.NewReader(nil), testOptions(64*mib)))
		if err != nil {
			t.Fatal(err)
		}
		images[i] = b
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two writes of one tree differ")
	}
}

func TestTooSmall(t *testing.T) {
	for _, es := range [][]tree.Entry{manyFiles(10, 20, 50000), names(9000, 12)} {
		tr := mustTree(t, es)
		o := testOptions(8 * mib)
		f, err := os.Create(filepath.Join(t.TempDir(), "image"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = Write(context.Background(), f, tr, tree.NewReader(nil), o)
		var small *TooSmallError
		if !errors.As(err, &small) || small.Have != o.Size || small.Need <= small.Have {
			t.Fatalf("Write says %v, want a TooSmallError", err)
		}
		if info, _ := f.Stat(); info.Size() != 0 {
			t.Errorf("%d bytes were written although the tree does not fit", info.Size())
		}
		min, err := MinSize(tr, o)
		if err != nil || min != small.Need {
			t.Errorf("MinSize says %d (%v), the error %d", min, err, small.Need)
		}
		o.Size = small.Need
		fsck(t, writeImage(t, tr, tree.NewReader(nil), o))
	}
}

func TestResize2fs(t *testing.T) {
	for _, sums := range []Checksums{MetadataCsum, UninitBG} {
		o := testOptions(300 * mib)
		o.Checksums = sums
		image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), o)
		runTool(t, "resize2fs", image, "600M")
		fsck(t, image)
		runTool(t, "resize2fs", image, "20G")
		fsck(t, image)
		if got := runTool(t, "debugfs", "-R", "cat /deep/er/est/file", image); !strings.Contains(got, "far down\n") {
			t.Errorf("after resizing, a file holds %q", got)
		}
	}
}

// nodelalloc comes on top of the settings, mke2fs's or those of the file system before.
func TestNoDelayedAllocation(t *testing.T) {
	for want, super := range map[string]*Super{"user_xattr acl nodelalloc": nil, "debug nodelalloc": {MountOptions: 1, MaxMounts: 0xFFFF}} {
		o := testOptions(64 * mib)
		o.NoDelayedAllocation, o.Super = true, super
		image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), o)
		fsck(t, image)
		if got := dumpField(runTool(t, "dumpe2fs", "-h", image), "Default mount options"); got != want {
			t.Errorf("default mount options are %q instead of %q", got, want)
		}
	}
}

func TestDumpe2fsAgrees(t *testing.T) {
	image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), testOptions(2048*mib))
	got := runTool(t, "dumpe2fs", "-h", image)
	reference := filepath.Join(t.TempDir(), "reference")
	if err := os.WriteFile(reference, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	runTool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file", "-L", "writable", "-m", "5", reference, "2G")
	want := runTool(t, "dumpe2fs", "-h", reference)
	for _, field := range []string{"Filesystem volume name", "Filesystem features", "Filesystem flags", "Default mount options", "Inode count",
		"Block count", "Reserved block count", "Reserved GDT blocks", "Inodes per group", "Flex block group size", "First inode", "Inode size",
		"Required extra isize", "Journal inode", "Default directory hash", "Journal backup", "Checksum type", "Total journal blocks", "Maximum mount count"} {
		if a, b := dumpField(got, field), dumpField(want, field); a != b || a == "" {
			t.Errorf("%s is %q, mke2fs makes %q", field, a, b)
		}
	}
	if id := dumpField(got, "Filesystem UUID"); id != "01020304-0506-0708-090a-0b0c0d0e0f10" {
		t.Errorf("UUID is %s", id)
	}
}

func dumpField(dump, field string) string {
	for line := range strings.Lines(dump) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// TestSparseAndLarge has a file beyond 4 GiB with holes, and one of more extents than one block
// of an extent tree holds; debugfs must read them back.
func TestSparseAndLarge(t *testing.T) {
	blob := cas.Of([]byte("blob"))
	data := pattern(64 * 1024)
	src := tree.NewReader(nil)
	src.Add(blob, bytes.NewReader(data))
	large := tree.Entry{Path: "large", Type: tree.File, Mode: 0o644, MTime: when, Content: tree.Content{Size: 5<<30 + 100, Extents: []tree.Extent{
		{Blob: blob, Length: 5000}, {Length: 5<<30 - 5000}, {Blob: blob, Offset: 3, Length: 100}}}}
	fragments := tree.Entry{Path: "fragments", Type: tree.File, Mode: 0o644, MTime: when}
	for i := range 2000 {
		fragments.Content.Extents = append(fragments.Content.Extents, tree.Extent{Blob: blob, Offset: int64(i), Length: 4096}, tree.Extent{Length: 4096})
		fragments.Content.Size += 8192
	}
	tr := mustTree(t, []tree.Entry{dir("."), large, fragments})
	image := writeImage(t, tr, src, testOptions(100*mib))
	fsck(t, image)
	out := filepath.Join(t.TempDir(), "out")
	runTool(t, "debugfs", "-R", "dump /fragments "+out, image)
	got, _ := os.ReadFile(out)
	for i := range 2000 {
		if !bytes.Equal(got[8192*i:8192*i+4096], data[i:i+4096]) {
			t.Fatalf("fragment %d differs", i)
		}
	}
}

func TestDebugfsReadsBack(t *testing.T) {
	image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), testOptions(64*mib))
	out := filepath.Join(t.TempDir(), "out")
	runTool(t, "debugfs", "-R", "dump /hard "+out, image)
	if got, _ := os.ReadFile(out); !bytes.Equal(got, pattern(3*mib+77)) {
		t.Error("a hard link's bytes differ")
	}
	tests := []struct{ command, want string }{
		{"stat /old", "mtime: 0xc4653600:ee6b27fc"}, // 1938
		{"stat /old", "User: 70000   Group: 1048576"},
		{"stat /old", "Mode:  04755"},
		{"stat /future", "mtime: 0x2a05f200:00000005"},
		{"stat /hard", "Links: 3"},
		{"stat /bin/fast59", "Fast link dest: \"" + strings.Repeat("x", 59)},
		{"stat /large", "Device major/minor number: 259:70000"},
		{"stat /null", "Device major/minor number: 01:03"},
		{"ea_list /attrs", "user.long (3000)"},
		{"ea_list /attrs", "user.empty (0)"},
		{"ea_get /attrs trusted.overlay.opaque", "(1) = \"y\""},
		{"ea_list /capable", "security.capability (20)"},
		{"ea_get /acl system.posix_acl_default", "= 02 00 00 00 01 00 07 00"},
	}
	for _, test := range tests {
		if got := runTool(t, "debugfs", "-R", test.command, image); !strings.Contains(got, test.want) {
			t.Errorf("debugfs %s says\n%s\nwant %s", test.command, got, test.want)
		}
	}
}

func TestNameHash(t *testing.T) {
	seed := testOptions(0).HashSeed
	for _, name := range []string{"a", "hello", "exactly-thirty-two-bytes-of-name", "a name that is longer than thirty-two bytes by far", "\xe4\xf6\xfc"} {
		out := runTool(t, "debugfs", "-R", fmt.Sprintf("dx_hash -s %s -h half_md4 \"%s\"", uuidString(seed), name))
		major, minor := nameHash(seed, name)
		if want := fmt.Sprintf("%#x (minor %#x)", major, minor); !strings.Contains(out, want) {
			t.Errorf("hash of %q is %s, debugfs: %s", name, want, out)
		}
	}
}

func uuidString(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
