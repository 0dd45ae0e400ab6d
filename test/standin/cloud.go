package standin

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/tree"
)

// The layout of bionic's cloud image, in sectors. The partition that is last on the disk has the
// lowest number.
const (
	cloudSectors  = 4612096
	biosBoot      = 2048
	biosBootSize  = 8192
	cloudESP      = biosBoot + biosBootSize
	cloudESPSize  = 217088
	cloudRoot     = cloudESP + cloudESPSize
	cloudRootLast = 4612062
	cloudTail     = cloudSectors - 1 - cloudRootLast
	cloudLabel    = "cloudimg-rootfs"
	espLabel      = "UEFI"
	// cloudMaxResize is mkfs.ext4's -E resize=536870912, in bytes.
	cloudMaxResize = 536870912 * 4096
)

// Cloud is a stand-in of Ubuntu 18.04's cloud image, amd64, before qemu-img makes a qcow2 of it. As in the original, /usr
// is not merged.
type Cloud struct {
	// Sectors of the image; 0 is the size of the original.
	Sectors int64
	// GRUB is for machines with a BIOS.
	GRUB BIOSGRUB
}

// cloudSerial is the last one that was published.
const cloudSerial = "20230607"

// Name is the name of the published file.
func (c Cloud) Name() string { return "ubuntu-18.04-server-cloudimg-amd64.img" }

// URLs are where the original is published: the release, and the same build as a daily image.
func (c Cloud) URLs() []string {
	const host = "https://cloud-images.ubuntu.com/"
	return []string{
		host + "releases/bionic/release-" + cloudSerial + "/" + c.Name(),
		host + "releases/bionic/release/" + c.Name(),
		host + "bionic/" + cloudSerial + "/bionic-server-cloudimg-amd64.img",
		host + "bionic/current/bionic-server-cloudimg-amd64.img",
	}
}

// Write makes the raw image in dir and returns its path.
func (c Cloud) Write(ctx context.Context, b Base, dir string) (string, error) {
	root, esp, err := c.trees(ctx, b)
	if err != nil {
		return "", fmt.Errorf("dressing the cloud stand-in: %w", err)
	}
	name := filepath.Join(dir, c.Name()+".raw")
	return name, c.write(ctx, b, name, root, esp)
}

func (c Cloud) write(ctx context.Context, b Base, name string, root, esp tree.Tree) error {
	sectors := c.Sectors
	if sectors == 0 {
		sectors = cloudSectors
	}
	rootSize := (sectors - cloudTail - cloudRoot) * sector
	plan := disk.Plan{Size: sectors * sector, Table: disk.GPT, DiskGUID: identifier("disk"), Partitions: []disk.Partition{
		{Number: 14, Type: disk.BIOSBoot, Start: biosBoot * sector, Size: biosBootSize * sector, PartUUID: identifier("part 14")},
		{Number: 15, Type: disk.ESP, Start: cloudESP * sector, Size: cloudESPSize * sector, PartUUID: identifier("part 15")},
		{Number: 1, Type: disk.Linux, Start: cloudRoot * sector, Size: rootSize, PartUUID: identifier("part 1")},
	}}
	return writeDisk(ctx, name, plan, b.Reader, c.GRUB.regions(biosBoot), []part{
		{start: cloudESP * sector, tree: esp, fat: &fat.Options{Size: cloudESPSize * sector, Label: espLabel, VolumeID: 0xb73c4fd1, Time: b.time()}},
		{start: cloudRoot * sector, tree: root, ext4: &ext4.Options{
			Size: rootSize, Label: cloudLabel, UUID: cloudRootUUID(), HashSeed: identifier("cloud hash"), Time: b.time(),
			BytesPerInode: 8192, ReservedPercent: -1, MaxResize: cloudMaxResize}},
	})
}

func cloudRootUUID() [16]byte { return identifier("cloud root") }

func (c Cloud) trees(ctx context.Context, b Base) (root, esp tree.Tree, err error) {
	initrd, err := b.initrd(ctx)
	if err != nil {
		return root, esp, err
	}
	version, err := b.kernel()
	if err != nil {
		return root, esp, err
	}
	purged, err := Purge(b.Tree, b.Reader, notInUbuntu()...)
	if err != nil {
		return root, esp, err
	}
	w := newWardrobe(purged, b.Reader, b.time())
	w.ubuntu(Bionic(), "http://archive.ubuntu.com/ubuntu")
	w.cloudRoot(version, initrd)
	w.grubFiles(b.Tree, c.GRUB)
	w.unmerge()
	if root, err = w.tree(); err != nil {
		return root, esp, err
	}
	esp, err = espTree(b)
	return root, esp, err
}

// cloudRoot are the files of livecd-rootfs's cloud images.
func (w *wardrobe) cloudRoot(version string, initrd []byte) {
	w.dir("boot/efi")
	w.text("etc/fstab", "LABEL=cloudimg-rootfs\t/\t ext4\tdefaults\t0 1\nLABEL=UEFI\t/boot/efi\tvfat\tumask=0077\t0 1\n")
	w.text("etc/cloud/cloud.cfg.d/90_dpkg.cfg", dpkgDatasources)
	w.edit("etc/ssh/sshd_config", func(text string) string { return text + "PasswordAuthentication no\n" })
	w.put("boot/initrd.img-"+version, 0o644, tree.InlineContent(initrd))
	w.link("vmlinuz", "boot/vmlinuz-"+version)
	w.link("initrd.img", "boot/initrd.img-"+version)
	w.text("etc/default/grub", grubDefaults)
	w.text("etc/default/grub.d/50-cloudimg-settings.cfg", cloudimgSettings)
	w.put("boot/grub/grub.cfg", 0o444, tree.InlineContent([]byte(grubCfg(version))))
}

const dpkgDatasources = `# to update this file, run dpkg-reconfigure cloud-init
datasource_list: [ NoCloud, ConfigDrive, OpenNebula, DigitalOcean, Azure, AltCloud, OVF, MAAS, GCE, OpenStack, CloudSigma, SmartOS, Bigstep, Scaleway, AliYun, Ec2, CloudStack, Hetzner, IBMCloud, Oracle, Exoscale, RbxCloud, UpCloud, VMware, Vultr, LXD, NWCS, None ]
`
