package standin

import (
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

const testKernel = "6.1.0-1"

// smallBase is a base of a few files, installed by the real dpkg.
func smallBase(t *testing.T, arch string) Base {
	t.Helper()
	accounts := "root:x:0:0::/root:/bin/sh\nmosquitto:x:100:100::/:/bin/false\n"
	debs := []aptrepo.Deb{
		{Name: "base", Files: map[string]string{
			"etc/passwd": accounts, "etc/group": accounts, "etc/shadow": accounts, "etc/gshadow": accounts,
			"etc/cloud/cloud.cfg": "    distro: debian\n    name: debian\n    gecos: Debian\n", "etc/ssh/sshd_config": "UsePAM yes\n",
			"usr/lib/shim/shimx64.efi.signed": "shim", "usr/lib/shim/mmx64.efi.signed": "mok", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grub",
			"usr/lib/grub/x86_64-efi/ext2.mod": "module",
		}},
		{Name: "linux-image-" + testKernel, Files: map[string]string{
			"boot/vmlinuz-" + testKernel: "kernel", "usr/lib/linux-image-" + testKernel + "/broadcom/bcm2837-rpi-3-b.dtb": "tree",
			"usr/lib/modules/" + testKernel + "/modules.builtin": "kernel/virtio_pci.ko\nkernel/virtio_mmio.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n",
		}},
		{Name: "raspi-firmware", Files: map[string]string{"usr/lib/raspi-firmware/start.elf": "firmware"}},
	}
	for _, name := range notInUbuntu() {
		debs = append(debs, aptrepo.Deb{Name: name, Files: map[string]string{"usr/share/" + name + "/file": name}})
	}
	system, src := treeOf(t, installed(t, debs...))
	tools := tree.NewBuilder(tree.Time{})
	tools.Add(tree.Entry{Path: "bin/busybox", Type: tree.File, Mode: 0o755, Content: tree.InlineContent([]byte("busybox"))})
	w := newWardrobe(system, src, tree.Time{})
	w.link("lib", "usr/lib")
	system, err := w.tree()
	check(t, err)
	b := Base{Lock: lock.Lock{Profile: "small", Arch: arch, Epoch: 1_700_000_000}, Tree: system, Reader: src}
	b.Tools, err = tools.Tree()
	check(t, err)
	return b
}

// TestPi looks at both variants with the tools of others. Only the size is smaller than the original's.
func TestPi(t *testing.T) {
	for _, p := range []Pi{
		{Point: "20.04.3", Checksums: ext4.UninitBG, Sectors: piRoot + 120*2048 + piTail + 7, NoVirtio: true},
		{Point: "20.04.5", Checksums: ext4.MetadataCsum, Sectors: piRoot + 120*2048 + piTail + 1},
	} {
		t.Run(p.Point, func(t *testing.T) {
			name, err := p.Write(t.Context(), smallBase(t, "arm64"), t.TempDir())
			check(t, err)
			if out := run(t, "sfdisk", "--verify", name); !strings.Contains(out, "Remaining 34 unallocated") {
				t.Errorf("sfdisk says %s", out)
			}
			dump := run(t, "sfdisk", "--dump", name)
			for _, want := range []string{"label: dos", "start=        2048, size=      524288, type=c, bootable", "start=      526336", "type=83"} {
				if !strings.Contains(dump, want) {
					t.Errorf("sfdisk does not say %q:\n%s", want, dump)
				}
			}
			lookInside(t, name, 1, map[string]string{"LABEL": bootLabel, "LABEL_FATBOOT": bootLabel, "TYPE": "vfat"})
			root := lookInside(t, name, 2, map[string]string{"LABEL": rootLabel, "TYPE": "ext4"})
			if features := run(t, "dumpe2fs", "-h", root); !slices.Contains(strings.Fields(features), p.Checksums.String()) {
				t.Errorf("features are %s", features)
			}
			checkPiFiles(t, name, p)
		})
	}
}

// lookInside copies a partition out, has its file system checked and compares what blkid says.
func lookInside(t *testing.T, disk string, number int, want map[string]string) string {
	t.Helper()
	img, err := image.Open(disk)
	check(t, err)
	defer img.Close()
	part := filepath.Join(t.TempDir(), "part")
	for _, p := range img.Partitions() {
		if p.Number == number {
			run(t, "dd", "if="+disk, "of="+part, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse",
				"skip="+decimal(p.Start), "count="+decimal(p.Size))
			check(t, os.Truncate(part, p.Size))
		}
	}
	if want["TYPE"] == "ext4" {
		run(t, "e2fsck", "-fn", part)
	} else {
		run(t, "fsck.vfat", "-n", part)
	}
	said := run(t, "blkid", "--probe", part)
	for key, value := range want {
		if !strings.Contains(said, key+`="`+value+`"`) {
			t.Errorf("blkid does not say %s=%s: %s", key, value, said)
		}
	}
	return part
}

// checkPiFiles evaluates the FAT as the firmware does.
func checkPiFiles(t *testing.T, name string, p Pi) {
	t.Helper()
	img, err := image.Open(name)
	check(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	check(t, err)
	fat := tree.Sub(root.Tree, "boot/firmware")
	cmdline := text(t, fat, img.Reader(), "cmdline.txt")
	if want := p.texts()["cmdline.txt"]; cmdline != want {
		t.Errorf("cmdline.txt is %q, want %q", cmdline, want)
	}
	if got := text(t, root.Tree, img.Reader(), "etc/passwd"); strings.Contains(got, "mosquitto") || strings.Contains(got, "ubuntu") {
		t.Errorf("passwd is %q", got)
	}
	if got := text(t, root.Tree, img.Reader(), "usr/lib/os-release"); !strings.Contains(got, "\nVERSION_ID=\"20.04\"\n") || !strings.Contains(got, p.Point) {
		t.Errorf("os-release is %q", got)
	}
	kernel := filepath.Join(t.TempDir(), "vmlinuz.gz")
	write(t, kernel, text(t, fat, img.Reader(), "vmlinuz"))
	if got := run(t, "gzip", "-dc", kernel); got != "kernel" {
		t.Errorf("the kernel is %q", got)
	}
	if versions := boot.Kernels(root.Tree); len(versions) != 1 || versions[0] != testKernel {
		t.Errorf("kernels are %v", versions)
	}
	list := text(t, root.Tree, img.Reader(), "usr/lib/modules/"+testKernel+"/modules.builtin")
	sum := fmt.Sprintf("%x  usr/lib/modules/%s/modules.builtin\n", md5.Sum([]byte(list)), testKernel)
	if sums := text(t, root.Tree, img.Reader(), adminDir+"/info/linux-image-"+testKernel+".md5sums"); !strings.Contains(sums, sum) {
		t.Errorf("dpkg's sums are %q, want %q", sums, sum)
	}
	if strings.Contains(list, "virtio") == p.NoVirtio || !strings.Contains(list, "ext4") {
		t.Errorf("the drivers are %q", list)
	}
	overlay := filepath.Join(t.TempDir(), "overlay.dtb")
	write(t, overlay, text(t, fat, img.Reader(), "overlays/dwc2.dtbo"))
	run(t, "dtc", "-I", "dtb", "-O", "dts", overlay)
}

// TestCloud looks at the cloud image with the tools of others; only its size is smaller.
func TestCloud(t *testing.T) {
	grub, err := NewBIOSGRUB(t.Context(), oracle.Need(t, "grub-mkimage"), t.TempDir())
	check(t, err)
	c := Cloud{GRUB: grub, Sectors: cloudRoot + 120*2048 + cloudTail}
	name, err := c.Write(t.Context(), smallBase(t, "amd64"), t.TempDir())
	check(t, err)
	if out := run(t, "sgdisk", "-v", name); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk says %s", out)
	}
	if out := run(t, "sfdisk", "-l", name); !strings.Contains(out, "Partition table entries are not in disk order") {
		t.Errorf("sfdisk says %s", out)
	}
	lookInside(t, name, 15, map[string]string{"LABEL": espLabel, "TYPE": "vfat"})
	root := lookInside(t, name, 1, map[string]string{"LABEL": cloudLabel, "TYPE": "ext4"})
	if out := run(t, "dumpe2fs", "-h", root); !strings.Contains(out, "Reserved block count:     0\n") {
		t.Errorf("blocks are reserved: %s", out)
	}
	checkGRUB(t, name)
}

// checkGRUB lets GRUB's own parser read grub.cfg, and follows the boot code to core.img.
func checkGRUB(t *testing.T, name string) {
	t.Helper()
	img, err := image.Open(name)
	check(t, err)
	defer img.Close()
	root, err := img.Tree(t.Context(), 1)
	check(t, err)
	cfg := text(t, root, img.Reader(), "boot/grub/grub.cfg")
	file := filepath.Join(t.TempDir(), "grub.cfg")
	write(t, file, cfg)
	run(t, "grub-script-check", file)
	line := "linux\t/boot/vmlinuz-" + testKernel + " root=LABEL=cloudimg-rootfs ro  console=tty1 console=ttyS0\n"
	if n := strings.Count(cfg, line); n != 2 {
		t.Errorf("grub.cfg has %d normal entries, want 2", n)
	}
	head := make([]byte, (biosBoot+2)*sector)
	f, err := os.Open(name)
	check(t, err)
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int]byte{kernelSector: biosBoot & 0xff, kernelSector + 1: biosBoot >> 8, driveCheck: 0x90,
		biosBoot*sector + firstBlocklist: (biosBoot + 1) & 0xff, biosBoot*sector + firstBlocklist + 1: (biosBoot + 1) >> 8, 510: 0x55, 511: 0xaa} {
		if head[at] != want {
			t.Errorf("byte %d is %#x, want %#x", at, head[at], want)
		}
	}
}

// TestPublishedImages compresses both images and has xz and qemu-img look at them.
func TestPublishedImages(t *testing.T) {
	u, s := newUpstream(t), Signing{Key: newKey(t, "CD image key"), Unknown: []Key{newKey(t, "retired key")}}
	p := Pi{Point: "20.04.5", Sectors: piRoot + 120*2048 + piTail + 1}
	dir := t.TempDir()
	b := smallBase(t, "arm64")
	check(t, u.Pi(t.Context(), b, p, dir, oracle.Need(t, "xz"), s))
	file, err := u.Path(p.URL())
	check(t, err)
	// name, FILE, file, streams, blocks: xz(1), "List mode".
	if said := strings.Fields(run(t, "xz", "--robot", "--list", file)); said[3] != "1" || len(said[4]) < 3 {
		t.Errorf("xz says %v: want one stream of hundreds of blocks", said)
	}
	unpacked := filepath.Join(dir, "unpacked")
	check(t, toolTo(t.Context(), unpacked, oracle.Need(t, "xz"), "-dc", file))
	raw, err := p.Write(t.Context(), b, dir)
	check(t, err)
	run(t, "cmp", raw, unpacked)
	c := Cloud{Sectors: cloudRoot + 120*2048 + cloudTail}
	check(t, u.Cloud(t.Context(), smallBase(t, "amd64"), c, dir, oracle.Need(t, "qemu-img"), s))
	file, err = u.Path(c.URLs()[0])
	check(t, err)
	run(t, "qemu-img", "check", file)
	if out := run(t, "qemu-img", "info", file); !strings.Contains(out, "compat: 0.10") {
		t.Errorf("qemu-img says %s", out)
	}
}
