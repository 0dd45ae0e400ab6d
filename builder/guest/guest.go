// Package guest runs packages' own scripts in a virtual machine.
//
// A Job is a scratch disk with unpacked packages (ext4, raw) and what to do with it: run the
// preinst scripts, dpkg --configure -a, and extra steps. Configure boots the machine with the
// packages' kernel and an initramfs, follows the console, and changes the scratch disk in place.
// A Result says where the guest's time went. Nothing of the host is visible inside.
//
// Supported are Debian and Ubuntu on arm64 and amd64, packages in state "install ok unpacked".
package guest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// Version changes when the same job would leave different bytes; it belongs in cache keys.
const Version = "guest/2"

// Defaults of a Job's zero values. The slowest scripts of a Debian base take about 20 s under
// TCG on one core; a loaded machine may be ten times slower.
const (
	DefaultPackageTimeout = 5 * time.Minute
	DefaultTimeout        = 40 * time.Minute
	defaultCPUs           = 2
	defaultMemoryMiB      = 1024
)

// Script is a preinst to be run before its package is configured.
type Script struct {
	Package, Arch, Version string
	Path                   string   // in the scratch disk; "" is var/lib/dpkg/info/PACKAGE.preinst
	Before                 []string // packages to configure first: its Pre-Depends
}

// Step is a shell script run inside after everything is configured, with sh -e.
type Step struct{ Name, Script string }

// Job is what Configure does.
type Job struct {
	Arch    string // Debian's name
	Kernel  []byte // a bootable kernel image
	Initrd  []byte // from initramfs.ForGuest, of the same kernel; see Payload
	Scratch string // path of a raw ext4 file system, changed in place
	Epoch   int64  // the guest's clock starts here, seconds since 1970

	// First are packages configured one by one before all others, in this order, without regard
	// to their dependencies; nil is what debootstrap starts with. Absent ones are skipped.
	First   []string
	Preinst []Script // in the order of unpacking
	Noop    []string // programs that do nothing meanwhile; nil is update-initramfs
	Extra   []Step

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
	if j.First == nil {
		j.First = []string{"base-passwd", "base-files", "dpkg", "libc6", "perl-base", "mawk", "debconf"}
	}
	if j.Noop == nil {
		j.Noop = []string{"/usr/sbin/update-initramfs"}
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

func (j Job) machine(dir string) (vm.Machine, error) {
	files, err := j.files()
	if err != nil {
		return vm.Machine{}, err
	}
	var extra bytes.Buffer
	if err := initramfs.Archive(&extra, files); err != nil {
		return vm.Machine{}, err
	}
	kernel, initrd := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	if err := os.WriteFile(kernel, j.Kernel, 0o600); err != nil {
		return vm.Machine{}, fmt.Errorf("writing the guest's kernel: %w", err)
	}
	if err := os.WriteFile(initrd, append(bytes.Clone(j.Initrd), extra.Bytes()...), 0o600); err != nil {
		return vm.Machine{}, fmt.Errorf("writing the guest's initramfs: %w", err)
	}
	console := "ttyAMA0"
	if j.Arch == "amd64" {
		console = "ttyS0"
	}
	return vm.Machine{
		Arch: j.Arch, CPUs: j.CPUs, MemoryMiB: j.MemoryMiB, Accel: j.Accel, NoReboot: true,
		Kernel: kernel, Initrd: initrd,
		Cmdline: "console=" + console + " " + kernelWords, CPU: j.cpu(),
		Disks:   []vm.Disk{{Path: j.Scratch, Unsafe: true}},
	}, nil
}

// kernelWords: nothing in here needs protection from anybody else. norandmaps is what makes the
// guest quick: TCG keeps translated code by its virtual address, so with randomised addresses every
// exec translates libc anew (measured: 300 fork+exec of true 11.9 s of processor time, 3.7 s without).
const kernelWords = "quiet panic=-1 mitigations=off nokaslr norandmaps random.trust_cpu=on"

// cpu is the model for TCG: everything but what costs time and gives Debian nothing. Pointer
// authentication, which the kernel uses in every function, is a call of a C function per use.
func (j Job) cpu() string {
	if j.Arch == "arm64" && j.Accel != "kvm" {
		return "max,pauth=off,sve=off,sme=off"
	}
	return ""
}

// files are what guest-init.sh finds in /job.
func (j Job) files() ([]initramfs.File, error) {
	var preinst strings.Builder
	for _, s := range j.Preinst {
		path := s.Path
		if path == "" {
			path = "var/lib/dpkg/info/" + s.Package + ".preinst"
		}
		before := strings.Join(s.Before, ",")
		if before == "" {
			before = "-"
		}
		words := []string{s.Package, s.Arch, s.Version, "/" + strings.TrimPrefix(path, "/"), before}
		if len(strings.Fields(strings.Join(words, " "))) != len(words) {
			return nil, fmt.Errorf("describing the guest's job: preinst of %q: a field is empty or has blanks: %q", s.Package, words)
		}
		preinst.WriteString(strings.Join(words, " ") + "\n")
	}
	text := func(path, content string) initramfs.File {
		return initramfs.File{Path: path, Mode: 0o644, Data: []byte(content)}
	}
	files := []initramfs.File{
		{Path: "job", Type: tree.Dir, Mode: 0o755},
		text("job/env", fmt.Sprintf("EPOCH=%d\n", j.Epoch)),
		text("job/first", lines(j.First)),
		text("job/noop", lines(j.Noop)),
		text("job/preinst", preinst.String()),
	}
	if len(j.Extra) > 0 {
		files = append(files, initramfs.File{Path: "job/steps", Type: tree.Dir, Mode: 0o755})
	}
	for i, s := range j.Extra {
		if strings.ContainsAny(s.Name, "/ \n*?[") || s.Name == "" {
			return nil, fmt.Errorf("describing the guest's job: step name %q has a blank, slash or pattern", s.Name)
		}
		files = append(files, text(fmt.Sprintf("job/steps/%03d-%s", i, s.Name), s.Script+"\n"))
	}
	return files, nil
}

func lines(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Join(list, "\n") + "\n"
}
