package image_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

func layout(table string) profile.Disk {
	return profile.Disk{Table: table, Size: 128 << 20, Partitions: []profile.Partition{
		{Label: "system-boot", Type: disk.FAT, FS: disk.VFAT, Size: 40 << 20, Mount: "/boot/firmware", ClusterSize: 512},
		{Label: "writable", Type: disk.Linux, FS: disk.Ext4, Mount: "/"},
	}}
}

// bake makes an image; change may add to the tree.
func bake(t testing.TB, table string, change func(*tree.Builder)) string {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	add := func(p, content string) {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(content))})
	}
	add("etc/fstab", "# comment\nLABEL=writable / ext4 defaults 0 1\nLABEL=system-boot\t/boot/firmware vfat defaults 0 1\nLABEL=other /mnt ext4 x 0 0\nproc /proc proc defaults 0 0\n")
	add("boot/firmware/cmdline.txt", "console=tty1")
	add("usr/bin/busybox", strings.Repeat("b", 9000))
	b.Add(tree.Entry{Path: "usr/bin/sh", Type: tree.Hardlink, Link: "usr/bin/busybox"})
	b.Add(tree.Entry{Path: "bin", Type: tree.Symlink, Link: "usr/bin"})
	b.Add(tree.Entry{Path: "etc/loop", Type: tree.Symlink, Link: "loop"})
	b.Add(tree.Entry{Path: "etc/out", Type: tree.Symlink, Link: "../../../boot/firmware"})
	if change != nil {
		change(b)
	}
	root, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	p, err := disk.NewPlan(layout(table), root, [32]byte{7}, 1700000000)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.img")
	if err := disk.Assemble(context.Background(), out, p, tree.NewReader(nil), progress.Discard{}); err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t *testing.T, p string) *image.Image {
	t.Helper()
	img, err := image.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = img.Close() })
	return img
}

func cat(t *testing.T, img *image.Image, root image.Root, p string) string {
	t.Helper()
	e, err := root.Resolve(p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := img.Reader().Open(e.Content)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRootSeesAllPartitions(t *testing.T) {
	for _, table := range []string{disk.MBR, disk.GPT} {
		t.Run(table, func(t *testing.T) {
			img := open(t, bake(t, table, nil))
			if img.Table() != table || len(img.Partitions()) != 2 {
				t.Fatalf("read %s, %+v", img.Table(), img.Partitions())
			}
			boot, root := img.Partitions()[0], img.Partitions()[1]
			if boot.FS != "vfat" || boot.Label != "system-boot" || boot.Type != "fat" || boot.Start != 1<<20 {
				t.Errorf("read %+v", boot)
			}
			if root.FS != "ext4" || root.Label != "writable" || root.Type != "linux" || len(root.UUID) != 36 {
				t.Errorf("read %+v", root)
			}
			all, err := img.Root(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range map[string]string{
				"/boot/firmware/cmdline.txt": "console=tty1", "etc/out/cmdline.txt": "console=tty1",
				"/bin/sh": strings.Repeat("b", 9000), "/bin/../bin/busybox": strings.Repeat("b", 9000),
			} {
				if got := cat(t, img, all, p); got != want {
					t.Errorf("%s: %.40q", p, got)
				}
			}
			if e, err := all.Lookup("/bin"); err != nil || e.Type != tree.Symlink {
				t.Errorf("Lookup follows: %+v %v", e, err)
			}
			if e, err := all.Resolve("/bin/sh"); err != nil || e.Path != "usr/bin/sh" || e.Type != tree.File {
				t.Errorf("a hard link resolves to %+v %v", e, err)
			}
			var missing *image.NotFoundError
			if _, err := all.Resolve("/bin/zsh"); !errors.As(err, &missing) || missing.At != "usr/bin/zsh" {
				t.Errorf("missing file: %v", err)
			}
			if _, err := all.Resolve("/etc/loop"); err == nil {
				t.Error("a loop of links resolves")
			}
		})
	}
}

func TestBackupOfTheGPTIsRead(t *testing.T) {
	p := bake(t, disk.GPT, nil)
	poke(t, p, 512+60, "broken")
	if n := len(open(t, p).Partitions()); n != 2 {
		t.Errorf("%d partitions", n)
	}
}

func poke(t *testing.T, p string, at int64, s string) {
	t.Helper()
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(s), at); err != nil {
		t.Fatal(err)
	}
}

func TestBareFileSystem(t *testing.T) {
	p := bake(t, disk.MBR, nil)
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string][]byte{"vfat": b[1<<20 : 41<<20], "ext4": b[41<<20:]} {
		img, err := image.New(bytes.NewReader(part), int64(len(part)), "x")
		if err != nil {
			t.Fatal(err)
		}
		if ps := img.Partitions(); img.Table() != "none" || ps[0].FS != name {
			t.Errorf("read %s %+v", img.Table(), ps)
		}
	}
}

func TestDiffNamesTheFirstDifference(t *testing.T) {
	base := bake(t, disk.MBR, nil)
	file := func(p, content string, mode uint32) func(*tree.Builder) {
		return func(b *tree.Builder) {
			b.Add(tree.Entry{Path: p, Type: tree.File, Mode: mode, Content: tree.InlineContent([]byte(content))})
		}
	}
	raw := bake(t, disk.MBR, nil)
	poke(t, raw, 300, "x")
	tests := map[string]struct {
		other string
		want  image.Difference
	}{
		"content":   {bake(t, disk.MBR, file("usr/bin/busybox", strings.Repeat("b", 5000)+"c"+strings.Repeat("b", 3999), 0o644)), image.Difference{Partition: 2, Path: "usr/bin/busybox", Attribute: "content", Offset: 5000}},
		"mode":      {bake(t, disk.MBR, file("usr/bin/busybox", strings.Repeat("b", 9000), 0o755)), image.Difference{Partition: 2, Path: "usr/bin/busybox", Attribute: "mode", A: "0644", B: "0755"}},
		"added":     {bake(t, disk.MBR, file("boot/firmware/new", "", 0)), image.Difference{Partition: 1, Path: "new", Attribute: "exists", A: "no", B: "yes"}},
		"boot code": {raw, image.Difference{Attribute: "content", Offset: 300}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, differ, err := image.Diff(context.Background(), base, tt.other)
			if err != nil || !differ {
				t.Fatal(differ, err)
			}
			if tt.want.A == "" {
				got.A, got.B = "", ""
			}
			if tt.want.Offset == 0 {
				got.Offset = 0
			}
			if got != tt.want {
				t.Errorf("got %+v", got)
			}
		})
	}
	if d, differ, err := image.Diff(context.Background(), base, bake(t, disk.MBR, nil)); differ || err != nil {
		t.Errorf("equal images: %v %v %v", d, differ, err)
	}
}

func FuzzNew(f *testing.F) {
	for _, table := range []string{disk.MBR, disk.GPT} {
		b, err := os.ReadFile(bake(f, table, nil))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:34*512])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := image.New(bytes.NewReader(b), int64(len(b)), cas.Digest("x"))
		if err != nil {
			return
		}
		for _, p := range img.Partitions() {
			if p.Start < 0 || p.Size < 0 || p.Start+p.Size > int64(len(b)) {
				t.Fatalf("%+v is outside of %d bytes", p, len(b))
			}
			_, _ = img.Tree(context.Background(), p.Number) // any fault is fine, a panic is not
		}
	})
}
