// Package initramfs makes the first user space a kernel starts, in process.
//
// An archive is cpio's "newc" format (Linux: Documentation/driver-api/early-userspace/
// buffer-format.rst), its bytes decided by its input only. It holds the distribution's static
// busybox, the kernel modules that are needed with their dependencies in loading order, and one
// init script: ForGuest's runs a configure job on a scratch disk and powers off, ForImage's finds
// the root file system of an installed image and starts its init.
//
// Supported are modules that are plain or compressed with gzip, xz or zstd, and root named by
// LABEL, UUID, PARTUUID (GPT and MBR) or device.
package initramfs

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/edgebake/edgebake/builder/tree"
)

//go:embed scripts/guest-init.sh
var guestInit []byte

//go:embed scripts/bytecompile.py
var byteCompile []byte

// ByteCompile is the program that makes calls of py3compile.
func ByteCompile() []byte { return byteCompile }

//go:embed scripts/pycompile.py
var pyCompile []byte

//go:embed scripts/certificates.pl
var certificates []byte

//go:embed scripts/warm.pl
var warmPerl []byte

//go:embed scripts/ask.sh
var askPerl []byte

//go:embed scripts/image-init.sh
var imageInit []byte

// Source is where the parts of an initramfs come from: a tree with the files of one kernel
// package and of busybox-static.
type Source struct {
	Arch    string // Debian's name
	Tree    tree.Tree
	Reader  *tree.Reader
	Version string // of the kernel, as in lib/modules/VERSION; "" is the only one in the tree
}

// Compression of an image's initrd.
type Compression string

const (
	Gzip Compression = "gzip" // every kernel takes it
	Zstd Compression = "zstd" // since Linux 5.9; decodes several times faster
	None Compression = "none"
)

// ForGuest returns the uncompressed archive that a configure job starts with. A job's own files
// follow it as a second archive (Archive), which the kernel unpacks over it.
func ForGuest(ctx context.Context, s Source) ([]byte, error) {
	return build(ctx, s, guestInit, guestModules(s.Arch),
		File{Path: "bytecompile.py", Mode: 0o644, Data: byteCompile}, File{Path: "pycompile.py", Mode: 0o644, Data: pyCompile},
		File{Path: "certificates.pl", Mode: 0o644, Data: certificates},
		File{Path: "warm.pl", Mode: 0o644, Data: warmPerl}, File{Path: "ask.sh", Mode: 0o755, Data: askPerl})
}

// CheckGuest says what the kernel of s lacks for ForGuest, busybox aside.
func CheckGuest(ctx context.Context, s Source) error {
	_, err := Modules(ctx, s, guestModules(s.Arch))
	return err
}

// ForImage returns the initrd of an image, with the modules that every image has and more, by name. Zero value of c is Gzip.
func ForImage(ctx context.Context, s Source, c Compression, more ...string) ([]byte, error) {
	raw, err := build(ctx, s, imageInit, append(imageModules(s.Arch), more...))
	if err != nil {
		return nil, err
	}
	return Compress(raw, c)
}

// guestModules names crc32c_generic because ext4 asks for it at mount time only, by its algorithm:
// neither "depends" nor every version's "softdep" has it.
func guestModules(arch string) []string {
	if arch == "amd64" {
		return []string{"virtio_pci", "virtio_blk", "crc32c_generic?", "crc32c_intel?", "ext4"}
	}
	return []string{"virtio_mmio", "virtio_blk", "crc32c_generic?", "ext4"}
}

// imageModules is what a root file system can be behind: the boards' card readers, USB storage,
// virtual machines and PCs. A question mark says that a kernel may lack it.
func imageModules(arch string) []string {
	names := []string{
		"virtio_pci", "virtio_mmio?", "virtio_blk", "virtio_scsi?", "sd_mod?", "nvme?",
		"xhci_pci?", "usb_storage?", "uas?", "mmc_block?", "crc32c_generic?", "ext4",
	}
	if arch == "amd64" {
		return append(names, "ahci?", "ata_piix?", "ehci_pci?", "sdhci_pci?", "sdhci_acpi?", "hv_storvsc?", "vmw_pvscsi?", "crc32c_intel?")
	}
	return append(names, "bcm2835_dma?", "bcm2835?", "bcm2835_sdhost?", "sdhci_iproc?", "gpio_regulator?", "fixed?",
		"reset_raspberrypi?", "pcie_brcmstb?", "phy_generic?", "dwc2?", "xhci_plat_hcd?", "ahci?")
}

func build(ctx context.Context, s Source, init []byte, wanted []string, extra ...File) ([]byte, error) {
	busybox, err := readBusybox(s)
	if err != nil {
		return nil, err
	}
	modules, err := Modules(ctx, s, wanted)
	if err != nil {
		return nil, err
	}
	files := append(skeleton(init, busybox), extra...)
	var order strings.Builder
	for _, m := range modules {
		files = append(files, File{Path: "modules/" + m.Name + ".ko", Mode: 0o644, Data: m.Data})
		order.WriteString(m.Name + "\n")
	}
	files = append(files, File{Path: "modules/order", Mode: 0o644, Data: []byte(order.String())})
	var out bytes.Buffer
	if err := Archive(&out, files); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func skeleton(init, busybox []byte) []File {
	var files []File
	for _, dir := range []string{"bin", "dev", "etc", "modules", "proc", "root", "run", "sys"} {
		files = append(files, File{Path: dir, Type: tree.Dir, Mode: 0o755})
	}
	return append(files,
		// The kernel opens it as init's standard streams before init can mount anything.
		File{Path: "dev/console", Type: tree.CharDevice, Mode: 0o600, Major: 5, Minor: 1},
		File{Path: "dev/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		File{Path: "bin/busybox", Mode: 0o755, Data: busybox},
		File{Path: "bin/sh", Type: tree.Symlink, Data: []byte("busybox")},
		File{Path: "init", Mode: 0o755, Data: init},
	)
}

// Busybox finds busybox-static's program, on either side of a merged /usr, and returns it as bin/busybox.
func Busybox(t tree.Tree) (tree.Entry, error) {
	for _, p := range []string{"bin/busybox", "usr/bin/busybox"} {
		e, ok := t.Lookup(p)
		if ok && e.Type == tree.Hardlink {
			e, ok = t.Lookup(e.Link)
		}
		if ok {
			e.Path = "bin/busybox"
			return e, nil
		}
	}
	return tree.Entry{}, fmt.Errorf("making initramfs: the tree has no bin/busybox; add the package busybox-static")
}

func readBusybox(s Source) ([]byte, error) {
	e, err := Busybox(s.Tree)
	if err != nil {
		return nil, err
	}
	return readEntry(s, e)
}

// readEntry reads a file, through at most one hard link.
func readEntry(s Source, e tree.Entry) ([]byte, error) {
	if e.Type == tree.Hardlink {
		e, _ = s.Tree.Lookup(e.Link)
	}
	r, err := s.Reader.Open(e.Content)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return data, nil
}

// Compress packs an archive. Zero value of c is Gzip.
func Compress(raw []byte, c Compression) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case None:
		return raw, nil
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	case Gzip, "":
		w = gzip.NewWriter(&out) // the best level takes seven times as long for 0.2 %
	default:
		return nil, fmt.Errorf("compressing initrd: unknown compression %q (gzip, zstd, none)", c)
	}
	if err != nil {
		return nil, fmt.Errorf("compressing initrd: %w", err)
	}
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("compressing initrd: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing initrd: %w", err)
	}
	return out.Bytes(), nil
}
