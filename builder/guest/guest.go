// Package guest runs packages' own scripts in a virtual machine.
//
// A Job is a scratch disk with a root file system (ext4, raw) and what to do with it. There are two
// kinds. A fresh system holds packages unpacked in process: their preinst scripts run, then dpkg
// --configure -a. An existing system (Repair, Debs) is repaired and gets packages by the dpkg that
// it has. Extra steps come last. Configure boots the machine with a kernel and an initramfs, follows
// the console, and changes the scratch disk in place. A Result says where the guest's time went.
// Nothing of the host is visible inside.
//
// Supported are Debian and Ubuntu on arm64 and amd64.
package guest

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// Version changes when the same job would leave different bytes; it belongs in cache keys.
const Version = "guest/7"

// Defaults of a Job's zero values. The slowest scripts of a Debian base take about 20 s under
// TCG on one core; a loaded machine may be ten times slower.
const (
	DefaultPackageTimeout = 5 * time.Minute
	DefaultTimeout        = 40 * time.Minute
	// defaultCPUs is a constant, not the host's number: Python's files are shared out among the
	// guest's processors, and what one process compiled before may show in what it compiles next.
	defaultCPUs      = 2
	defaultMemoryMiB = 1024
)

// Script is a preinst to be run before its package is configured.
type Script struct {
	Package, Arch, Version string
	Path                   string   // in the scratch disk; "" is var/lib/dpkg/info/PACKAGE.preinst
	Before                 []string // packages to configure first: its Pre-Depends
	Skip                   bool     // only they are configured: the script would do nothing
}

// Call is a program's name, and its arguments with blanks between them.
type Call struct{ Program, Arguments string }

// Step is a shell script run inside after everything is configured, with sh -e.
type Step struct{ Name, Script string }

// Job is what Configure does.
type Job struct {
	Arch    string // Debian's name
	Kernel  []byte // a bootable kernel image
	Initrd  []byte // from initramfs.ForGuest, of the same kernel; see Payload
	Scratch string // path of a raw ext4 file system, changed in place
	Epoch   int64  // the guest's clock starts here, seconds since 1970

	// Repair is for a system whose dpkg may have been interrupted: stale lock files go and what is
	// half done is configured, before all else.
	Repair bool
	// Debs are installed by the system's own dpkg, in this order; DebsDisk (see WriteDebs) has them.
	// Changed configuration files of the system stay as they are.
	Debs     []Deb
	DebsDisk string

	// First are packages configured one by one before all others, in this order, without regard
	// to their dependencies; nil is what debootstrap starts with, and none in an existing system.
	// Absent ones are skipped.
	First   []string
	Preinst []Script // in the order of unpacking
	// Compile are calls of py3compile, each argument with the byte 0x1f behind it, that no script makes.
	Compile []string
	// HostPython is the version of Python, as in "3.11", whose modules are compiled elsewhere: what packages want compiled is
	// written to /.edgebake/asked of the scratch disk, which has the directory. Empty: they are compiled here.
	HostPython string
	// Made are calls of programs that need not be made: what they leave is on the disk.
	Made  []Call
	Noop  []string // programs that do nothing meanwhile; nil is those that write boot files
	Extra []Step
	// Plain runs every program when and as often as the packages ask: py3compile, depmod, locale-gen and systemd-hwdb do
	// not run beside dpkg, update-ca-certificates not once at the end, ssh-keygen not at all; Perl is not warm. The result is the
	// same but for host keys, which no image keeps; a test shows that this way.
	Plain bool

	PackageTimeout, Timeout time.Duration // 0 is the default
	CPUs, MemoryMiB         int           // 0 is the default
	Accel                   string        // "tcg" (the default) or "kvm"
	TempDir                 string        // for kernel and initramfs while the machine runs; "" is the system's
	Report                  progress.Reporter
	Log                     io.Writer // receives the whole console
}

// PackageTime says how long the scripts of a package took.
type PackageTime struct {
	Package, Script string
	Duration        time.Duration
}

// Result says what happened inside.
type Result struct {
	Boot     time.Duration // from QEMU's start to the guest's init
	Total    time.Duration
	Packages []PackageTime // in the order of running
}

// Then is what happened in two runs, one after the other.
func (r Result) Then(next Result) Result {
	return Result{Boot: r.Boot + next.Boot, Total: r.Total + next.Total, Packages: slices.Concat(r.Packages, next.Packages)}
}

// Payload reads the guest's kernel from s and makes its initramfs.
func Payload(ctx context.Context, s initramfs.Source) (kernel, initrd []byte, err error) {
	version, err := initramfs.KernelVersion(s)
	if err != nil {
		return nil, nil, err
	}
	name := "boot/vmlinuz-" + version
	e, ok := s.Tree.Lookup(name)
	if !ok || e.Type != tree.File {
		return nil, nil, fmt.Errorf("reading the guest's kernel: %s is not in its package", name)
	}
	r, err := s.Reader.Open(e.Content)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the guest's kernel: %w", err)
	}
	if kernel, err = io.ReadAll(r); err != nil {
		return nil, nil, fmt.Errorf("reading the guest's kernel: %w", err)
	}
	initrd, err = initramfs.ForGuest(ctx, s)
	return kernel, initrd, err
}

// Configure runs the job. Errors: *ScriptError when a script fails, *HangError when one takes
// too long, *CrashError when the guest's kernel or QEMU ends early, *vm.MissingQEMUError.
func Configure(ctx context.Context, j Job) (Result, error) {
	j = j.withDefaults()
	dir, err := os.MkdirTemp(j.TempDir, "edgebake-guest-")
	if err != nil {
		return Result{}, fmt.Errorf("making the guest's directory: %w", err)
	}
	defer os.RemoveAll(dir)
	machine, err := j.machine(dir)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := newWatch(j, cancel)
	defer w.stop()
	machineRun, err := vm.Start(ctx, machine, vm.Options{Console: w, Timeout: j.Timeout})
	if err != nil {
		return Result{}, err
	}
	return w.finish(ctx, machineRun.Wait())
}

func (j Job) withDefaults() Job {
	j.PackageTimeout = orDefault(j.PackageTimeout, DefaultPackageTimeout)
	j.Timeout = orDefault(j.Timeout, DefaultTimeout)
	j.CPUs = orDefault(j.CPUs, defaultCPUs)
	j.MemoryMiB = orDefault(j.MemoryMiB, defaultMemoryMiB)
	if j.First == nil && !j.existing() {
		j.First = []string{"base-passwd", "base-files", "dpkg", "libc6", "perl-base", "mawk", "debconf"}
	}
	if j.Noop == nil {
		j.Noop = []string{"/usr/sbin/update-initramfs", "/usr/sbin/update-grub", "/usr/sbin/flash-kernel"}
	}
	if j.Report == nil {
		j.Report = progress.Discard{}
	}
	if j.Log == nil {
		j.Log = io.Discard
	}
	return j
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
