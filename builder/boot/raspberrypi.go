package boot

import (
	"fmt"
	"path"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

const (
	firmwareDir = "usr/lib/raspi-firmware"
	kernelName  = "vmlinuz"
	initrdName  = "initrd.img"
)

// RaspberryPi makes the files of the FAT that a Raspberry Pi 3 or 4 boots from, with the root of
// the FAT as the tree's root: the firmware of package raspi-firmware, the newest kernel as vmlinuz
// (Debian's arm64 kernels are plain Images, which the firmware starts as they are), initrd.img, the
// kernel's own device trees, config.txt, cmdline.txt, and the empty seed of cloud-init (user-data
// and meta-data, which NoCloud needs to exist). Contents of packages are referenced, not copied;
// src is read for the head of the kernel.
func RaspberryPi(root tree.Tree, src *tree.Reader, cfg Config) (tree.Tree, error) {
	version, err := newestKernel(root, src, "arm64")
	if err != nil {
		return tree.Tree{}, err
	}
	files := newSet(cfg.Time)
	if err := files.firmware(root); err != nil {
		return tree.Tree{}, err
	}
	if err := files.kernel(root, version, cfg.Initrd); err != nil {
		return tree.Tree{}, err
	}
	if err := files.deviceTrees(root, version); err != nil {
		return tree.Tree{}, err
	}
	if err := checkParameters(cfg.Cmdline); err != nil {
		return tree.Tree{}, err
	}
	files.text("config.txt", configTxt(cfg.ConfigTxt))
	files.text("cmdline.txt", strings.Join(raspberryPiCmdline(cfg), " ")+"\n")
	files.text("user-data", "#cloud-config\n")
	files.text("meta-data", "")
	return files.tree()
}

func (s *set) firmware(root tree.Tree) error {
	found := children(root, firmwareDir)
	for _, e := range found {
		if e.Type == tree.File {
			s.put(path.Base(e.Path), 0o644, e.Content)
		}
	}
	for _, name := range []string{"bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"} {
		if _, ok := s.entries[name]; !ok {
			return &MissingFileError{Path: firmwareDir + "/" + name, Package: "raspi-firmware"}
		}
	}
	return nil
}

func (s *set) kernel(root tree.Tree, version string, initrd []byte) error {
	kernel, _ := root.Lookup("boot/vmlinuz-" + version)
	s.put(kernelName, 0o644, kernel.Content)
	if len(initrd) > 0 {
		s.put(initrdName, 0o644, tree.InlineContent(initrd))
		return nil
	}
	e, ok := root.Lookup("boot/initrd.img-" + version)
	if !ok || e.Type != tree.File {
		return &MissingFileError{Path: "boot/initrd.img-" + version}
	}
	s.put(initrdName, 0o644, e.Content)
	return nil
}

func (s *set) deviceTrees(root tree.Tree, version string) error {
	dir := "usr/lib/linux-image-" + version + "/broadcom"
	n := 0
	for _, e := range children(root, dir) {
		if e.Type == tree.File && strings.HasSuffix(e.Path, ".dtb") {
			s.put(path.Base(e.Path), 0o644, e.Content)
			n++
		}
	}
	if n == 0 {
		return &MissingFileError{Path: dir + "/*.dtb", Package: "linux-image-arm64"}
	}
	for _, e := range children(root, "usr/lib/linux-image-"+version+"/overlays") {
		if e.Type == tree.File {
			s.put("overlays/"+path.Base(e.Path), 0o644, e.Content)
		}
	}
	return nil
}

// configTxt says what raspi-firmware's own kernel hook says, under fixed names.
func configTxt(added []string) string {
	text := `# The Raspberry Pi firmware reads this file first; it can only be read from this partition.

# Switch the CPU from ARMv7 into ARMv8 (aarch64) mode
arm_64bit=1

enable_uart=1
upstream_kernel=1

kernel=` + kernelName + `
initramfs ` + initrdName + ` followkernel
cmdline=cmdline.txt
`
	if len(added) == 0 {
		return text
	}
	return text + "\n[all]\n" + strings.Join(added, "\n") + "\n"
}

// raspberryPiCmdline puts the consoles first, then where root is, then the profile's other
// parameters in their order: the firmware puts parameters of its own (cgroup_disable=memory among
// them) in front, and of two that contradict each other the later one wins.
func raspberryPiCmdline(cfg Config) []string {
	var consoles, others []string
	for _, p := range cfg.Cmdline {
		if strings.HasPrefix(p, "console=") {
			consoles = append(consoles, p)
		} else {
			others = append(others, p)
		}
	}
	if len(consoles) == 0 {
		// The mini UART of the 40-pin header, the screen, the PL011. The last one that exists is
		// /dev/console.
		consoles = []string{"console=ttyS1,115200", "console=tty0", "console=ttyAMA0,115200"}
	}
	params := append(consoles, "root=LABEL="+cfg.rootLabel(), "rootfstype=ext4", "rootwait")
	for _, p := range others {
		if p != "rootwait" && !strings.HasPrefix(p, "rootfstype=") {
			params = append(params, p)
		}
	}
	return params
}

// checkParameters refuses what would break the one line that the firmware reads.
func checkParameters(params []string) error {
	for _, p := range params {
		switch {
		case p == "" || strings.ContainsAny(p, " \t\r\n"):
			return fmt.Errorf("checking kernel parameter %q: a parameter is one word; write several as several list items", p)
		case strings.Count(p, `"`)%2 != 0:
			return fmt.Errorf("checking kernel parameter %q: it has a double quote without another, which would swallow the parameters after it", p)
		case strings.HasPrefix(p, "root="):
			return fmt.Errorf("checking kernel parameter %q: root= follows from the disk's root partition; leave it out", p)
		}
	}
	return nil
}
