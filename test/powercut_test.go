package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/verify"
)

// The power cuts of a first boot: how many (EDGEBAKE_POWERCUTS, make powercut), from which seed
// (EDGEBAKE_POWERCUT_SEED), and where the consoles are kept (EDGEBAKE_POWERCUT_LOGS).
const defaultCuts = 2

// powerCuts lets a machine lose its power at random moments of its first boot. The next boot has to join each time,
// whatever the first has left.
//
// All moments are of one first boot. At each but the last QEMU is frozen and its disk is copied: the copy is what
// kill -9 would have left, since what a process has written is in the kernel's hands and outlives it. At the last
// moment QEMU is killed. All next boots meet the CloudCore of the first: it may know the node already.
func powerCuts(t *testing.T, run func(...string) string, b baked) {
	seed, n := number(t, "EDGEBAKE_POWERCUT_SEED", int(time.Now().Unix())), number(t, "EDGEBAKE_POWERCUTS", defaultCuts)
	whole := firstBoot(t, b)
	t.Logf("an undisturbed first boot takes %s until it has joined; EDGEBAKE_POWERCUT_SEED=%d", whole, seed)
	log := newConsole()
	_, core := newCloudCore(t, log)
	c := &cuts{image: b.image, dir: t.TempDir(), log: log, core: core, moments: moments(seed, n, whole)}
	t.Run("killed", func(t *testing.T) {
		defer func() { t.Logf("when the power went away, after %s: %s", c.killed.at, c.killed.state) }()
		c.next(t, run, "", c.first)
	})
	for _, one := range c.made {
		t.Run(fmt.Sprintf("at %.1f s", one.at.Seconds()), func(t *testing.T) {
			t.Logf("when the power went away: %s", one.state)
			c.next(t, run, one.disk, nil)
			must(t, os.Remove(one.disk)) // now: there are many of them
		})
	}
}

// moments are random, one in each of as many parts of a boot, up to a little after the join.
func moments(seed, n int, whole time.Duration) []time.Duration {
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = time.Duration((float64(i) + random.Float64()) / float64(n) * float64(whole+whole/20))
	}
	return list
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	if n < 1 {
		t.Fatalf("%s=%d: it takes at least one", name, n)
	}
	return n
}

// firstBoot is the time until a machine has joined, of the verdict beside the image or of a boot.
func firstBoot(t *testing.T, b baked) time.Duration {
	t.Helper()
	var v verify.Verdict
	if data, err := os.ReadFile(filepath.Join(b.dir, "verdict.json")); err == nil {
		must(t, json.Unmarshal(data, &v))
	} else {
		log := newConsole()
		_, core := newCloudCore(t, log)
		v = (&cuts{image: b.image, log: log, core: core}).check(t, t.TempDir(), "", nil)
	}
	for _, m := range v.Milestones {
		if m.Name == verify.MilestoneJoined {
			return time.Duration(m.Seconds * float64(time.Second))
		}
	}
	t.Fatalf("it has not joined: %s", v)
	return 0
}

// cuts are the power cuts of one first boot.
type cuts struct {
	image   string
	dir     string // of the disks
	log     *console
	core    *verify.CloudCore
	moments []time.Duration
	made    []cut // at all moments but the last
	killed  cut   // at the last; no disk
}

// cut is the disk that a machine would have left, and how far it had come.
type cut struct {
	at          time.Duration
	disk, state string
}

// next has the boot after a cut checked, and what it leaves by e2fsprogs, dosfstools and the linter. disk is what the
// cut has left; where there is none, before is the boot that loses its power.
func (c *cuts) next(t *testing.T, run func(...string) string, disk string, before func(context.Context, vm.Machine) error) {
	dir := t.TempDir()
	if v := c.check(t, dir, disk, before); !v.OK {
		t.Fatalf("the boot after the cut: %s", v)
	}
	after := left(t, filepath.Join(dir, "overlay.qcow2"))
	fsck(t, after)
	run("lint", "--booted", "--rules", "secrets,tokens,passwords", after)
	must(t, os.Remove(after))
}

func (c *cuts) check(t *testing.T, dir, disk string, before func(context.Context, vm.Machine) error) verify.Verdict {
	t.Helper()
	defer keepLog(t, c.log)
	v, err := verify.Check(t.Context(), c.image, verify.CheckOptions{
		Options:   verify.Options{WorkDir: dir, Durable: true, Left: disk},
		Checks:    []string{verify.CheckMultiUser, verify.CheckCloudInit, verify.CheckJoined, verify.CheckTokenScrubbed},
		CloudCore: c.core, Before: before, Log: c.log,
	})
	must(t, err)
	t.Logf("%s", v)
	return v
}

// first is the boot that loses its power: it ends at the last moment.
func (c *cuts) first(ctx context.Context, m vm.Machine) error {
	start := time.Now()
	machine, err := vm.Start(ctx, m, vm.Options{Console: c.log})
	if err != nil {
		return err
	}
	defer machine.Wait() //nolint:errcheck // it says that the machine was killed
	defer machine.Kill()
	for i, at := range c.moments {
		select {
		case <-time.After(time.Until(start.Add(at))):
		case <-machine.Done(): // it was faster than the boot that was measured
			c.log.say("the power was to go away after %s, but the machine had powered off", at)
			if i == 0 {
				return fmt.Errorf("cutting the power after %s: the machine had ended before", at)
			}
			return nil
		}
		if i == len(c.moments)-1 {
			c.killed = cut{at: at, state: state(c.log.String())}
			return nil
		}
		if err := c.freeze(machine, at, m.Disks[0].Path); err != nil {
			return fmt.Errorf("cutting the power after %s: %w", at, err)
		}
	}
	return nil
}

// freeze adds the cut that a power failure now would be.
func (c *cuts) freeze(machine *vm.VM, at time.Duration, disk string) error {
	one := cut{at: at, disk: filepath.Join(c.dir, fmt.Sprintf("%d.qcow2", len(c.made))), state: state(c.log.String())}
	begin := time.Now()
	err := frozen(machine.PID(), func() error { return copyFile(one.disk, disk) })
	c.log.say("the disk of %s was copied in %s", at, time.Since(begin).Round(time.Millisecond))
	c.made = append(c.made, one)
	return err
}

// frozen stops a child of this process, all its threads, while do runs.
func frozen(pid int, do func() error) (err error) {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freezing process %d: %w", pid, err)
	}
	defer func() { err = errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)) }()
	for {
		// The kernel tells it when the last thread has stopped. WNOWAIT leaves the rest to who started the child.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("freezing process %d: %w", pid, err)
		case info.Code != stopped:
			return fmt.Errorf("freezing process %d: it has ended", pid)
		}
		return do()
	}
}

// stopped is the code of a SIGCHLD for a child that a signal has stopped (sigaction(2), CLD_STOPPED).
const stopped = 5

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// state is how far a machine has come.
func state(log string) string {
	log = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\r`).ReplaceAllString(log, "")
	var found []string
	for _, pattern := range []string{`systemd\[1\]: .*|\[  OK  \] .*|Starting .*`, `cloud-init\[\d+\]: .*`, `edgebake: node .*`, `CloudCore: .*`} {
		if all := regexp.MustCompile(pattern).FindAllString(log, -1); len(all) > 0 {
			found = append(found, strings.TrimSpace(all[len(all)-1]))
		}
	}
	return strings.Join(found, " | ")
}

// TestFrozen: no thread runs while a process is frozen, each time, and all go on afterwards.
func TestFrozen(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	must(t, err)
	defer out.Close()
	cmd := exec.CommandContext(t.Context(), "yes")
	cmd.Stdout = out
	must(t, cmd.Start())
	for range 20 {
		must(t, frozen(cmd.Process.Pid, func() error {
			if s := threads(t, cmd.Process.Pid); strings.Trim(s, "T") != "" {
				t.Errorf("the threads are in the states %q", s)
			}
			return nil
		}))
	}
	for size := int64(0); ; time.Sleep(time.Millisecond) { // until it has written more
		info, err := out.Stat()
		must(t, err)
		if size > 0 && info.Size() > size {
			break
		}
		size = info.Size()
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Error("it has ended by itself")
	}
	if err := frozen(cmd.Process.Pid, func() error { return nil }); err == nil {
		t.Error("a process that is gone was frozen")
	}
}

// threads are the states of a process's threads, one letter each (proc(5)).
func threads(t *testing.T, pid int) string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	must(t, err)
	var states []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		must(t, err)
		_, rest, _ := strings.Cut(string(text), ") ")
		states = append(states, rest[:1])
	}
	return strings.Join(states, "")
}
