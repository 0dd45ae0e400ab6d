package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/durable"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/verify"
)

type bootOptions struct {
	check   bool
	machine string
	ssh     bool
	port    int
	timeout time.Duration
	checks  []string
	out     string
}

func newBoot(env *environment) *cobra.Command {
	var o bootOptions
	cmd := &cobra.Command{
		Use: "boot IMAGE", Short: "boot an image in QEMU as its board would", Args: exactly(1, "an IMAGE"),
		Long: long("boot starts an image on a throw-away overlay: arm64 with the kernel, initrd, device tree and command line of\n"+
			"the image's own FAT, amd64 by UEFI. The image itself is only read. With --check it gives the image a test\n"+
			"seed, runs checks inside and writes verdict.json, verdict.xml (JUnit) and console.log into -o DIR; a node\n"+
			"that joins gets a CloudCore on this host's loopback, and is started a second time. Without --check the\n"+
			"terminal is the console (power the machine off, or press Ctrl-C, to end).",
			"edgebake boot out/edge.img --check\nedgebake boot out/edge.img --ssh --port 2222"),
		RunE: func(cmd *cobra.Command, args []string) error { return runBoot(cmd.Context(), env, o, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.check, "check", false, "run checks inside and print the verdict; exit with 5 when it is negative")
	f.StringVar(&o.machine, "machine", "", "virt, raspi3b, raspi4b, q35 (UEFI) or pc (BIOS) (default: virt or q35, by the boot program in the image)")
	f.BoolVar(&o.ssh, "ssh", false, "forward a port of this host to the machine's SSH")
	f.IntVar(&o.port, "port", 2222, "the port that --ssh forwards")
	f.DurationVar(&o.timeout, "timeout", 0, "end the machine after this time (default: 20m with --check, none without)")
	f.StringSliceVar(&o.checks, "checks", nil, "checks to run with --check (default: those of the image's manifest)")
	f.StringVarP(&o.out, "output", "o", "", "directory of the verdict and the console log (default: beside the image)")
	return cmd
}

func runBoot(ctx context.Context, env *environment, o bootOptions, path string) error {
	if err := bootable(path); err != nil {
		return err
	}
	arch, err := archOf(ctx, path, o.machine)
	if err != nil {
		return err
	}
	if o.check {
		return runCheck(ctx, env, o, path, arch)
	}
	plan, done, err := o.plan(ctx, arch)
	if err != nil {
		return err
	}
	defer done()
	return env.console(ctx, path, plan, o)
}

// plan says how to start the machine; done removes what it leaves on the disk.
func (o bootOptions) plan(ctx context.Context, arch string) (plan verify.Options, done func(), err error) {
	probe, err := vm.Probe(ctx, arch)
	if err != nil {
		return verify.Options{}, nil, err
	}
	work, err := os.MkdirTemp("", "edgebake-boot-")
	if err != nil {
		return verify.Options{}, nil, fmt.Errorf("making work directory: %w", err)
	}
	plan = verify.Options{Arch: arch, Board: o.machine, WorkDir: work, Accel: probe.Accel}
	if o.ssh {
		plan.SSHPort = o.port
	}
	return plan, func() { _ = os.RemoveAll(work) }, nil // what stays in the temporary directory is the system's to clean
}

// bootable refuses devices: the system on one may be running, or mounted, and would change under
// the machine's overlay.
func bootable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return usagef("opening image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return &refusedError{fmt.Sprintf("opening image %s: it is a %s and not a file", path, kindOf(info.Mode())),
			fmt.Sprintf("copy a card or a disk to a file first: sudo dd if=%s of=copy.img bs=4M", path)}
	}
	return nil
}

// runCheck is boot --check.
func runCheck(ctx context.Context, env *environment, o bootOptions, path, arch string) error {
	made := env.manifestOf(path)
	checks := o.checks
	if len(checks) == 0 {
		checks = made.Checks
	}
	if len(checks) == 0 {
		checks = verify.PlainChecks()
	}
	checks, err := env.joinable(checks, o.machine, len(o.checks) > 0)
	if err != nil {
		return err
	}
	for _, c := range checks {
		if !slices.Contains(verify.AllChecks(), c) {
			return usagef("--checks: unknown check %q; known are %s", c, strings.Join(verify.AllChecks(), ", "))
		}
	}
	out := firstSet(o.out, filepath.Dir(path))
	release, err := claim(out)
	if err != nil {
		return err
	}
	defer release()
	if err := onlyFiles(out, []string{verdictName, junitName, consoleName, consoleName + partial}); err != nil {
		return err
	}
	plan, done, err := o.plan(ctx, arch)
	if err != nil {
		return err
	}
	defer done()
	verdict, err := env.check(ctx, path, out, verify.CheckOptions{Options: plan, Checks: checks, Limit: o.timeout, Epoch: made.Epoch})
	if err != nil {
		return err
	}
	if err := env.printVerdict(verdict); err != nil {
		return err
	}
	return judge(verdict, path)
}

// manifestOf is the manifest beside an image, if it is of that image: it knows when the image was
// made, which the clock inside must not be before, and what its boot must prove.
func (env *environment) manifestOf(path string) artifact.Manifest {
	m, err := artifact.ReadManifest(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		env.reporter.Warn("running all checks, the clock's against 1970: %v", err)
	}
	if !slices.ContainsFunc(m.Artifacts, func(a artifact.Artifact) bool { return a.Name == filepath.Base(path) }) {
		return artifact.Manifest{}
	}
	return m
}

// check boots the image, checks it, and puts verdict.json, verdict.xml and console.log into dir.
func (env *environment) check(ctx context.Context, path, dir string, o verify.CheckOptions) (verify.Verdict, error) {
	log, err := openConsole(dir)
	if err != nil {
		return verify.Verdict{}, err
	}
	defer log.Close() // nothing more to close after writing the verdict
	o.Log = log
	o, stop, err := withCloudCore(ctx, o)
	if err != nil {
		return verify.Verdict{}, err
	}
	defer stop()
	done := env.reporter.Stage("boot")
	verdict, err := verify.Check(ctx, path, o)
	done(stageOutcome(verdict, err))
	if err = errors.Join(err, placeConsole(log)); err != nil { // it tells as well why there is no verdict
		return verdict, err
	}
	return verdict, writeVerdict(ctx, dir, verdict)
}

// openConsole begins console.log, which has another name until the boot is over.
func openConsole(dir string) (*os.File, error) {
	f, err := os.Create(filepath.Join(dir, consoleName+partial))
	if err != nil {
		return nil, fmt.Errorf("writing console log: %w", err)
	}
	return f, nil
}

func placeConsole(f *os.File) error {
	if err := errors.Join(f.Close(), durable.Place(f.Name(), strings.TrimSuffix(f.Name(), partial))); err != nil {
		return fmt.Errorf("writing console log: %w", err)
	}
	return nil
}

func (env *environment) printVerdict(v verify.Verdict) error {
	if env.settings.json {
		return env.printJSON(v)
	}
	_, err := fmt.Fprintln(env.stdout, strings.TrimRight(v.String(), "\n"))
	return err
}

// judge makes an error of a negative verdict about the image at path.
func judge(v verify.Verdict, path string) error {
	if v.OK {
		return nil
	}
	return &verdictError{fmt.Sprintf("checking %s: %s", path, why(v))}
}

// why says in one line what is wrong.
func why(v verify.Verdict) string {
	if v.Reason != "" {
		return v.Reason
	}
	var failed []string
	for _, c := range v.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	return "failed checks: " + strings.Join(failed, ", ")
}

const (
	verdictName = "verdict.json"
	junitName   = "verdict.xml"
	consoleName = "console.log"

	partial = ".partial" // ends the names of files that are still being written
)

func writeVerdict(ctx context.Context, dir string, v verify.Verdict) error {
	asJSON, err := v.JSON()
	if err != nil {
		return err
	}
	asJUnit, err := v.JUnit()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{verdictName: asJSON, junitName: asJUnit} {
		if err := durable.WriteFile(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("writing verdict: %w", err)
		}
	}
	return sumVerdict(ctx, dir)
}

// dropVerdict removes the verdict of an earlier image from dir.
func dropVerdict(ctx context.Context, dir string) error {
	for _, name := range []string{verdictName, junitName, consoleName, consoleName + partial} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing verdict of an earlier image: %w", err)
		}
	}
	return sumVerdict(ctx, dir)
}

// sumVerdict brings SHA256SUMS up to date, where there is one.
func sumVerdict(ctx context.Context, dir string) error {
	err := artifact.UpdateSums(ctx, dir, verdictName, junitName, consoleName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// console connects the terminal with the machine's first serial port.
func (env *environment) console(ctx context.Context, path string, plan verify.Options, o bootOptions) error {
	planned, err := verify.Plan(ctx, path, plan)
	if err != nil {
		return err
	}
	if o.ssh {
		env.reporter.Note("when it is up: ssh -p %d USER@127.0.0.1", o.port)
	}
	restore := rawTerminal(env.stdin)
	defer restore()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	machine, err := vm.Start(ctx, planned.Machine, vm.Options{Console: env.stdout, Input: env.stdin, Timeout: o.timeout})
	if err != nil {
		return err
	}
	return machine.Wait()
}

// rawTerminal hands every key to the machine, apart from those that make signals.
func rawTerminal(stdin io.Reader) (restore func()) {
	f, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	state, err := cbreak(int(f.Fd()))
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(int(f.Fd()), state) } // nothing can be done about a terminal that is gone
}

// stageOutcome says in the report how the boot ended.
func stageOutcome(v verify.Verdict, err error) progress.Outcome {
	o := progress.Outcome{Err: err}
	if err == nil {
		o.Note = "verdict: good"
		if !v.OK {
			o.Note = "verdict: bad, " + why(v)
		}
	}
	return o
}
