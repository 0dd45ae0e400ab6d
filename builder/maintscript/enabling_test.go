package maintscript_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/maintscript"
	"github.com/edgebake/edgebake/builder/system"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// enable is postinst-systemd-enable of debhelper 13.11.
func enable(unit string) string {
	return strings.ReplaceAll(configures+`	# The following line should be removed in trixie or trixie+1
	deb-systemd-helper unmask 'UNIT' >/dev/null || true

	# was-enabled defaults to true, so new installations run enable.
	if deb-systemd-helper --quiet was-enabled 'UNIT'; then
		# Enables the unit on first installation, creates new
		# symlinks on upgrades if the unit file has changed.
		deb-systemd-helper enable 'UNIT' >/dev/null || true
	else
		# Update the statefile to add new symlinks (if any), which need to be
		# cleaned up on purge. Also remove old symlinks.
		deb-systemd-helper update-state 'UNIT' >/dev/null || true
	fi
fi
`, "UNIT", unit)
}

// withUnit is a system with systemd's programs and a unit, and more files that have no more than a text.
func withUnit(t *testing.T, unit, text string, more map[string]string) (root string, links []string) {
	t.Helper()
	helper, err := os.ReadFile(oracle.Need(t, "deb-systemd-helper"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"usr/lib/systemd/system/" + unit: text, "usr/bin/deb-systemd-helper": string(helper), "usr/bin/systemctl": ""}
	for p, text := range more {
		files[p] = text
	}
	root = t.TempDir()
	b := tree.NewBuilder(tree.Time{Sec: 7})
	b.Add(tree.Entry{Path: "lib", Type: tree.Symlink, Mode: 0o777, Link: "usr/lib"})
	for p, text := range files {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o755, Content: tree.InlineContent([]byte(text))})
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, p), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil {
		t.Fatal(err)
	}
	tr, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	e, err := system.NewEnabling(tr, tree.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	return root, e.Links(unit)
}

// TestEnablingDoesTheSame runs debhelper's fragment with the real deb-systemd-helper and systemctl, and what it becomes, and
// compares what is there afterwards.
func TestEnablingDoesTheSame(t *testing.T) {
	oracle.Need(t, "systemctl")
	const unit = "acme.service"
	multi := "[Unit]\nDescription=Acme\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
	for name, tt := range map[string]struct {
		text  string
		more  map[string]string
		known bool
	}{
		"wanted by one":             {multi, nil, true},
		"by several":                {"[Install]\n# who\nWantedBy=b.target a.target\nRequiredBy=c.service\n\nWantedBy=d.target\n", nil, true},
		"the presets want it":       {multi, map[string]string{"usr/lib/systemd/system-preset/90-systemd.preset": "# x\nenable acme.*\ndisable *\n"}, true},
		"they do not":               {multi, map[string]string{"usr/lib/systemd/system-preset/90-systemd.preset": "disable acme.service\n"}, false},
		"the administrator's do":    {multi, map[string]string{"etc/systemd/system-preset/1.preset": "disable *\n"}, false},
		"an alias":                  {multi + "Alias=other.service\n", nil, false},
		"another one also":          {multi + "Also=b.service\n", map[string]string{"usr/lib/systemd/system/b.service": multi}, false},
		"nobody wants it":           {"[Service]\nExecStart=/bin/true\n", nil, false},
		"an empty value":            {multi + "WantedBy=\n", nil, false},
		"a key elsewhere":           {"[Unit]\nWantedBy=x.target\n" + multi, nil, false},
		"a continued line":          {"[Install]\nWantedBy=a.target \\\nb.target\n", nil, false},
		"more of it in a directory": {multi, map[string]string{"usr/lib/systemd/system/acme.service.d/x.conf": "[Install]\nWantedBy=x.target\n"}, false},
		"more of all services":      {multi, map[string]string{"etc/systemd/system/service.d/x.conf": "[Install]\nWantedBy=x.target\n"}, false},
		"another of that name":      {multi, map[string]string{"etc/systemd/system/acme.service": multi}, false},
		"known before":              {multi, map[string]string{"var/lib/systemd/deb-systemd-helper-enabled/acme.service.dsh-also": "/etc/systemd/system/a.target.wants/acme.service\n"}, true},
		"disabled before":           {multi, map[string]string{"var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/acme.service": ""}, true},
		"masked before":             {multi, map[string]string{"var/lib/systemd/deb-systemd-helper-masked/acme.service": ""}, true},
	} {
		t.Run(name, func(t *testing.T) {
			plain, links := withUnit(t, unit, tt.text, tt.more)
			quick, _ := withUnit(t, unit, tt.text, tt.more)
			script := head + section("dh_installsystemd/13.11.4", enable(unit))
			short, ok := maintscript.New().Shorten(script, func(string) []string { return links })
			if ok != tt.known {
				t.Fatalf("its links are %v; if none are ever known: is this machine's deb-systemd-helper among those of builder/system?", links)
			}
			if !ok {
				return
			}
			for root, script := range map[string]string{plain: script, quick: short.Text} {
				cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "postinst", "configure", "")
				cmd.Env = append(os.Environ(), "DPKG_ROOT="+root, "DPKG_MAINTSCRIPT_PACKAGE=acme")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if diff := cmp.Diff(textOf(t, plain), textOf(t, quick)); diff != "" {
				t.Error(diff)
			}
			if len(tt.more) == 0 && !strings.Contains(textOf(t, quick), "wants/acme.service l ") {
				t.Error("it is not enabled")
			}
		})
	}
}

// TestEnablingIsQuick is about the way in which most units are enabled: without deb-systemd-helper.
func TestEnablingIsQuick(t *testing.T) {
	root, links := withUnit(t, "acme.service", "[Install]\nWantedBy=multi-user.target\n", nil)
	short, _ := maintscript.New().Shorten(head+section("dh_installsystemd/13.11.4", enable("acme.service")), func(string) []string { return links })
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "deb-systemd-helper"), []byte("#!/bin/sh\necho called >&2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", short.Text, "postinst", "configure", "")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DPKG_ROOT="+root)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// textOf lists a system's files with what is in them.
func textOf(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", root, "-printf", "%P %y %m %l\n", "-type", "f", "-exec", "cat", "{}", ";").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
