package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

const (
	imageURL = "http://images.example.org/release"
	fatSize  = 34 << 20
)

// piFiles are those of a small published image for the Raspberry Pi.
func piFiles() map[string]string {
	return map[string]string{
		"etc/fstab": "LABEL=writable / ext4 defaults 0 1\nLABEL=system-boot /boot/firmware vfat defaults 0 1\n", "etc/machine-id": "",
		"var/lib/dpkg/status": "Package: dpkg\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1.19.7\n\n",
		"etc/passwd":          "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:19000:0:99999:7:::\n",
		"boot/firmware/config.txt":          "kernel=vmlinuz\ncmdline=cmdline.txt\n",
		"boot/firmware/cmdline.txt":         "console=tty1 root=LABEL=writable rootwait\n",
		"boot/firmware/vmlinuz":             strings.Repeat("\x00", 56) + "ARM\x64" + strings.Repeat("k", 1000) + "Linux version 5.4.0-1-raspi (x)\x00",
		"usr/bin/true":                      "true",
		"boot/firmware/bcm2711-rpi-4-b.dtb": "\xd0\x0d\xfe\xed", "boot/firmware/bcm2710-rpi-3-b.dtb": "\xd0\x0d\xfe\xed",
		"lib/modules/5.4.0-1-raspi/modules.dep": "",
	}
}

// published writes an image with these files and one of two tables.
func published(t testing.TB, table string, files map[string]string) []byte {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	for name, text := range files {
		b.Add(tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(text))})
	}
	root, err := b.Tree()
	must(t, err)
	plan, err := disk.NewPlan(profile.Disk{Table: table, Size: 80 << 20, Partitions: []profile.Partition{
		{Label: "system-boot", Type: disk.FAT, FS: disk.VFAT, Size: fatSize, Mount: "/boot/firmware", ClusterSize: 512},
		{Label: "writable", Type: disk.Linux, FS: disk.Ext4, Mount: "/"},
	}}, root, [32]byte{7}, 1700000000)
	must(t, err)
	name := filepath.Join(t.TempDir(), "x.img")
	must(t, disk.Assemble(t.Context(), name, plan, tree.NewReader(nil), progress.Discard{}))
	data, err := os.ReadFile(name)
	must(t, err)
	return data
}

// guestKernel is one that the base image need not have.
func guestKernel() aptrepo.Deb {
	return aptrepo.Deb{Name: "linux-image-6.1.0-test", Arch: "arm64", Files: map[string]string{
		"boot/vmlinuz-6.1": "kernel", "lib/modules/6.1/modules.builtin": "kernel/virtio_mmio.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n"}}
}

// onBase makes the workshop's profile one that starts from a published image.
func (w *workshop) onBase(name string, data []byte, more string) (path string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "images")
	must(w.t, os.MkdirAll(dir, 0o755))
	path = filepath.Join(dir, name)
	w.write(path, data)
	w.write(w.profile, fmt.Appendf(nil, `apiVersion: edgebake/v1
name: node
arch: arm64
base:
  image:
    urls: [%s/%s]
    sha256: %s
apt:
  sources:
    - name: test
      url: %s
      suites: [stable]
      components: [main]
      keyring: keys.gpg
      fingerprints: [%s]
components: %s
boot: {loader: raspberrypi, guestKernel: linux-image-6.1.0-test, cmdline: [cgroup_enable=memory, cgroup_memory=1]}
%s`, imageURL, name, cas.Of(data), archiveURL, w.fingerprint, w.components, more))
	return path
}

// based is a command that finds archive and image in directories.
func (w *workshop) based(args ...string) *exec.Cmd {
	return w.command(w.files(), append(args, "--mirror", imageURL+"=file://"+filepath.Join(w.dir, "images"))...)
}

// TestBadBase gives lock and bake base images that are damaged, or of other kinds. Each is refused with
// what to do, changes nothing of the base and leaves nothing in the output directory.
func TestBadBase(t *testing.T) {
	bin, good := program(t), published(t, disk.MBR, piFiles())
	without := func(name string) []byte {
		files := piFiles()
		delete(files, name)
		return published(t, disk.MBR, files)
	}
	overlay := func(w *workshop) string {
		dir := filepath.Join(w.dir, "more", "boot", "firmware")
		must(t, os.MkdirAll(dir, 0o755))
		for i := range 3 {
			w.write(filepath.Join(dir, fmt.Sprintf("firmware%d.bin", i)), bytes.Repeat([]byte("0123456789abcdef"), fatSize/3/16))
		}
		return "overlays: [./more]\n"
	}
	for name, tc := range map[string]struct {
		file   string
		data   func(t *testing.T) []byte
		more   func(w *workshop) string
		atBake bool
		code   int
		words  []string
	}{
		"truncated xz": {file: "x.img.xz", code: 1, words: []string{"base image x.img.xz", "cut off", "base.image"},
			data: func(t *testing.T) []byte {
				b := filtered(t, good, "xz", "-0", "-T2", "--block-size=8MiB", "-c")
				return b[:len(b)/2]
			}},
		"damaged xz": {file: "x.img.xz", code: 1, words: []string{"base image x.img.xz", "block 5 of 10", "base.image"},
			data: func(t *testing.T) []byte {
				b := filtered(t, good, "xz", "-0", "-T2", "--block-size=8MiB", "-c")
				b[len(b)/2] ^= 0x40
				return b
			}},
		"backing file": {file: "x.qcow2", code: 1, words: []string{"x.qcow2", "backing file", "base.raw", "qemu-img convert", "base.image"},
			data: func(t *testing.T) []byte {
				dir := t.TempDir()
				must(t, os.WriteFile(filepath.Join(dir, "base.raw"), good, 0o644))
				tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", filepath.Join(dir, "base.raw"), "-F", "raw", filepath.Join(dir, "x.qcow2"))
				return read(t, filepath.Join(dir, "x.qcow2"))
			}},
		"loop in tables": {file: "x.qcow2", code: 1, words: []string{"x.qcow2", "reading qcow2 tables", "loop", "base.image"},
			data: func(t *testing.T) []byte {
				b := qcow2(t, good)
				l1 := binary.BigEndian.Uint64(b[40:])
				l2 := binary.BigEndian.Uint64(b[l1:]) & 0x00fffffffffffe00
				binary.BigEndian.PutUint64(b[l2:], binary.BigEndian.Uint64(b[l1:])) // the first cluster is the table itself
				return b
			}},
		"errors flagged": {file: "x.img", code: 1, words: []string{"x.img", "e2fsck", "writable", "base.image"},
			data: func(t *testing.T) []byte { return flagged(t, good) }},
		"wrong architecture": {file: "x.img", code: 1, words: []string{"x.img", "amd64", "arm64", "base.image"},
			data: func(t *testing.T) []byte {
				files := piFiles()
				files["var/lib/dpkg/status"] = strings.Replace(files["var/lib/dpkg/status"], "arm64", "amd64", 1)
				return published(t, disk.MBR, files)
			}},
		"not an image": {file: "x.img", code: 1, words: []string{"x.img", "partition table", "raw image"},
			data: func(*testing.T) []byte { return bytes.Repeat([]byte("<html>nobody is here</html>"), 100) }},
		"no dpkg": {file: "x.img", code: 1, words: []string{"/var/lib/dpkg/status", "Debian"},
			data: func(*testing.T) []byte { return without("var/lib/dpkg/status") }},
		"no cmdline file": {file: "x.img", code: 1, atBake: true, words: []string{"base image x.img", "cmdline.txt", "base.image"},
			data: func(*testing.T) []byte { return without("boot/firmware/cmdline.txt") }},
		"no config.txt": {file: "x.img", code: 1, atBake: true, words: []string{"base image x.img", "config.txt", "Raspberry Pi", "base.image"},
			data: func(*testing.T) []byte { return without("boot/firmware/config.txt") }},
		"no room in the FAT": {file: "x.img", code: 1, atBake: true, words: []string{"system-boot", "the base image's", "overlays"},
			data: func(*testing.T) []byte { return good }, more: overlay},
		"smaller than the base": {file: "x.img", code: 1, atBake: true, words: []string{"can't be made smaller"},
			data: func(*testing.T) []byte { return good }, more: func(*workshop) string { return "disk: {size: 60MiB}\n" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t, bin, guestKernel())
			data, more := tc.data(t), ""
			if tc.more != nil {
				more = tc.more(w)
			}
			path := w.onBase(tc.file, data, more)
			if !tc.atBake {
				t.Log(w.ends(tc.code, w.based("lock"), tc.words...))
				if _, err := os.Stat(filepath.Join(w.dir, "node.lock.json")); err == nil {
					t.Error("a lock was written")
				}
			} else {
				w.ends(0, w.based("lock"))
				t.Log(w.ends(tc.code, w.based("bake", "--no-boot", "-o", filepath.Join(w.dir, "out")), tc.words...))
			}
			if !bytes.Equal(read(t, path), data) {
				t.Error("the base image was changed")
			}
			if left, _ := filepath.Glob(filepath.Join(w.dir, "out", "*")); len(left) > 0 {
				t.Errorf("the output directory has %v", left)
			}
		})
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	return data
}

func filtered(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), oracle.Need(t, name), args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	must(t, err)
	return out
}

func qcow2(t *testing.T, raw []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x.raw"), raw, 0o644))
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", filepath.Join(dir, "x.raw"), filepath.Join(dir, "x.qcow2"))
	return read(t, filepath.Join(dir, "x.qcow2"))
}

// flagged is the image with a root file system in which the kernel found errors.
func flagged(t *testing.T, raw []byte) []byte {
	t.Helper()
	img, err := image.New(bytes.NewReader(raw), int64(len(raw)), cas.Of(raw))
	must(t, err)
	p := img.Partitions()[1]
	part := filepath.Join(t.TempDir(), "root")
	must(t, os.WriteFile(part, raw[p.Start:p.Start+p.Size], 0o644))
	tool(t, "debugfs", "-w", "-R", "ssv state 2", part)
	out := bytes.Clone(raw)
	copy(out[p.Start:], read(t, part))
	return out
}

// TestDamagedTable bakes from an image whose first partition table is damaged: the backup is used, and
// that is said.
func TestDamagedTable(t *testing.T) {
	bin, good := program(t), published(t, disk.GPT, piFiles())
	bad := bytes.Clone(good)
	bad[512+56] ^= 0xff // the disk's identifier: the checksum of the header is wrong
	w := newWorkshop(t, bin, guestKernel())
	path := w.onBase("x.img", bad, "")
	w.ends(0, w.based("lock"), "primary partition table is damaged", "backup at the end of the image is used", "sgdisk -e")
	out := filepath.Join(w.dir, "out")
	w.ends(0, w.based("bake", "--no-boot", "-o", out), "primary partition table is damaged")
	img, err := image.Open(filepath.Join(out, "node.img"))
	must(t, err)
	defer img.Close()
	if said := img.Warnings(); len(said) > 0 {
		t.Errorf("the baked image's table is not whole: %v", said)
	}
	if !bytes.Equal(read(t, path), bad) {
		t.Error("the base image was changed")
	}
	ruined := bytes.Clone(bad)
	ruined[len(ruined)-512+56] ^= 0xff
	w.onBase("y.img", ruined, "")
	w.ends(1, w.based("lock"), "checksum", "the backup at the end")
}
