package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/image"
)

// TestBakePlainly bakes a system with and without all that makes it fast: scripts that are shortened, programs that run beside
// each other, are warm, run once instead of twice, or run on this machine, for another processor. The images must be the same. All packages are
// named by a parent, so that they are configured in one go: only there scripts are shortened.
func TestBakePlainly(t *testing.T) {
	t.Parallel()
	run, dir := edgebake(t), t.TempDir()
	store, profile := filepath.Join(dir, "store"), filepath.Join(dir, "plain.yaml")
	write(t, filepath.Join(dir, "many.yaml"), strings.NewReplacer("name: little", "name: many", "amd64", "arm64", "arch:",
		"packages: [ca-certificates, locales, openssh-server, python3-yaml, python3-setuptools, mosquitto, logrotate, systemd-resolved, iptables, udev]\narch:").Replace(littleSystem))
	write(t, profile, "apiVersion: edgebake/v1\nname: plain\nextends: [./many.yaml]\n")
	run("lock", profile, "--store", store)
	fast := bake(t, run, profile, store, dir, "--no-boot")
	slow := bake(t, run, profile, store, dir, "--no-boot", "--plain")
	if x, y := digestOf(t, fast), digestOf(t, slow); x != y {
		difference, _, err := image.Diff(t.Context(), fast.image, slow.image)
		t.Errorf("the image is another one with --plain: %s and %s: %v %v", x, y, difference, err)
	}
	log, err := os.ReadFile(fast.image + ".configure.log")
	must(t, err)
	if !regexp.MustCompile(`(?m)^[1-9][0-9]+ modules are asked for, 0 compiled here`).Match(log) {
		t.Error("the guest compiled Python's modules: this machine allows no user namespaces, or has no Python for itself in the lock")
	}
	// What is not faster was not tried.
	for b, want := range map[baked]bool{fast: true, slow: false} {
		report, err := os.ReadFile(filepath.Join(b.dir, "report.json"))
		must(t, err)
		if strings.Contains(string(report), "byte-compiling") != want {
			t.Errorf("Python compiled by itself, not in packages' scripts, is not %v: %s", want, report)
		}
	}
}
