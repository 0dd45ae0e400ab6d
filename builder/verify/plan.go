package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/guest/vm"
)

// Options says how an image is started. The zero value starts an arm64 image on "virt".
type Options struct {
	Arch  string // Debian's name; "arm64" when empty
	Board string // virt, raspi3b, raspi4b; q35 (UEFI), pc (BIOS); the architecture's generic one when empty
	// WorkDir is an existing directory for the overlay, the kernel and the like; they are big, and
	// the caller removes them.
	WorkDir string
	// Seed are files for cloud-init; nil leaves those of the image. They go into the image's own
	// FAT as the overlay shows it when that has a user-data, otherwise on a second disk "cidata".
	Seed map[string][]byte
	// Grow makes the disk larger than the image, to see the first boot enlarge root.
	Grow      bool
	CPUs      int    // 0 chooses
	MemoryMiB int    // 0 chooses
	Accel     string // "tcg" (default) or "kvm"
	// Left is an overlay of the image that an earlier machine has left, with its seed: a copy of it is
	// the disk. Empty is a fresh one.
	Left string
	// Durable keeps on the disk what the machine has flushed when it is killed; without it flushes
	// are ignored, which is faster.
	Durable bool
	// SSHPort of this host is forwarded to port 22 of the machine; 0 is none.
	SSHPort int
}

func (o Options) arch() string {
	if o.Arch == "" {
		return "arm64"
	}
	return o.Arch
}

func (o Options) board() string {
	switch {
	case o.Board != "":
		return o.Board
	case o.arch() == "amd64":
		return "q35"
	}
	return string(boot.Virt)
}

func (o Options) raspberryPi() bool { return strings.HasPrefix(o.board(), "raspi") }

// MissingBoardError says that the installed QEMU doesn't have a machine.
type MissingBoardError struct{ Board, QEMU, Version string }

func (e *MissingBoardError) Error() string {
	return fmt.Sprintf("choosing board %s: %s is version %s, which does not have it (raspi4b came with 9.0); use virt or raspi3b", e.Board, e.QEMU, e.Version)
}

// Planned is a machine that is ready to be started.
type Planned struct {
	Machine vm.Machine
	QEMU    string // version
	// Cmdline that the kernel gets; empty when GRUB decides.
	Cmdline string
}

// Plan prepares the machine that starts the image at path (raw) as its board would: the kernel,
// initrd, device tree and command line of the image's own FAT on arm64, UEFI firmware or a BIOS on amd64. The
// image is only read; everything that is written goes to an overlay in o.WorkDir.
func Plan(ctx context.Context, path string, o Options) (Planned, error) {
	version, err := o.findQEMU(ctx)
	if err != nil {
		return Planned{}, err
	}
	img, err := openTarget(ctx, path)
	if err != nil {
		return Planned{}, err
	}
	defer img.close()
	p := Planned{QEMU: version, Machine: o.machine()}
	switch {
	case o.board() == "pc":
		p.Machine.BIOS = true
	case o.arch() == "amd64":
		err = p.firmware()
	default:
		err = p.direct(img, o)
	}
	if err != nil {
		return Planned{}, err
	}
	return p, p.disks(ctx, img, o)
}

func (o Options) findQEMU(ctx context.Context) (version string, err error) {
	path, version, err := vm.Find(o.arch())
	if err != nil {
		return "", err
	}
	if has, err := vm.HasBoard(ctx, path, o.board()); err != nil || has {
		return version, err
	}
	return "", &MissingBoardError{Board: o.board(), QEMU: filepath.Base(path), Version: version}
}

// maxCPUs is where more virtual processors stop to make a boot faster under TCG.
const maxCPUs = 4

func (o Options) machine() vm.Machine {
	m := vm.Machine{Arch: o.arch(), Board: o.board(), CPUs: o.CPUs, MemoryMiB: o.MemoryMiB, Accel: o.Accel, NoReboot: true}
	if !o.raspberryPi() { // those have a fixed size, and a USB network that fails now and then
		m.Network = true
		if m.CPUs == 0 {
			m.CPUs = min(runtime.NumCPU(), maxCPUs)
		}
		if m.MemoryMiB == 0 {
			m.MemoryMiB = 2048
		}
	}
	if o.SSHPort != 0 {
		m.Network, m.Forward = true, map[int]int{o.SSHPort: 22}
	}
	return m
}

// MissingFirmwareError says that no UEFI firmware for virtual machines is installed.
type MissingFirmwareError struct{ Searched []string }

func (e *MissingFirmwareError) Error() string {
	return fmt.Sprintf("looking for UEFI firmware: none of %s is there; install it with: apt-get install ovmf", strings.Join(e.Searched, ", "))
}

func (p *Planned) firmware() error {
	pairs := [][2]string{ // Debian, Ubuntu; Fedora; Arch
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	}
	missing := &MissingFirmwareError{}
	for _, pair := range pairs {
		if exists(pair[0]) && exists(pair[1]) {
			p.Machine.Firmware, p.Machine.FirmwareVars = pair[0], pair[1]
			return nil
		}
		missing.Searched = append(missing.Searched, pair[0])
	}
	return missing
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// consoles does what the Raspberry Pi's firmware does to a command line: serial0 becomes the name
// that the kernel gives to the board's first serial port, which in QEMU is always the PL011.
func consoles(cmdline string) string {
	return strings.ReplaceAll(cmdline, "console=serial0", "console=ttyAMA0")
}

// direct takes what the Raspberry Pi's firmware would load out of the image's FAT.
func (p *Planned) direct(img *target, o Options) error {
	eff, err := boot.Evaluate(img.fat, img.reader, boot.Board(o.board()))
	if err != nil {
		return fmt.Errorf("planning the boot of %s: %w", img.path, err)
	}
	p.Cmdline = consoles(eff.Cmdline)
	p.Machine.Cmdline = p.Cmdline
	for _, part := range []struct {
		from string
		to   *string
	}{{eff.Kernel, &p.Machine.Kernel}, {eff.Initrd, &p.Machine.Initrd}, {eff.DTB, &p.Machine.DTB}} {
		if part.from == "" {
			continue
		}
		*part.to = filepath.Join(o.WorkDir, filepath.Base(part.from))
		if err := img.extract(part.from, *part.to); err != nil {
			return err
		}
	}
	if o.raspberryPi() && p.Machine.DTB != "" {
		if err := hideVideoCore(p.Machine.DTB); err != nil {
			return err
		}
	}
	return gunzip(p.Machine.Kernel)
}

// hideVideoCore renames the devices behind VideoCore's message queue (compatible brcm,bcm2835-vchiq and
// brcm,bcm2711-vchiq, in the kernel's broadcom/bcm283x.dtsi) in a device tree, so that no driver looks for
// them. QEMU has no VideoCore: the driver then reads a queue that nobody has set up, and now and then its
// kernel thread crashes (sync_func+0x64 [vchiq]) and the kernel with it.
func hideVideoCore(dtb string) error {
	tree, err := os.ReadFile(dtb)
	if err != nil {
		return fmt.Errorf("hiding VideoCore from the kernel: %w", err)
	}
	tree = bytes.ReplaceAll(tree, []byte("-vchiq\x00"), []byte("-none!\x00"))
	if err := os.WriteFile(dtb, tree, 0o600); err != nil {
		return fmt.Errorf("hiding VideoCore from the kernel: %w", err)
	}
	return nil
}

// overlayName is the machine's disk in its work directory.
const overlayName = "overlay.qcow2"

func (p *Planned) disks(ctx context.Context, img *target, o Options) error {
	patches, extra, err := img.seed(ctx, o.WorkDir, o.Seed)
	if err != nil {
		return err
	}
	over := filepath.Join(o.WorkDir, overlayName)
	if o.Left != "" {
		err = copyFile(over, o.Left)
	} else {
		err = Overlay(ctx, over, img.path, diskSize(img.size, o.Grow, o.raspberryPi()), patches)
	}
	if err != nil {
		return err
	}
	disk := vm.Disk{Path: over, Format: "qcow2", Unsafe: !o.Durable}
	if o.raspberryPi() {
		disk.Bus = "sd"
	}
	p.Machine.Disks = append(p.Machine.Disks, disk)
	switch {
	case extra == "":
		return nil
	case o.raspberryPi():
		return fmt.Errorf("seeding %s: its FAT has no user-data, and board %s has no place for a second disk", img.path, o.board())
	}
	p.Machine.Disks = append(p.Machine.Disks, vm.Disk{Path: extra, Format: "raw", ReadOnly: true})
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying the disk of an earlier machine: %w", err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("copying the disk of an earlier machine: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copying the disk of an earlier machine: %w", err)
	}
	return nil
}

// diskSize is the size of the disk for an image of size bytes: whole sectors, and half as much again
// to see root grow. QEMU's SD cards have to be powers of two.
func diskSize(size int64, grow, powerOfTwo bool) int64 {
	const mib = 1 << 20
	if grow {
		size += size / 2
	}
	if powerOfTwo {
		return 1 << bits.Len64(uint64(size-1))
	}
	return ceil(size, mib) * mib
}
