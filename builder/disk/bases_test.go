package disk

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	piFAT   = 40 << 20
	piRoot  = 20<<20 + 3*sector // no multiple of 1 MiB, nor of 4 KiB
	piSpare = 34 * sector
)

// noise is what must survive: boot code, gaps, unknown partitions.
func noise(n int, name string) []byte {
	out := make([]byte, 0, n+32)
	for sum := sha256.Sum256([]byte(name)); len(out) < n; sum = sha256.Sum256(sum[:]) {
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// newFile makes an empty file of this size and writes parts into it.
func newFile(t *testing.T, size int64, parts map[int64][]byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, b := range parts {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func readFile(t *testing.T, p string) []byte {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fileSystems makes what published images hold.
func ext4File(t *testing.T, size int64, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"etc/fstab": "LABEL=writable / ext4 defaults 0 1\n", "usr/bin/tool": strings.Repeat("tool", 50000)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := newFile(t, size, nil)
	run(t, "mke2fs", append(append([]string{"-q", "-F", "-t", "ext4", "-T", "default", "-b", "4096", "-d", dir}, args...), p)...)
	return readFile(t, p)
}

func fatFile(t *testing.T, size int64, files map[string]string, args ...string) []byte {
	t.Helper()
	p := newFile(t, size, nil)
	run(t, "mkfs.vfat", append(args, p)...)
	for name, content := range files {
		if dir := filepath.Dir(name); dir != "." {
			run(t, "mmd", "-D", "s", "-i", p, dir)
		}
		from := newFile(t, 0, map[int64][]byte{0: []byte(content)})
		run(t, "mcopy", "-i", p, from, "::"+name)
	}
	return readFile(t, p)
}

// piBase is laid out as Ubuntu's image for the Raspberry Pi.
func piBase(t *testing.T, ext4Args ...string) string {
	start := int64(alignment + piFAT)
	end := start + piRoot/sector*sector
	p := newFile(t, end+piSpare, map[int64][]byte{
		0: noise(440, "boot code"), 300 * sector: noise(5000, "gap"), end + 7: noise(1000, "tail"),
		alignment: fatFile(t, piFAT, map[string]string{"cmdline.txt": "console=tty1\n", "config.txt": "[all]\n"}, "-s", "1", "-S", "512", "-F", "32", "-n", "system-boot"),
		start:     ext4File(t, piRoot, append([]string{"-L", "writable", "-m", "5"}, ext4Args...)...),
	})
	sfdisk(t, p, fmt.Sprintf("label: dos\nlabel-id: 0xf66f0719\nstart=2048, size=%d, type=c, bootable\nstart=%d, size=%d, type=83\n", piFAT/sector, start/sector, (end-start)/sector))
	return p
}

func sfdisk(t *testing.T, p, script string) {
	t.Helper()
	in := newFile(t, 0, map[int64][]byte{0: []byte(script)})
	run(t, "sh", "-c", `PATH="$PATH:/sbin:/usr/sbin" sfdisk -q --no-reread --no-tell-kernel -w never -W never "$1" < "$2"`, "sh", p, in)
}

// cloudBase is laid out as Ubuntu's cloud image: numbers 14, 15 and 1 in this order on the disk,
// an unknown partition among them.
func cloudBase(t *testing.T, espArgs ...string) string {
	const esp, unknown, root = 12 << 20, 60 << 20, 64 << 20
	size := int64(root + 20<<20 + alignment)
	p := newFile(t, size, nil)
	run(t, "sgdisk", "-a", "1", "-n", "14:2048:10239", "-t", "14:ef02", "-n", "15:24576:+46M", "-t", "15:ef00",
		"-n", fmt.Sprintf("3:%d:+2M", unknown/sector), "-t", "3:12345678-1234-1234-1234-123456789abc", "-A", "3:set:63", "-c", "3:what is this",
		"-n", fmt.Sprintf("1:%d:%d", root/sector, size/sector-34), "-t", "1:8300", p)
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, b := range map[int64][]byte{
		0: noise(440, "boot.img"), alignment: noise(4<<20, "core.img"), unknown: noise(2<<20, "unknown"),
		esp:  fatFile(t, 46<<20, map[string]string{"EFI/GRUB.CFG": "search\n"}, append([]string{"-F", "32", "-n", "UEFI"}, espArgs...)...),
		root: ext4File(t, 20<<20+alignment-33*sector, "-L", "cloudimg-rootfs", "-i", "8192", "-m", "0", "-E", "resize=536870912"),
	} {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func openImage(t *testing.T, p string) *image.Image {
	t.Helper()
	img, err := image.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = img.Close() })
	return img
}

// with returns the tree of a partition with one more file.
func with(t *testing.T, img *image.Image, number int, name, content string) tree.Tree {
	t.Helper()
	own, err := img.Tree(context.Background(), number)
	if err != nil {
		t.Fatal(err)
	}
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	for _, e := range own.Entries() {
		b.Add(e)
	}
	b.Add(tree.Entry{Path: name, Type: tree.File, Mode: 0o644, MTime: tree.Time{Sec: 1700000000}, Content: tree.InlineContent([]byte(content))})
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const baseBlob = cas.Digest("the base image")

// rebaseImage plans and writes; the base's own contents are read from it again.
func rebaseImage(t *testing.T, from string, trees func(*image.Image) map[int]tree.Tree, size int64) (string, Plan) {
	t.Helper()
	out, p, err := tryRebase(t, from, trees, size)
	if err != nil {
		t.Fatal(err)
	}
	return out, p
}

func tryRebase(t *testing.T, from string, trees func(*image.Image) map[int]tree.Tree, size int64) (string, Plan, error) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.New(f, info.Size(), baseBlob)
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(nil)
	src.Add(baseBlob, f)
	p, err := Rebase(context.Background(), img, baseBlob, trees(img), size, [32]byte{1}, 1700000000)
	if err != nil {
		return "", p, err
	}
	out := filepath.Join(t.TempDir(), "out.img")
	return out, p, Assemble(context.Background(), out, p, src, progress.Discard{})
}
