package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

const blob = cas.Digest("volume")

func sample(t testing.TB, extra ...tree.Entry) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	big := bytes.Repeat([]byte("0123456789abcde\n"), 20000)
	for _, name := range []string{
		"cmdline.txt", "CONFIG.TXT", "bcm2711-rpi-4-b.dtb", "overlays/overlay_map.dtb", "a b.c d", "ünïcode-名前.txt",
		"LONGNA~1.TXT", "longname-one.txt", "longname-two.txt", "longname-three.txt", ".hidden", "x.tar.gz", strings.Repeat("n", 255),
		"deep/er/and/deeper/f", "thirteen-chars", "thirteenchars", "twentysix-characters-is-26",
	} {
		b.Add(tree.Entry{Path: name, Type: tree.File, Mode: 0o755, MTime: tree.Time{Sec: 1700000000}, Content: tree.InlineContent([]byte(name))})
	}
	for i := range 300 {
		b.Add(tree.Entry{Path: fmt.Sprintf("many/some-long-name-%d.dtbo", i), Type: tree.File, MTime: tree.Time{Sec: 1700000000}, Mode: 0o755})
	}
	b.Add(tree.Entry{Path: "big.bin", Type: tree.File, Mode: 0o755, MTime: tree.Time{Sec: 1700000001}, Content: tree.InlineContent(big)})
	b.Add(tree.Entry{Path: "big-link.bin", Type: tree.Hardlink, Link: "big.bin"})
	for _, e := range extra {
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t testing.TB, tr tree.Tree, o Options) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "fat.img")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(o.Size); err != nil {
		t.Fatal(err)
	}
	if err := Write(context.Background(), f, tr, tree.NewReader(nil), o); err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t testing.TB, p string) (Info, tree.Tree, *tree.Reader) {
	t.Helper()
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	tr, err := fs.Tree(context.Background(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(nil)
	src.Add(blob, f)
	return fs.Info(), tr, src
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func volumes() map[string]Options {
	return map[string]Options{
		"Pi":              {Size: 256 << 20, Label: "system-boot", VolumeID: 0xdeadbeef, ClusterSize: 512},
		"Pi 512 MiB":      {Size: 512 << 20, Label: "system-boot", VolumeID: 1, ClusterSize: 512},
		"ESP":             {Size: 106 << 20, Label: "UEFI", VolumeID: 2},
		"4 KiB clusters":  {Size: 300 << 20, Label: "big"},
		"FAT16":           {Size: 16 << 20, Label: "seed"},
		"FAT16 4 KiB":     {Size: 64<<20 + 700, Label: "cidata", ClusterSize: 4096},
		"border":          {Size: 34091008, Label: "border", ClusterSize: 512},
		"border 16":       {Size: 33803264, Label: "border", ClusterSize: 512},
		"without a label": {Size: 16 << 20},
	}
}

func TestWriteIsCleanAndReadsBack(t *testing.T) {
	oracle.Need(t, "fsck.vfat")
	for name, o := range volumes() {
		t.Run(name, func(t *testing.T) {
			o.Time = tree.Time{Sec: 1700000000}
			want := sample(t)
			p := write(t, want, o)
			if out := run(t, "fsck.vfat", "-n", "-v", p); strings.Contains(out, "differences") || strings.Contains(out, "Dirty") {
				t.Errorf("fsck.vfat: %s", out)
			}
			info, got, src := read(t, p)
			if info.Label != o.Label || info.VolumeID != o.VolumeID {
				t.Errorf("read %+v", info)
			}
			compare(t, want, got, src)
		})
	}
}

// compare holds names, kinds, times and bytes of two trees together.
func compare(t *testing.T, want, got tree.Tree, src *tree.Reader) {
	t.Helper()
	if want.Len() != got.Len() {
		t.Errorf("%d entries were read and %d written", got.Len(), want.Len())
	}
	for _, e := range want.Entries() {
		g, ok := got.Lookup(e.Path)
		if e.Type == tree.Hardlink {
			e, _ = want.Lookup(e.Link)
		}
		if !ok || g.Type != e.Type {
			t.Errorf("%s: read %+v", e.Path, g)
			continue
		}
		if equal, err := tree.Equal(src, e.Content, g.Content); err != nil || !equal {
			t.Errorf("%s: contents differ (%v)", e.Path, err)
		}
		if d := e.MTime.Sec - g.MTime.Sec; e.Path != "." && (d < 0 || d > 1) {
			t.Errorf("%s: time %d was read, %d written", e.Path, g.MTime.Sec, e.MTime.Sec)
		}
	}
}

func TestGeometryIsThatOfMkfs(t *testing.T) {
	p := write(t, sample(t), volumes()["Pi"])
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if got := int(b[36]) | int(b[37])<<8; got != 4033 {
		t.Errorf("a FAT has %d sectors, and mkfs.fat's 4033", got)
	}
	if label := string(b[71:82]); label != "system-boot" {
		t.Errorf("label in the boot sector is %q", label)
	}
	if !bytes.Equal(b[:1024], b[6*512:8*512]) {
		t.Error("the backup of the boot sector differs")
	}
}

func TestMtoolsReadsIt(t *testing.T) {
	mcopy := oracle.Need(t, "mcopy")
	for _, name := range []string{"Pi", "FAT16"} {
		p := write(t, sample(t), volumes()[name])
		dir := t.TempDir()
		cmd := exec.Command(mcopy, "-s", "-n", "-i", p, "::", dir)
		cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mcopy: %v\n%s", err, out)
		}
		for _, f := range []string{"cmdline.txt", "overlays/overlay_map.dtb", "longname-three.txt", "deep/er/and/deeper/f"} {
			if b, err := os.ReadFile(filepath.Join(dir, f)); err != nil || string(b) != f {
				t.Errorf("%s: %q %v", f, b, err)
			}
		}
		if list := run(t, "mdir", "-i", p, "::"); name == "Pi" && !strings.Contains(list, "system-boot") {
			t.Errorf("mdir shows another label: %s", list)
		}
	}
}

func TestReadsWhatMkfsAndMtoolsWrite(t *testing.T) {
	mkfs, mcopy := oracle.Need(t, "mkfs.vfat"), oracle.Need(t, "mcopy")
	for _, tt := range []struct {
		bits, size string
	}{{"12", "1440"}, {"16", "20480"}, {"32", "65536"}} {
		t.Run("FAT"+tt.bits, func(t *testing.T) {
			dir := t.TempDir()
			p := filepath.Join(dir, "img")
			run(t, mkfs, "-C", "-F", tt.bits, "-n", "LABEL", "-i", "12345678", p, tt.size)
			big := filepath.Join(dir, "A file with a long name.bin")
			want := bytes.Repeat([]byte("edgebake"), 30000)
			if err := os.WriteFile(big, want, 0o644); err != nil {
				t.Fatal(err)
			}
			run(t, "mmd", "-i", p, "::sub")
			run(t, mcopy, "-i", p, big, "::one.txt")
			run(t, mcopy, "-i", p, big, "::gone.txt")
			run(t, mcopy, "-i", p, big, "::sub/")
			run(t, "mdel", "-i", p, "::one.txt")
			run(t, mcopy, "-i", p, big, "::lower.txt") // lies where one.txt was
			info, got, src := read(t, p)
			if fmt.Sprint(info.Bits) != tt.bits || info.Label != "LABEL" || info.VolumeID != 0x12345678 {
				t.Errorf("read %+v", info)
			}
			for _, f := range []string{"sub/A file with a long name.bin", "lower.txt", "gone.txt"} {
				e, _ := got.Lookup(f)
				if equal, err := tree.Equal(src, e.Content, tree.InlineContent(want)); !equal || err != nil {
					t.Errorf("%s differs: %v", f, err)
				}
			}
			if _, ok := got.Lookup("one.txt"); ok {
				t.Error("a deleted file is there")
			}
		})
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	o := volumes()["FAT16"]
	a, _ := os.ReadFile(write(t, sample(t), o))
	b, _ := os.ReadFile(write(t, sample(t), o))
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Error("two writes differ")
	}
}

func TestWriteRefuses(t *testing.T) {
	file := func(p string) tree.Entry { return tree.Entry{Path: p, Type: tree.File} }
	tests := map[string]struct {
		entry tree.Entry
		want  []string
	}{
		"case clash":   {file("Cmdline.TXT"), []string{"Cmdline.TXT", "cmdline.txt", "case"}},
		"symlink":      {tree.Entry{Path: "ln", Type: tree.Symlink, Link: "x"}, []string{"ln", "symlink"}},
		"device":       {tree.Entry{Path: "dev/null", Type: tree.CharDevice}, []string{"dev/null", "chardevice"}},
		"colon":        {file("a:b"), []string{"a:b", "forbids"}},
		"trailing dot": {file("a."), []string{"drops"}},
		"not UTF-8":    {file("a\xff"), []string{"UTF-8"}},
		"long":         {file(strings.Repeat("x", 256)), []string{"255"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Write(context.Background(), discard{}, sample(t, tt.entry), tree.NewReader(nil), volumes()["FAT16"])
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestTooSmallSaysWhatFits(t *testing.T) {
	for _, fileSize := range []int64{5 << 20, 60 << 20} {
		zeros := tree.Entry{Path: "zeros", Type: tree.File, Content: tree.Content{Size: fileSize, Extents: []tree.Extent{{Length: fileSize}}}}
		tr := sample(t, zeros)
		o := Options{Size: 4 << 20, Label: "small", ClusterSize: 512}
		err := Write(context.Background(), discard{}, tr, tree.NewReader(nil), o)
		var small *TooSmallError
		if !errors.As(err, &small) {
			t.Fatalf("got %v", err)
		}
		o.Size = small.Need
		if err := Write(context.Background(), discard{}, tr, tree.NewReader(nil), o); err != nil {
			t.Errorf("with the size it asked for: %v", err)
		}
		o.Size = small.Need - 2048
		if err := Write(context.Background(), discard{}, tr, tree.NewReader(nil), o); err == nil {
			t.Error("2 KiB less do as well")
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, name := range []string{"FAT16", "Pi"} {
		b, err := os.ReadFile(write(f, sample(f), volumes()[name]))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:64<<10])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &padded{b: b, size: 64 << 20}
		fs, err := Open(r, r.size)
		if err != nil {
			return
		}
		tr, err := fs.Tree(context.Background(), blob, 0)
		if err != nil {
			return
		}
		for _, e := range tr.Entries() {
			var sum int64
			for _, x := range e.Content.Extents {
				sum += x.Length
			}
			if sum != e.Content.Size {
				t.Fatalf("%s: extents cover %d of %d bytes", e.Path, sum, e.Content.Size)
			}
		}
	})
}

// padded is b followed by zeros.
type padded struct {
	b    []byte
	size int64
}

func (p *padded) ReadAt(out []byte, off int64) (int, error) {
	if off < 0 || off >= p.size {
		return 0, io.EOF
	}
	clear(out)
	if off < int64(len(p.b)) {
		copy(out, p.b[off:])
	}
	return len(out), nil
}
