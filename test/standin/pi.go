package standin

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/tree"
)

// The layout that ubuntu-image gives Ubuntu's images for the Raspberry Pi, in sectors.
const (
	piBoot      = 2048
	piBootSize  = 524288
	piRoot      = piBoot + piBootSize
	piTail      = 34 // kept free for a backup GPT, on an MBR disk too
	piSectors3  = 6578718
	piSectors5  = 6993810
	piDiskID3   = 0xf66f0719
	piDiskID5   = 0x354db354
	rootLabel   = "writable"
	bootLabel   = "system-boot"
	clusterSize = sector // mkfs.vfat -s 1
)

// Pi is a stand-in of Ubuntu 20.04's preinstalled image for the Raspberry Pi, arm64.
type Pi struct {
	// Point release: 20.04.3 (texts of the gadget's branch 18-arm64) or 20.04.5 (branch classic, as 20.04.4 has).
	Point string
	// Checksums of the root file system: uninit_bg as the older ubuntu-image made it, or metadata_csum.
	Checksums ext4.Checksums
	// Sectors of the image; 0 is the size of the original.
	Sectors int64
	// NoVirtio leaves the drivers for virtual machines out of the kernel's modules, as the Raspberry Pi's own kernels
	// may. The initrd keeps them.
	NoVirtio bool
}

// Name is the name of the published file without .xz.
func (p Pi) Name() string {
	return fmt.Sprintf("ubuntu-%s-preinstalled-server-arm64+raspi.img", p.Point)
}

// URL is where the original is published, compressed.
func (p Pi) URL() string {
	return fmt.Sprintf("https://cdimage.ubuntu.com/releases/%s/release/%s.xz", p.Point, p.Name())
}

func (p Pi) size() (sectors int64, id uint32) {
	sectors, id = piSectors5, piDiskID5
	if p.Point == "20.04.3" {
		sectors, id = piSectors3, piDiskID3
	}
	if p.Sectors != 0 {
		sectors = p.Sectors
	}
	return sectors, id
}

// Write makes the raw image in dir and returns its path.
func (p Pi) Write(ctx context.Context, b Base, dir string) (string, error) {
	root, boot, err := p.trees(ctx, b)
	if err != nil {
		return "", fmt.Errorf("dressing the Raspberry Pi stand-in: %w", err)
	}
	name := filepath.Join(dir, p.Name())
	return name, p.write(ctx, b, name, root, boot)
}

func (p Pi) write(ctx context.Context, b Base, name string, root, boot tree.Tree) error {
	sectors, id := p.size()
	rootSize := (sectors - piTail - piRoot) * sector
	plan := disk.Plan{Size: sectors * sector, Table: disk.MBR, DiskID: id, Partitions: []disk.Partition{
		{Number: 1, Type: disk.FAT, Bootable: true, Start: piBoot * sector, Size: piBootSize * sector, ClusterSize: clusterSize, FS: disk.None},
		{Number: 2, Type: disk.Linux, Start: piRoot * sector, Size: rootSize, FS: disk.None},
	}}
	return writeDisk(ctx, name, plan, b.Reader, nil, []part{
		{start: piBoot * sector, tree: boot, fat: &fat.Options{
			Size: piBootSize * sector, Label: bootLabel, VolumeID: 0x4aadf2b5, ClusterSize: clusterSize, Time: b.time()}},
		{start: piRoot * sector, tree: root, ext4: &ext4.Options{
			Size: rootSize, Label: rootLabel, UUID: identifier("writable " + p.Point), HashSeed: identifier("hash " + p.Point),
			Time: b.time(), Checksums: p.Checksums}},
	})
}

// trees are the root file system and the FAT.
func (p Pi) trees(ctx context.Context, b Base) (root, boot tree.Tree, err error) {
	initrd, err := b.initrd(ctx)
	if err != nil {
		return root, boot, err
	}
	version, err := b.kernel()
	if err != nil {
		return root, boot, err
	}
	purged, err := Purge(b.Tree, b.Reader, append(notInUbuntu(), "raspi-firmware")...)
	if err != nil {
		return root, boot, err
	}
	w := newWardrobe(purged, b.Reader, b.time())
	r := Focal()
	r.Point = p.Point
	w.ubuntu(r, "http://ports.ubuntu.com/ubuntu-ports")
	w.piRoot(version, initrd)
	if p.NoVirtio {
		w.withoutVirtio(version)
	}
	if root, err = w.tree(); err != nil {
		return root, boot, err
	}
	boot, err = p.bootTree(b, version, initrd)
	return root, boot, err
}

// piRoot are the files of livecd-rootfs's 999-raspi2-fixes, and links to the kernel.
func (w *wardrobe) piRoot(version string, initrd []byte) {
	w.remove("boot/firmware", "etc/default/raspi-firmware*", "etc/default/raspi-extra-cmdline")
	w.dir("boot/firmware")
	w.text("etc/fstab", "LABEL=writable\t/\text4\tdefaults\t0 1\nLABEL=system-boot       /boot/firmware  vfat    defaults        0       1\n")
	w.text("etc/cloud/cloud.cfg.d/99-fake_cloud.cfg", `# configure cloud-init for NoCloud
datasource_list: [ NoCloud, None ]
datasource:
  NoCloud:
    fs_label: system-boot
`)
	w.text("etc/systemd/system/cloud-init-local.service.d/mount-seed.conf", "# Ensure our customized seed location is mounted prior to execution\n[Unit]\nRequiresMountsFor=/boot/firmware\n")
	w.text("etc/systemd/system/cloud-config.service.d/getty-wait.conf", "# Wait for cloud-init to finish (creating users, etc.) before running getty\n[Unit]\nBefore=getty.target\n")
	w.put("boot/initrd.img-"+version, 0o644, tree.InlineContent(initrd))
	for _, file := range []string{"vmlinuz", "initrd.img"} {
		w.link("boot/"+file, file+"-"+version)
		w.link("boot/"+file+".old", file+"-"+version)
	}
}

// bootTree is what the FAT holds, its root as the root.
func (p Pi) bootTree(b Base, version string, initrd []byte) (tree.Tree, error) {
	w := newWardrobe(tree.Tree{}, b.Reader, b.time())
	w.dir(".")
	from := newWardrobe(b.Tree, b.Reader, b.time())
	kernel, err := gzipped(from.read("boot/vmlinuz-" + version))
	if err != nil {
		return tree.Tree{}, err
	}
	w.put("vmlinuz", 0o755, tree.InlineContent(kernel))
	w.put("initrd.img", 0o755, tree.InlineContent(initrd))
	for i := range b.Tree.Len() {
		w.bootFile(b.Tree.At(i), version)
	}
	overlay := emptyDeviceTree()
	for _, name := range []string{"dwc2.dtbo", "vc4-kms-v3d.dtbo", "disable-bt.dtbo", "miniuart-bt.dtbo", "overlay_map.dtb"} {
		w.put("overlays/"+name, 0o755, tree.InlineContent(overlay))
	}
	for _, name := range []string{"uboot_rpi_2.bin", "uboot_rpi_3.bin", "uboot_rpi_4.bin"} {
		w.text(name, "This is no U-Boot: "+name+" of a stand-in for tests; see README.\n")
	}
	w.put("boot.scr", 0o755, tree.InlineContent(bootScript()))
	for name, text := range p.texts() {
		w.text(name, text)
	}
	if from.err != nil {
		return tree.Tree{}, from.err
	}
	return w.tree()
}

// bootFile takes a file of the firmware, or a device tree of a board with Broadcom's chip. The
// board of a Pi 3 is named bcm2710 by the Raspberry Pi's kernels and bcm2837 by others.
func (w *wardrobe) bootFile(e tree.Entry, version string) {
	name := path.Base(e.Path)
	switch path.Dir(e.Path) {
	case "usr/lib/raspi-firmware":
	case "usr/lib/linux-image-" + version + "/broadcom":
		if !strings.HasPrefix(name, "bcm27") && !strings.HasPrefix(name, "bcm2837") {
			return
		}
	default:
		return
	}
	if e.Type != tree.File {
		return
	}
	w.put(name, 0o755, e.Content)
	if board, ok := strings.CutPrefix(name, "bcm2837-"); ok {
		w.put("bcm2710-"+board, 0o755, e.Content)
	}
}
