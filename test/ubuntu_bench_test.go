package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/test/standin"
)

// oven bakes one profile again and again, and tells where the time went.
type oven struct {
	b     *testing.B
	bin   string
	store string
	flags []string
}

// BenchmarkBakeUbuntuRaspberryPi bakes the Raspberry Pi's Ubuntu profile over the stand-in, without
// the boot. What it downloads, the decoded base and the unpacked packages are in the store.
//
//	configure  the packages are installed and configured in the guest: at most 90 s on 2 cores
//	settings   only a setting of the profile is another one: at most 10 s
//	again      nothing changed: at most 0.5 s
//	forced     nothing changed, and it bakes all the same, over the image that is there
//
// Every stage is a metric in seconds, cpu-s is the processor time of all programs.
func BenchmarkBakeUbuntuRaspberryPi(b *testing.B) {
	const profile = "edge-rpi-ubuntu-20.04"
	bin, store := program(b), shared(b).store
	o := oven{b: b, bin: bin, store: store}
	u := newFocal(b, func(args ...string) string { return o.run(args...) }, standin.Pi{Point: "20.04.5", Checksums: ext4.MetadataCsum})
	locks, l, flags := u.lockOver(profile)
	o.flags = append(flags, "--no-boot")
	pins, out := filepath.Join(locks, profile+lock.Extension), b.TempDir()
	o.bake(profile, pins, filepath.Join(out, "first"))
	b.Run("configure", func(b *testing.B) {
		o := oven{b, bin, store, o.flags}
		o.measure(func(int) timing {
			o.forget(l)
			return o.bake(profile, pins, filepath.Join(out, "configure"), "--force")
		})
	})
	b.Run("settings", func(b *testing.B) {
		o := oven{b, bin, store, o.flags}
		o.measure(func(i int) timing {
			name := fmt.Sprintf("changed-%d-%d", b.N, i)
			u.yaml(filepath.Join(locks, name+".yaml"), map[string]any{"extends": []string{profile}, "hostname": name})
			o.run(append([]string{"lock", filepath.Join(locks, name+".yaml"), "--store", store, "-o", locks}, flags...)...)
			return o.bake(filepath.Join(locks, name+".yaml"), filepath.Join(locks, name+lock.Extension), filepath.Join(out, name))
		})
	})
	b.Run("again", func(b *testing.B) {
		o := oven{b, bin, store, o.flags}
		o.measure(func(int) timing { return o.bake(profile, pins, filepath.Join(out, "first")) })
	})
	b.Run("forced", func(b *testing.B) {
		o := oven{b, bin, store, o.flags}
		o.measure(func(int) timing { return o.bake(profile, pins, filepath.Join(out, "first"), "--force") })
	})
}

// measure repeats a bake and reports what each of its stages took.
func (o oven) measure(bake func(i int) timing) {
	o.b.Helper()
	sums := map[string]float64{}
	for i := range o.b.N {
		t := bake(i)
		sums["bake-s"] += t.wall.Seconds()
		sums["cpu-s"] += t.processor.Seconds()
		for _, s := range t.report.Stages {
			sums[strings.ReplaceAll(s.Name, " ", "-")+"-s"] += s.Seconds
		}
		o.b.Logf("%.2f s, processor %.2f s; guest: %s", t.wall.Seconds(), t.processor.Seconds(), t.report.Guest)
	}
	for name, sum := range sums {
		o.b.ReportMetric(sum/float64(o.b.N), name)
	}
}

// run runs the program and returns what it printed.
func (o oven) run(args ...string) string {
	o.b.Helper()
	cmd := exec.CommandContext(o.b.Context(), o.bin, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		o.b.Fatalf("edgebake %s: %v\n%s", strings.Join(args, " "), err, lastPart(stderr.String()))
	}
	return string(out)
}

// forget removes the configured packages from the store.
func (o oven) forget(l lock.Lock) {
	o.b.Helper()
	key, err := builder.Config{Lock: l}.ConfiguredKey()
	must(o.b, err)
	must(o.b, os.Remove(filepath.Join(o.store, "results", string(key[:2]), string(key[2:]))))
}

// timing is what a bake took.
type timing struct {
	wall, processor time.Duration
	report          struct {
		Stages []struct {
			Name    string
			Seconds float64
		}
		Guest json.RawMessage
	}
}

func (o oven) bake(profile, pins, out string, more ...string) (t timing) {
	o.b.Helper()
	flags := append(append([]string{}, o.flags...), more...)
	report := filepath.Join(out, "report.json")
	earlier, _ := os.Stat(report) // absent before the first bake
	before, start := childrenTime(o.b), time.Now()
	o.run(append([]string{"bake", profile, "--store", o.store, "--lock", pins, "-o", out}, flags...)...)
	t.wall, t.processor = time.Since(start), childrenTime(o.b)-before
	now, err := os.Stat(report)
	must(o.b, err)
	if earlier != nil && now.ModTime().Equal(earlier.ModTime()) {
		return t // it was up to date
	}
	text, err := os.ReadFile(report)
	must(o.b, errors.Join(err, json.Unmarshal(text, &t.report)))
	return t
}

// childrenTime is the processor time of the programs that ended, and of theirs.
func childrenTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
