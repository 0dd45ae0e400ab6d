package test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
)

// BenchmarkColdBake bakes the Raspberry Pi's Debian profile from an empty store, but for its downloads, to an image
// without booting it. Then mmdebstrap, with the processor emulated by qemu-user, unpacks and configures the same packages
// into a directory: without an initrd, since edgebake makes that itself, or as it comes. The time of its
// downloads is taken off, and it writes no image.
//
// It needs root, and registers qemu-aarch64 with the kernel (binfmt_misc) while it runs. Metrics: edgebake-s and
// mmdebstrap-s, in seconds, and the ratio of the second to the first.
func BenchmarkColdBake(b *testing.B) {
	mmdebstrap, err := exec.LookPath("mmdebstrap")
	if _, missing := exec.LookPath("qemu-aarch64-static"); err != nil || missing != nil {
		b.Skip("apt-get install mmdebstrap qemu-user-static first: nothing else needs them, so make setup does not")
	}
	emulate(b)
	b.Run("without-initrd", func(b *testing.B) { coldBake(b, mmdebstrap, noInitrd) })
	b.Run("as-it-comes", func(b *testing.B) { coldBake(b, mmdebstrap) })
}

func coldBake(b *testing.B, mmdebstrap string, options ...string) {
	const profile = "edge-rpi-debian-12"
	dir := b.TempDir()
	o := oven{b: b, bin: program(b)}
	o.run("lock", profile, "--store", filepath.Join(dir, "lock"), "-o", dir)
	pins := filepath.Join(dir, profile+lock.Extension)
	text, err := lock.ReadFile(pins)
	must(b, err)
	l, err := lock.Parse(pins, text)
	must(b, err)
	var ours, theirs time.Duration
	for b.Loop() {
		o.store = filepath.Join(b.TempDir(), "store")
		o.run("fetch", profile, "--store", o.store, "--lock", pins)
		o.flags = []string{"--no-boot"}
		t := o.bake(profile, pins, b.TempDir())
		ours += t.wall
		b.Logf("edgebake: %s, processor %s", t.wall, t.processor)
		for _, s := range t.report.Stages {
			b.Logf("  %s: %.1f s", s.Name, s.Seconds)
		}
		theirs += debootstrap(b, mmdebstrap, l, options...)
	}
	n := float64(b.N)
	b.ReportMetric(ours.Seconds()/n, "edgebake-s")
	b.ReportMetric(theirs.Seconds()/n, "mmdebstrap-s")
	b.ReportMetric(float64(theirs)/float64(ours), "ratio")
}

// emulate has the kernel run arm64 programs with qemu-user, until the benchmark ends.
func emulate(b *testing.B) {
	b.Helper()
	const misc, name = "/proc/sys/fs/binfmt_misc", "qemu-aarch64"
	if _, err := os.Stat(filepath.Join(misc, name)); err == nil {
		return
	}
	if _, err := os.Stat(filepath.Join(misc, "register")); err != nil {
		if out, err := exec.Command("mount", "-t", "binfmt_misc", "binfmt_misc", misc).CombinedOutput(); err != nil {
			b.Skipf("binfmt_misc cannot be mounted: %v: %s", err, out)
		}
		b.Cleanup(func() { _ = exec.Command("umount", misc).Run() }) // the benchmark's own; nothing depends on it
	}
	rule, err := os.ReadFile("/usr/lib/binfmt.d/" + name + ".conf")
	must(b, err)
	must(b, os.WriteFile(filepath.Join(misc, "register"), rule, 0))
	b.Cleanup(func() { must(b, os.WriteFile(filepath.Join(misc, name), []byte("-1"), 0)) })
}

// noInitrd has the package's own program put aside, before there is one.
const noInitrd = `--essential-hook=chroot "$1" dpkg-divert --local --rename --add /usr/sbin/update-initramfs &&
	ln -s /bin/true "$1/usr/sbin/update-initramfs"`

// debootstrap has mmdebstrap install the lock's packages, and tells how long it took without its downloads, by the lines that
// it and dpkg print when they begin something.
func debootstrap(b *testing.B, mmdebstrap string, l lock.Lock, options ...string) time.Duration {
	b.Helper()
	var names []string
	for _, p := range l.Packages {
		names = append(names, p.Name)
	}
	args := append(options, "--verbose", "--architectures="+l.Arch, "--variant=minbase", "--include="+strings.Join(names, ","),
		"bookworm", filepath.Join(b.TempDir(), "root"), mine(b))
	cmd := exec.CommandContext(b.Context(), mmdebstrap, args...)
	pipe, err := cmd.StderrPipe()
	must(b, err)
	cmd.Stdout = cmd.Stderr
	start := time.Now()
	must(b, cmd.Start())
	parts, last := phases(b, pipe)
	if err := cmd.Wait(); err != nil {
		b.Fatalf("mmdebstrap: %v\n%s", err, last)
	}
	whole := time.Since(start)
	b.Logf("mmdebstrap: %s with downloads; %v", whole, parts)
	return whole - parts["download"]
}

// mine writes a sources.list of the build host's own archives of Debian 12, which edgebake prefers, too.
func mine(b *testing.B) string {
	b.Helper()
	hosts, err := fetch.HostSources("/")
	must(b, err)
	var list strings.Builder
	for _, h := range hosts {
		for _, suite := range h.Suites {
			if strings.HasPrefix(suite, "bookworm") {
				fmt.Fprintf(&list, "deb %s %s main non-free-firmware\n", h.URI, suite)
			}
		}
	}
	if list.Len() == 0 {
		b.Skip("this host has no sources of Debian 12's packages")
	}
	name := filepath.Join(b.TempDir(), "sources.list")
	must(b, os.WriteFile(name, []byte(list.String()), 0o644))
	return name
}

// phases sums up what happened between the lines that begin something.
func phases(b *testing.B, r io.Reader) (sums map[string]time.Duration, last string) {
	b.Helper()
	begins := regexp.MustCompile(`^(I: downloading|I: |Setting up |Processing triggers for )(\S*)`)
	sums = map[string]time.Duration{}
	var tail []string
	what, since := "start", time.Now()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		tail = append(slices.Clone(tail[max(0, len(tail)-30):]), lines.Text())
		m := begins.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		sums[what] += time.Since(since)
		what, since = m[2], time.Now()
		if strings.HasPrefix(m[1], "I: ") {
			what = strings.TrimPrefix(m[1], "I: ") + " " + m[2]
		}
		if m[1] == "I: downloading" {
			what = "download"
		}
	}
	must(b, lines.Err())
	sums[what] += time.Since(since)
	return sums, strings.Join(tail, "\n")
}
