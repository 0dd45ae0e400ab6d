package profile

import (
	"slices"
	"strings"
)

// Limits of the formats.
const (
	maxMBR       = 4 // primary partitions, the only ones written
	maxGPT       = 128
	maxFATLabel  = 11 // bytes of a directory entry's name
	maxExt4Label = 16 // s_volume_name
	sectorSize   = 512
	// maxCmdline is COMMAND_LINE_SIZE of arm64 and x86 kernels, less what root= and the loader add.
	maxCmdline = 2048 - 256
	// moduleName are the characters of a kernel module's name.
	moduleName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

func (v *validator) boot(p Profile) {
	if p.Boot.Loader == "" {
		v.missing("boot.loader", "raspberrypi, grub-efi, grub or none")
	}
	if p.Boot.Loader == "grub" && p.Base.Image == nil {
		v.add("boot.loader", "grub is the loader of a base image, and base names none; use grub-efi")
	}
	if p.Boot.Loader == "grub-efi" && p.Base.Image != nil {
		v.add("boot.loader", "a base image keeps its own loader: use grub (BIOS or UEFI)")
	}
	if p.Boot.Kernel == "" && p.Base.Image == nil {
		v.missing("boot.kernel", "the package that brings the kernel, linux-image-arm64 for instance")
	}
	if p.Boot.Loader == "raspberrypi" && p.Arch == "amd64" {
		v.add("boot.loader", "a Raspberry Pi is arm64, and arch is %s", p.Arch)
	}
	if p.Boot.Loader == "grub-efi" && p.Arch == "arm64" {
		v.add("boot.loader", "grub-efi is supported on amd64 only, and arch is %s", p.Arch)
	}
	if p.Boot.Loader != "raspberrypi" && p.Boot.Loader != "" && len(p.Boot.ConfigTxt) > 0 {
		v.add("boot.configTxt", "only the Raspberry Pi reads config.txt, and the loader is %s", p.Boot.Loader)
	}
	for i, line := range p.Boot.ConfigTxt {
		v.oneLine(at("boot.configTxt", i), line)
	}
	v.initrd(p)
	v.cmdline(p.Boot.Cmdline)
}

func (v *validator) initrd(p Profile) {
	for i, name := range p.Boot.InitrdModules {
		bare := strings.TrimSuffix(name, "?")
		if bare == "" || strings.Trim(bare, moduleName) != "" {
			v.add(at("boot.initrdModules", i), "%q is no name of a kernel module", name)
		}
		if bare != name && p.Boot.Initrd == InitramfsTools {
			v.add(at("boot.initrdModules", i), "initramfs-tools knows no question mark: it leaves out what the kernel lacks anyway")
		}
	}
	if p.Base.Image != nil && (p.Boot.Initrd == InitramfsTools || len(p.Boot.InitrdModules) > 0) {
		v.add("boot.initrd", "a base image keeps its own initrd")
	}
}

func (v *validator) cmdline(words []string) {
	for i, word := range words {
		path := at("boot.cmdline", i)
		switch {
		case strings.ContainsAny(word, "\n\r\x00"):
			v.add(path, "has a line break; the kernel's command line is one line")
		case strings.HasPrefix(word, "root="):
			v.add(path, "%s is not yours to set: the image's own root file system is put in", word)
		case word == "" || strings.ContainsAny(word, " \t") && !strings.Contains(word, `"`):
			v.add(path, "%q must be one parameter; write each as an item of its own", word)
		}
	}
	if n := len(strings.Join(words, " ")); n > maxCmdline {
		v.add("boot.cmdline", "has %d bytes together, and the kernel takes %d", n, maxCmdline)
	}
}

func (v *validator) disk(p Profile) {
	d := p.Disk
	if p.Base.Image != nil {
		v.baseDisk(d)
		return
	}
	if d.Table == "" {
		v.missing("disk.table", "mbr or gpt")
	}
	if d.Size == 0 {
		v.missing("disk.size", "4GiB, for instance")
	}
	if len(d.Partitions) == 0 {
		v.missing("disk.partitions", "a disk needs at least one, mounted at /")
		return
	}
	if limit := partitionLimit(d.Table); len(d.Partitions) > limit {
		v.add("disk.partitions", "there are %d, and %s has room for %d", len(d.Partitions), d.Table, limit)
	}
	v.sized("disk.size", d.Size)
	for i, part := range d.Partitions {
		v.partition(at("disk.partitions", i), part, i == len(d.Partitions)-1)
	}
	v.mounts(d.Partitions)
	v.labels(d.Partitions)
	v.room(d)
	v.loaderPartition(p)
}

// baseDisk: a base image brings its layout.
func (v *validator) baseDisk(d Disk) {
	if d.Table != "" || len(d.Partitions) > 0 {
		v.add("disk", "the layout is that of base.image: only size can be given, to make the last partition larger")
	}
	v.sized("disk.size", d.Size)
}

func partitionLimit(table string) int {
	if table == "mbr" {
		return maxMBR
	}
	return maxGPT
}

func (v *validator) sized(path string, s Size) {
	if s%sectorSize != 0 {
		v.add(path, "%d bytes are not whole sectors of %d", s, sectorSize)
	}
}

func (v *validator) partition(path string, p Partition, last bool) {
	if p.Size == 0 && !last {
		v.add(path+".size", "is missing; only the last partition may leave it out")
	}
	if p.Grow && !last {
		v.add(path+".grow", "only the last partition can grow")
	}
	if p.Grow && p.FS != "ext4" {
		v.add(path+".grow", "only ext4 can grow, and this is %s", p.FS)
	}
	v.sized(path+".size", p.Size)
	v.oneLine(path+".options", p.Options)
	if p.Mount == "" && p.FS != "none" {
		v.add(path+".mount", "is missing; a file system needs a place, such as /")
	}
	v.absolute(path+".mount", p.Mount)
	v.label(path+".label", p)
	v.cluster(path, p)
	if p.Type == "esp" && p.FS != "vfat" {
		v.add(path+".fs", "an ESP is vfat, and this is %s", p.FS)
	}
}

func (v *validator) label(path string, p Partition) {
	if strings.ContainsAny(p.Label, "\n\r\x00/\\\" ") {
		v.add(path, "%q has a space, slash, quote or line break, which LABEL= in /etc/fstab does not take", p.Label)
	}
	if p.FS == "vfat" && len(p.Label) > maxFATLabel {
		v.add(path, "%q has %d characters, and a FAT label %d at most", p.Label, len(p.Label), maxFATLabel)
	}
	if p.FS == "vfat" && strings.ContainsAny(p.Label, `*?.,;:|+=<>[]`) {
		v.add(path, "%q has a character that a FAT label can't have", p.Label)
	}
	if p.FS == "ext4" && len(p.Label) > maxExt4Label {
		v.add(path, "%q has %d bytes, and an ext4 label %d at most", p.Label, len(p.Label), maxExt4Label)
	}
}

func (v *validator) cluster(path string, p Partition) {
	if p.ClusterSize == 0 {
		return
	}
	if p.FS != "vfat" {
		v.add(path+".clusterSize", "belongs to vfat, and this is %s", p.FS)
	}
	if c := p.ClusterSize; c < 512 || c > 32<<10 || c&(c-1) != 0 {
		v.add(path+".clusterSize", "%d is not a power of two between 512 and 32KiB", c)
	}
}

func (v *validator) mounts(parts []Partition) {
	seen := map[string]bool{}
	for i, p := range parts {
		if p.Mount != "" && seen[p.Mount] {
			v.add(at("disk.partitions", i)+".mount", "%s is already mounted by an earlier partition", p.Mount)
		}
		seen[p.Mount] = true
	}
	root := slices.IndexFunc(parts, func(p Partition) bool { return p.Mount == "/" })
	if root < 0 {
		v.missing("disk.partitions", "no partition is mounted at /")
	} else if parts[root].FS != "ext4" {
		v.add(at("disk.partitions", root)+".fs", "/ must be ext4, and this is %s", parts[root].FS)
	}
}

// labels must differ, since fstab and the kernel find file systems by them.
func (v *validator) labels(parts []Partition) {
	seen := map[string]bool{}
	for i, p := range parts {
		if p.Label != "" && seen[p.Label] {
			v.add(at("disk.partitions", i)+".label", "%s is already the label of an earlier partition", p.Label)
		}
		seen[p.Label] = true
	}
}

// room compares sizes; what the table and alignment take is the disk plan's business.
func (v *validator) room(d Disk) {
	var sum Size
	for _, p := range d.Partitions {
		sum += p.Size
	}
	last := d.Partitions[len(d.Partitions)-1]
	if d.Size > 0 && (sum > d.Size || sum == d.Size && last.Size == 0) {
		v.add("disk.size", "%s is too small: its partitions have %s together", d.Size, sum)
	}
}

func (v *validator) loaderPartition(p Profile) {
	want := map[string]string{"raspberrypi": "fat", "grub-efi": "esp"}[p.Boot.Loader]
	if want == "" || v.partial {
		return
	}
	if !slices.ContainsFunc(p.Disk.Partitions, func(x Partition) bool { return x.Type == want && x.FS == "vfat" }) {
		v.add("disk.partitions", "loader %s needs a partition of type %s with vfat", p.Boot.Loader, want)
	}
	if p.Boot.Loader == "raspberrypi" && p.Disk.Table == "gpt" {
		v.add("disk.table", "a Raspberry Pi 3 boots from mbr only")
	}
}
