// Package vm runs a QEMU machine.
//
// A Machine is a description; Args turns it into QEMU's arguments without side effects. Start
// runs it with the first serial port on a writer (and reader), and a VM is the running process.
// No libvirt, no QMP: a machine ends by itself (poweroff) or is killed with its context.
package vm

// Machine describes a virtual machine.
type Machine struct {
	Arch      string // Debian's name: "arm64" or "amd64"
	Board     string // QEMU's -machine: "virt", "raspi3b", "raspi4b", "q35"
	CPUs      int
	MemoryMiB int
	Accel     string // "tcg" or "kvm"; Probe chooses

	// Either Kernel (direct boot) or Firmware (UEFI code file, with FirmwareVars copied per run).
	Kernel, Initrd, DTB, Cmdline string
	Firmware, FirmwareVars       string

	Disks []Disk
	// Forward maps host TCP ports to guest ports on a user-mode network; nil means no network
	// card unless Network is set.
	Network bool
	Forward map[int]int
	// NoReboot makes a guest's reboot end the machine.
	NoReboot bool
}

// Disk is one drive of a Machine, in order: vda, vdb ... (or mmcblk0 for Bus "sd").
type Disk struct {
	Path     string
	Format   string // "raw" or "qcow2"
	Bus      string // "virtio" (default), "sd"
	ReadOnly bool
	// Unsafe ignores flushes: for scratch disks that are thrown away after a crash anyway.
	Unsafe bool
	// Snapshot sends writes to a temporary file that QEMU deletes.
	Snapshot bool
}
