package builder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/native"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

func text(path, content string, at int64) tree.Entry {
	return tree.Entry{Path: path, Type: tree.File, Mode: 0o644, MTime: tree.Time{Sec: at}, Content: tree.InlineContent([]byte(content))}
}

func treeWith(t *testing.T, list ...tree.Entry) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1})
	for _, e := range list {
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWithTouches adds files to directories: one that is there, one that is not, and two files to the same.
func TestWithTouches(t *testing.T) {
	out, err := with(treeWith(t, text("old/there", "", 1), text("new/there", "", 1), text("other/there", "", 1)),
		[]tree.Entry{text("old/made", "", 9), text("old/made2", "", 9), text("new/dir/made", "", 9)}, tree.Time{Sec: 9})
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int64{}
	for _, e := range out.Entries() {
		times[e.Path] = e.MTime.Sec
	}
	want := map[string]int64{".": 1, "old": 9, "old/there": 1, "old/made": 9, "old/made2": 9, "new": 9, "new/there": 1, "new/dir": 9, "new/dir/made": 9,
		"other": 1, "other/there": 1}
	if d := cmp.Diff(want, times); d != "" {
		t.Error(d)
	}
}

// TestKernels looks for packages that have depmod called as the companion does it.
func TestKernels(t *testing.T) {
	script := "#!/bin/sh -e\n\nversion=6.1.0-1\n\ndepmod $version\n"
	depmod := treeWith(t, text("usr/sbin/depmod", "", 1))
	for name, tt := range map[string]struct {
		programs, system tree.Tree
		want             []string
	}{
		"Debian's":                {depmod, treeWith(t, text(infoDir+"/linux-image-6.1.0-1.postinst", script, 1)), []string{"6.1.0-1"}},
		"no depmod here":          {treeWith(t), treeWith(t, text(infoDir+"/linux-image-6.1.0-1.postinst", script, 1)), nil},
		"of another version":      {depmod, treeWith(t, text(infoDir+"/linux-image-6.1.0-2.postinst", script, 1)), nil},
		"Ubuntu's":                {depmod, treeWith(t, text(infoDir+"/linux-image-6.1.0-1.postinst", strings.Replace(script, "depmod $version", "depmod -a -F /boot/System.map-$version $version", 1), 1)), nil},
		"depmod has a config":     {depmod, treeWith(t, text("etc/depmod.d/acme.conf.dpkg-new", "", 1), text(infoDir+"/linux-image-6.1.0-1.postinst", script, 1)), nil},
		"another script of it":    {depmod, treeWith(t, text(infoDir+"/linux-image-6.1.0-1.postrm", script, 1)), nil},
		"not in dpkg's directory": {depmod, treeWith(t, text("usr/share/linux-image-6.1.0-1.postinst", script, 1)), nil},
	} {
		got, err := kernels(native.Job{Programs: tt.programs, System: tt.system, Reader: tree.NewReader(nil)})
		if err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: %v (%v), want %v", name, got, err, tt.want)
		}
	}
}

// TestCompanionMayBeImpossible: where programs can't run the guest is left all its work.
func TestCompanionMayBeImpossible(t *testing.T) {
	before := treeWith(t, text("usr/lib/python3/acme.py", "A = 1\n", 1))
	for name, programs := range map[string]tree.Tree{
		"no programs":             {},
		"for another machine":     treeWith(t, tree.Entry{Path: "usr/sbin/depmod", Type: tree.File, Mode: 0o755, Content: tree.InlineContent([]byte("\x7fELF of no machine"))}),
		"not allowed to run":      treeWith(t, text("usr/sbin/depmod", "#!/usr/bin/true\n", 1)),
		"without their libraries": treeWith(t, tree.Entry{Path: "usr/sbin/depmod", Type: tree.File, Mode: 0o755, Content: tree.InlineContent([]byte("#!/absent\n"))}),
	} {
		w := work{before: before, programs: programs, short: &shortened{disk: before, compile: [][]string{{"-p", "acme"}}}}
		w.job.Compile = callLines(w.short.compile)
		c := Config{Report: progress.Discard{}}
		got, k, err := c.companion(t.Context(), t.TempDir(), w, tree.NewReader(nil))
		if err != nil || k != nil {
			t.Errorf("%s: there is a companion: %v (%v)", name, k, err)
		}
		if !cmp.Equal(got.job, w.job) {
			t.Errorf("%s: the job is another one: %v", name, got.job)
		}
	}
}

// TestFound tells modules that are compiled from those whose sources are other ones now.
func TestFound(t *testing.T) {
	k := &companion{}
	after := treeWith(t, text("a.py", "A = 1\n", 1))
	want := []native.Ask{{How: native.ByModule, Path: "a.py"}}
	if made, missing := k.found(after, want); len(made) != 0 || !cmp.Equal(missing, want) {
		t.Errorf("nothing is compiled, but found are %v, missing %v", made, missing)
	}
	k.maybe = []native.Module{{Ask: want[0]}} // of a source with other time and size
	if made, missing := k.found(after, want); len(made) != 0 || !cmp.Equal(missing, want) {
		t.Errorf("the source has changed, but found are %v, missing %v", made, missing)
	}
}
