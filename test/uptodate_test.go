package test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUpToDate bakes a second time after something has happened. Either the bake leaves everything as it
// is, or it runs its stages.
func TestUpToDate(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, program(t))
	overlay := filepath.Join(w.dir, "overlay", "etc")
	must(t, os.MkdirAll(overlay, 0o755))
	w.write(filepath.Join(overlay, "motd"), []byte("one\n"))
	edit := func(old, fresh string) {
		t.Helper()
		text, err := os.ReadFile(w.profile)
		must(t, err)
		w.write(w.profile, bytes.Replace(text, []byte(old), []byte(fresh), 1))
	}
	edit("boot: {", "overlays: [./overlay]\nboot: {")
	w.lock()
	w.qemu(goodGuest)
	out := func(name string) string { return filepath.Join(w.dir, "out", name) }
	steps := []struct {
		name  string
		do    func()
		flags []string
		bakes bool
	}{
		{"the first time", func() {}, nil, true},
		{"again", func() {}, nil, false},
		{"offline, with other words for the directory", func() {}, []string{"--offline", "--jobs", "1", "-o", "./../" + filepath.Base(w.dir) + "/out"}, false},
		{"force", func() {}, []string{"--force"}, true},
		{"after force", func() {}, nil, false},
		{"another directory", func() {}, []string{"-o", "other"}, true},
		{"each directory has its own", func() {}, nil, false},
		{"a touched image", func() { must(t, os.Chtimes(out("node.img"), time.Unix(1, 0), time.Unix(1, 0))) }, nil, true},
		{"a changed manifest", func() {
			text, err := os.ReadFile(out("manifest.json"))
			must(t, err)
			w.write(out("manifest.json"), append(text, '\n'))
		}, nil, true},
		{"lint.json is gone", func() { must(t, os.Remove(out("lint.json"))) }, nil, true},
		{"the directory is gone", func() { must(t, os.RemoveAll(out(""))) }, nil, true},
		{"the mark of a killed bake", func() { w.write(out(".edgebake-baking"), nil) }, nil, false},
		{"a changed summary", func() { edit("name: node\n", "name: node\nsummary: a node\n") }, nil, false},
		{"other checks", func() { edit("boot: {", "checks: [multi-user]\nboot: {") }, nil, true},
		{"a changed overlay", func() {
			w.write(filepath.Join(overlay, "motd"), []byte("two\n"))
			w.ends(4, w.command(w.files(), "bake", "--no-boot")) // stale lock: nothing is up to date
			w.ends(0, w.command(w.files(), "lock", "--keep"))
		}, nil, true},
		{"a changed setting", func() {
			edit("boot: {", "hostname: porch\nboot: {")
			w.ends(0, w.command(w.files(), "lock", "--keep"))
		}, nil, true},
		{"again at last", func() {}, nil, false},
		{"another program", func() {
			text, err := os.ReadFile(w.bin)
			must(t, err)
			w.bin = filepath.Join(w.dir, "edgebake-2")
			must(t, os.WriteFile(w.bin, append(text, 0), 0o755))
		}, nil, true},
		{"its results are gone", func() { must(t, os.RemoveAll(filepath.Join(w.store, "results"))) }, nil, true},
		{"its blobs are gone", func() { must(t, os.RemoveAll(filepath.Join(w.store, "blobs"))) }, nil, false},
	}
	for _, step := range steps {
		step.do()
		cmd := w.command(w.files(), append([]string{"bake", "--no-boot"}, step.flags...)...)
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		said := w.ends(0, cmd)
		if baked := strings.Contains(said, "] disk"); baked != step.bakes || strings.Contains(said, "up to date") == baked {
			t.Errorf("%s: baked is %t, want %t\n%s", step.name, baked, step.bakes, said)
		}
		if !strings.HasSuffix(strings.TrimSpace(stdout.String()), "/node.img") {
			t.Errorf("%s: stdout is %q", step.name, stdout.String())
		}
	}
}
