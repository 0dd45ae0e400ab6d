// Package vm runs a QEMU machine.
//
// A Machine is a description; Args turns it into QEMU's arguments without side effects. Start
// runs it with the first serial port on a writer (and reader), and a VM is the running process.
// No libvirt, no QMP: a machine ends by itself (poweroff) or is killed with its context.
//
// Supported are arm64 on virt, raspi3b and raspi4b (where QEMU has it) and amd64 on q35 and pc.
// Probe times KVM against TCG; Find looks for the binary and says which package has it.
package vm

// Machine describes a virtual machine.
type Machine struct {
	Arch      string // Debian's name: "arm64" or "amd64"
	Board     string // QEMU's -machine: "virt", "raspi3b", "raspi4b", "q35"; "" is virt or q35
	CPU       string // QEMU's -cpu; "" is the fastest model that runs the architecture's Debian
	CPUs      int    // 0 is 1; the raspi boards have 4 and nothing else
	MemoryMiB int    // 0 is 1024; raspi3b has 1024 and raspi4b 2048 and nothing else
	Accel     string // "tcg" (the default) or "kvm"; Probe chooses
	// TBSizeMiB is the size of TCG's buffer of translated code; 0 is DefaultTBSizeMiB.
	TBSizeMiB int

	// Kernel (direct boot), Firmware (UEFI code file, with FirmwareVars copied per run) or BIOS
	// (the machine's own starts the first disk; amd64 only).
	Kernel, Initrd, DTB, Cmdline string
	Firmware, FirmwareVars       string
	BIOS                         bool

	Disks []Disk
	// Forward maps host TCP ports to guest ports on a user-mode network; nil means no network
	// card unless Network is set.
	Network bool
	Forward map[int]int
	// UserNet are more options of QEMU's -netdev user, in its syntax (net=..., guestfwd=...), beginning
	// without a comma.
	UserNet string
	// Product is the system's product name that SMBIOS tells; "" is QEMU's own.
	Product string
	// RTC is what the machine's clock begins with, 2006-01-02T15:04:05 in UTC; "" is the host's time.
	RTC string
	// NoReboot makes a guest's reboot end the machine.
	NoReboot bool

	boot string // a raw disk that the BIOS starts: the probe's
}

// Disk is one drive of a Machine, in order: vda, vdb ... (or mmcblk0 for Bus "sd").
type Disk struct {
	Path     string
	Format   string // "raw" or "qcow2"
	Bus      string // "virtio" (default), "sd"
	Serial   string // of a virtio disk: the guest's /sys/block/*/serial; at most 20 characters
	ReadOnly bool
	// Unsafe ignores flushes: for scratch disks that are thrown away after a crash anyway.
	Unsafe bool
	// Snapshot sends writes to a temporary file that QEMU deletes.
	Snapshot bool
}
