package verify

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/cloudinit"
)

//go:embed check.sh
var checkScript string

// Names of the checks. All but the first two need cloud-init in the image, which starts the script.
const (
	CheckMultiUser     = "multi-user"      // multi-user.target was reached
	CheckNoFailedUnits = "no-failed-units" // no systemd unit failed
	CheckCloudInit     = "cloud-init"      // cloud-init is done, with code 0 or 2
	CheckCmdlineFlags  = "cmdline-flags"   // the image's kernel parameters are in /proc/cmdline
	CheckMemoryCgroup  = "memory-cgroup"   // the memory controller is on
	CheckCRI           = "cri"             // CRI-O or containerd answers a call on its CRI socket
	CheckMosquittoUser = "mosquitto-user"  // mosquitto runs as the user of that name
	CheckCNIPlugins    = "cni-plugins"     // each of /opt/cni/bin answers VERSION
	CheckRootGrown     = "root-grown"      // root has at least 90 % of the disk
	CheckClock         = "clock"           // the clock is later than Epoch
	CheckPackages      = "packages"        // what dpkg believes is what is there (dpkg --audit and --verify, apt-get check, debsums)
	// These need a CloudCore, and a network: the Raspberry Pi boards of QEMU have none.
	CheckJoined        = "joined"         // the node joined: it is registered, edgecore runs
	CheckTokenScrubbed = "token-scrubbed" // and its token is nowhere any more
	CheckStaysJoined   = "stays-joined"   // the same disk, started again, is the same node with the same certificate
)

// AllChecks returns the names of the checks in the order in which they run.
func AllChecks() []string {
	return []string{CheckMultiUser, CheckCloudInit, CheckNoFailedUnits, CheckCmdlineFlags, CheckMemoryCgroup,
		CheckCRI, CheckMosquittoUser, CheckCNIPlugins, CheckRootGrown, CheckClock, CheckPackages,
		CheckJoined, CheckTokenScrubbed, CheckStaysJoined}
}

// CheckOptions says how an image is checked.
type CheckOptions struct {
	Options // Seed and Grow are set by Check
	// Checks to run, by name, in any order. When the script is needed for none of them (multi-user
	// and no-failed-units alone), the console is watched instead, and no seed is given.
	Checks []string
	// Flags are the kernel parameters to find; nil stands for those of the image's own cmdline file.
	Flags []string
	// Epoch is when the image was made (seconds since 1970): the clock has to be later.
	Epoch int64
	// Limit is how long the boot with its checks may take; 0 is DefaultLimit.
	Limit time.Duration
	// CloudCore is what the node joins; needed by JoinChecks only.
	CloudCore *CloudCore
	// Before runs the machine once before the boot that is checked, which finds its disk as it was left.
	// nil is the fresh one. Tests take the power away in it.
	Before func(context.Context, vm.Machine) error
	// Log receives the whole console; may be nil.
	Log io.Writer
}

// DefaultLimit is several times what a Raspberry Pi image takes under TCG on two busy processors.
const DefaultLimit = 20 * time.Minute

const (
	// reserve is the part of the limit that is left for reporting what was not reached in time.
	reserve = 90 * time.Second
	// powerOffLimit is how long a machine may take to power off when all is said.
	powerOffLimit = 2 * time.Minute
)

func (o CheckOptions) limit() time.Duration {
	if o.Limit == 0 {
		return DefaultLimit
	}
	return o.Limit
}

// scripted reports whether a check needs the script.
func (o CheckOptions) scripted() bool {
	return slices.ContainsFunc(o.Checks, func(c string) bool { return c != CheckMultiUser && c != CheckNoFailedUnits })
}

// Check boots the raw image at path and returns what it found. An image that does not come up, or
// fails a check, is no error: its Verdict is not OK and says why. Errors are faults of the host (no
// QEMU, no room), an unreadable image, the end of ctx, and an image whose bytes changed.
func Check(ctx context.Context, path string, o CheckOptions) (Verdict, error) {
	for _, c := range o.Checks {
		if !slices.Contains(AllChecks(), c) {
			return Verdict{}, fmt.Errorf("checking %s: unknown check %q; known are %s", path, c, strings.Join(AllChecks(), ", "))
		}
	}
	before, err := digestFile(ctx, path)
	if err != nil {
		return Verdict{}, err
	}
	v, err := boots(ctx, path, o)
	if err != nil {
		return Verdict{}, err
	}
	after, err := digestFile(ctx, path)
	if err != nil {
		return Verdict{}, err
	}
	if before != after {
		return Verdict{}, fmt.Errorf("checking %s: its SHA-256 was %s before the boot and is %s now; who wrote to it?", path, before, after)
	}
	v.Digest = before
	return v, nil
}

func digestFile(ctx context.Context, path string) (cas.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hashing image: %w", err)
	}
	defer f.Close()
	h, buf := sha256.New(), make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return cas.FromSum(h.Sum(nil)), nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return "", fmt.Errorf("hashing %s: %w", path, err)
		}
	}
}

// ran is what the boots of a machine have shown.
type ran struct {
	state State
	fault string
	seen  Seen // by the CloudCore, at the end of the last boot
}

// boots runs the machine: once for Before, once to be checked, and once more when it has joined and its
// second boot is to be checked, too.
func boots(ctx context.Context, path string, o CheckOptions) (Verdict, error) {
	if o.scripted() {
		seed, err := o.seed(ctx, path)
		if err != nil {
			return Verdict{}, err
		}
		o.Seed, o.Grow = seed, slices.Contains(o.Checks, CheckRootGrown)
	}
	plan, err := Plan(ctx, path, o.Options)
	if err != nil {
		return Verdict{}, err
	}
	if o.Before != nil {
		if err := o.Before(ctx, plan.Machine); err != nil {
			return Verdict{}, err
		}
	}
	start := time.Now()
	elapsed := func() time.Duration { return time.Since(start) }
	r := &ran{}
	if o.joins() {
		r.seen = o.CloudCore.Seen(checkName)
	}
	if err := o.boot(ctx, plan, elapsed, r); err != nil {
		return Verdict{}, err
	}
	if slices.Contains(o.Checks, CheckStaysJoined) && slices.ContainsFunc(r.state.Results, func(x Result) bool { return x.Name == CheckJoined && x.OK }) {
		if err := o.again(ctx, plan, elapsed, r); err != nil {
			return Verdict{}, err
		}
	}
	return o.judge(path, plan, r.state, r.fault, elapsed()), nil
}

// boot runs the machine until it powers off, and adds what it shows to r.
func (o CheckOptions) boot(ctx context.Context, plan Planned, elapsed func() time.Duration, r *ran) error {
	earlier := r.state.Milestones
	console := NewConsole(o.Log, elapsed)
	if !o.scripted() {
		console.Until(MilestoneMultiUser)
	}
	machine, err := vm.Start(ctx, plan.Machine, vm.Options{Console: console, Timeout: o.limit()})
	if err != nil {
		return err
	}
	r.fault, err = watch(ctx, machine, console, o.scripted())
	if err != nil {
		return err
	}
	r.state = console.State()
	r.state.Milestones = append(earlier, r.state.Milestones...)
	return o.after(ctx, r)
}

// again runs the machine on the disk that its first boot has left.
func (o CheckOptions) again(ctx context.Context, plan Planned, elapsed func() time.Duration, r *ran) error {
	first := r.state
	r.state.Milestones = append(slices.Clone(first.Milestones), Milestone{Name: MilestoneSecondBoot, Seconds: elapsed().Round(100 * time.Millisecond).Seconds()})
	if err := o.boot(ctx, plan, elapsed, r); err != nil {
		return err
	}
	r.state.Results = merge(first.Results, r.state.Results)
	return nil
}

// watch waits for the end of a boot. The fault says how the machine ended too early; err is the end
// of ctx or a QEMU that does not run.
func watch(ctx context.Context, machine *vm.VM, console *Console, powersOff bool) (fault string, err error) {
	select {
	case <-console.Done():
	case <-machine.Done():
	}
	if console.State().Finished && powersOff {
		timer := time.AfterFunc(powerOffLimit, machine.Kill)
		defer timer.Stop()
	} else if state := console.State(); state.Finished || state.Fatal != "" {
		machine.Kill()
	}
	err = machine.Wait()
	state := console.State()
	var timeout *vm.TimeoutError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("checking image: %w", context.Cause(ctx))
	case state.Finished || state.Fatal != "":
		return "", nil
	case errors.As(err, &timeout):
		return fmt.Sprintf("the time limit of %s is over", timeout.Limit), nil
	case err != nil:
		return "", fmt.Errorf("checking image: %w", err)
	}
	return "the machine powered off or restarted by itself", nil
}

// seed makes the machine a node, if it is to join, and starts the script.
func (o CheckOptions) seed(ctx context.Context, path string) (map[string][]byte, error) {
	img, err := openTarget(ctx, path)
	if err != nil {
		return nil, err
	}
	defer img.close()
	flags := o.Flags
	if flags == nil {
		if flags, err = o.ownFlags(ctx, img); err != nil {
			return nil, fmt.Errorf("reading kernel parameters of %s: %w", path, err)
		}
	}
	var seed map[string][]byte
	if o.joins() {
		seed, err = o.nodeSeed(img.seeded())
	} else {
		seed, err = cloudinit.NoCloud(cloudinit.Seed{
			Meta: cloudinit.MetaData{InstanceID: checkName, LocalHostname: checkName},
			User: cloudinit.UserData{Hostname: checkName}, // cloud-init warns of empty ones
		})
	}
	if err != nil {
		return nil, err
	}
	seed["vendor-data"], err = o.starter(flags)
	return seed, err
}

// starter is the vendor-data that starts the script in every boot, detached, so that cloud-init
// itself can end. It is apart from user-data, which is as a node gets it, and leaves no file on the disk.
func (o CheckOptions) starter(flags []string) ([]byte, error) {
	encode := base64.StdEncoding.EncodeToString
	start := "mkdir -p -m 700 /run/edgebake-check; cd /run/edgebake-check" +
		"; echo " + encode([]byte(checkScript)) + " | base64 -d >check; echo " + encode([]byte(o.environment(flags))) + " | base64 -d >env" +
		// No time server is in reach of the machine, whose clock is this host's.
		"; mkdir -p /run/systemd/timesync; : >/run/systemd/timesync/synchronized" +
		"; systemd-run --no-block --collect --unit=edgebake-check /bin/sh /run/edgebake-check/check"
	files, err := cloudinit.NoCloud(cloudinit.Seed{
		Meta: cloudinit.MetaData{InstanceID: checkName},
		User: cloudinit.UserData{BootCmd: [][]string{{"sh", "-c", start}}},
	})
	return files["user-data"], err
}

// ownFlags are the kernel parameters that the image itself asks for.
func (o CheckOptions) ownFlags(ctx context.Context, img *target) ([]string, error) {
	if o.arch() == "amd64" {
		return img.grubFlags(ctx)
	}
	eff, err := boot.Evaluate(img.fat, img.reader, boot.Board(o.board()))
	return strings.Fields(consoles(eff.Cmdline)), err
}

func (o CheckOptions) environment(flags []string) string {
	var checks []string
	for _, c := range AllChecks() {
		if slices.Contains(o.Checks, c) {
			checks = append(checks, c)
		}
	}
	guestLimit := max(o.limit()-reserve, o.limit()/2)
	return "EB_CHECKS=" + shellQuote(strings.Join(checks, " ")) +
		"\nEB_FLAGS=" + shellQuote(strings.Join(flags, " ")) +
		"\nEB_LIMIT=" + strconv.Itoa(int(guestLimit.Seconds())) +
		"\nEB_EPOCH=" + strconv.FormatInt(o.Epoch, 10) + "\n"
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// judge makes the verdict of what was seen.
func (o CheckOptions) judge(path string, plan Planned, s State, fault string, elapsed time.Duration) Verdict {
	v := Verdict{
		Version: 1, Image: filepath.Base(path), Arch: o.arch(), Board: o.board(), QEMU: plan.QEMU, Accel: plan.Machine.Accel,
		Cmdline: plan.Cmdline, Seconds: elapsed.Round(100 * time.Millisecond).Seconds(), Milestones: s.Milestones,
	}
	if v.Accel == "" {
		v.Accel = "tcg"
	}
	for _, name := range AllChecks() {
		if slices.Contains(o.Checks, name) {
			v.Checks = append(v.Checks, o.result(name, s))
		}
	}
	v.Reason = reason(s, fault)
	failed := slices.ContainsFunc(v.Checks, func(r Result) bool { return !r.OK })
	v.OK = v.Reason == "" && !failed
	if !v.OK {
		v.LastLines = s.LastLines
	}
	return v
}

// result finds what the script said about a check, or, without a script, what the console showed.
func (o CheckOptions) result(name string, s State) Result {
	if i := slices.IndexFunc(s.Results, func(r Result) bool { return r.Name == name }); i >= 0 {
		return s.Results[i]
	}
	reached := slices.ContainsFunc(s.Milestones, func(m Milestone) bool { return m.Name == MilestoneMultiUser })
	switch {
	case o.scripted() || !reached:
		return Result{Name: name, Detail: "not reported"}
	case name == CheckNoFailedUnits && len(s.FailedUnits) > 0:
		return Result{Name: name, Detail: strings.Join(s.FailedUnits, "; ")}
	}
	return Result{Name: name, OK: true, Detail: "seen on the console"}
}

func reason(s State, fault string) string {
	last := "before the kernel said anything"
	if n := len(s.Milestones); n > 0 {
		last = fmt.Sprintf("after milestone %q at %.0f s", s.Milestones[n-1].Name, s.Milestones[n-1].Seconds)
	}
	switch {
	case s.Fatal != "":
		return fmt.Sprintf("the boot ended %s: %s", last, s.Fatal)
	case s.Finished:
		return ""
	case fault != "":
		return fmt.Sprintf("the boot ended %s: %s", last, fault)
	}
	return fmt.Sprintf("the boot ended %s", last)
}
