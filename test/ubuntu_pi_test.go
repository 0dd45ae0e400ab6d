package test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/test/standin"
)

// piFlags turn on what CRI-O needs.
func piFlags() []string { return []string{"cgroup_enable=memory", "cgroup_memory=1"} }

// olderPi bakes from the image of 20.04.3, whose ext4 has uninit_bg and whose texts are others. It has
// no packages to install, so no guest runs; nor is it compressed, since what it decodes is not the point.
func olderPi(t *testing.T, u *ubuntu) {
	p := standin.Pi{Point: "20.04.3", Checksums: ext4.UninitBG}
	raw, err := p.Write(t.Context(), u.base, t.TempDir())
	must(t, err)
	must(t, u.up.Publish(raw, u.signing(), p.URL()))
	b, l := u.bake(u.older(p), noBoot)
	uninit(t, b)
	cat := func(name string) string { t.Helper(); return u.run("inspect", b.image, "cat", name) }
	line := cat("/boot/firmware/cmdline.txt")
	if want := strings.Join(piFlags(), " ") + "\n"; !strings.HasSuffix(line, " fixrtc "+want) || strings.Count(line, "\n") != 1 {
		t.Errorf("the command line is %q", line)
	}
	if tweaks := cat("/boot/firmware/usercfg.txt"); !strings.HasSuffix(tweaks, "\ngpu_mem=16\n") {
		t.Errorf("usercfg.txt is %q", tweaks)
	}
	untouched(t, b, l, []int{1, 2}, []string{"boot/firmware/cmdline.txt", "boot/firmware/usercfg.txt"})
	checkDisk(t, b.image)
}

// older writes a profile that changes the boot files of an image and installs nothing.
func (u *ubuntu) older(p standin.Pi) string {
	u.t.Helper()
	profile := filepath.Join(u.t.TempDir(), "older.yaml")
	u.yaml(profile, map[string]any{
		"extends": []string{"ubuntu-20.04"}, "arch": "arm64", "variables": map[string]any{"point": p.Point},
		"boot":   map[string]any{"cmdline": piFlags(), "configTxt": []string{"gpu_mem=16"}},
		"disk":   map[string]any{"size": "4GiB"},
		"checks": []string{"multi-user", "no-failed-units", "cloud-init", "cmdline-flags", "memory-cgroup", "root-grown"},
	})
	return profile
}

// uninit asks e2fsprogs for the features of the root file system.
func uninit(t testing.TB, b baked) {
	t.Helper()
	features := tool(t, "dumpe2fs", "-h", rootPartition(t, b.image))
	if !strings.Contains(features, "uninit_bg") || strings.Contains(features, "metadata_csum") {
		t.Errorf("the features are others: %s", features)
	}
}
