package builder

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	helped = "# Automatically added by dh_installdeb/13.11.4\ndpkg-maintscript-helper rm_conffile /etc/acme 1~ -- \"$@\"\n# End automatically added section\n"
	python = "# Automatically added by dh_python3\nif command -v py3compile >/dev/null 2>&1; then\n\tpy3compile -p python3-acme \nfi\n" +
		"if command -v pypy3compile >/dev/null 2>&1; then\n\tpypy3compile -p python3-acme  || true\nfi\n\n# End automatically added section\n"
)

// scriptsOf is a system with maintainer scripts; extra are paths of programs.
func scriptsOf(t *testing.T, extra ...string) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 7})
	for path, text := range map[string]string{
		infoDir + "/acme.preinst":          "#!/bin/sh\nset -e\n" + helped,
		infoDir + "/other.preinst":         "#!/bin/sh\nset -e\n" + helped,
		infoDir + "/acme.postinst":         "#!/bin/sh\nset -e\nadduser acme\n" + helped,
		infoDir + "/acme.postrm":           "#!/bin/sh\nset -e\n" + helped, // is not run
		infoDir + "/python3-acme.postinst": "#!/bin/sh\nset -e\n" + python,
		"usr/share/acme.postinst":          "#!/bin/sh\nset -e\n" + helped, // is no maintainer script
	} {
		b.Add(tree.Entry{Path: path, Type: tree.File, Mode: 0o755, MTime: tree.Time{Sec: 5}, Content: tree.InlineContent([]byte(text))})
	}
	for _, p := range extra {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o755})
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestShortenAndRestore(t *testing.T) {
	before := scriptsOf(t, "usr/bin/py3compile")
	s, err := shorten(before, tree.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		infoDir + "/acme.preinst": "", infoDir + "/python3-acme.postinst": "",
		infoDir + "/acme.postinst": "#!/bin/sh\nset -e\nadduser acme\n:\n",
		infoDir + "/acme.postrm":   "#!/bin/sh\nset -e\n" + helped,
		"usr/share/acme.postinst":  "#!/bin/sh\nset -e\n" + helped,
	} {
		if e, ok := s.disk.Lookup(path); ok != (want != "") || string(e.Content.Inline) != want {
			t.Errorf("%s is there: %v: %q", path, ok, e.Content.Inline)
		}
	}
	if want := []string{"-p\x1fpython3-acme\x1f"}; !cmp.Equal(callLines(s.compile), want) {
		t.Errorf("py3compile is called with %q", callLines(s.compile))
	}
	after, err := s.restore(s.disk)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Entries(), after.Entries()); diff != "" {
		t.Error(diff)
	}
}

// TestPreinstsThatAreGone keeps the order of configuring: what a package pre-depends on comes at the time of its script.
func TestPreinstsThatAreGone(t *testing.T) {
	s, err := shorten(scriptsOf(t), tree.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	got := s.preinsts([]deb.Preinst{
		{Package: "acme", Arch: "all", Version: "1", Qualified: "acme", PreDepends: []string{"libc6"}},
		{Package: "other", Arch: "all", Version: "1", Qualified: "other"},
		{Package: "third", Arch: "all", Version: "1", Qualified: "third"},
	})
	want := []guest.Script{
		{Package: "acme", Arch: "all", Version: "1", Path: infoDir + "/acme.preinst", Before: []string{"libc6"}, Skip: true},
		{Package: "third", Arch: "all", Version: "1", Path: infoDir + "/third.preinst"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if calls := callLines(s.compile); len(calls) > 0 {
		t.Errorf("there is no py3compile, and it is called with %q", calls)
	}
	s, err = shorten(scriptsOf(t, "usr/bin/py3compile", "usr/bin/pypy3compile"), tree.NewReader(nil))
	if _, ok := s.disk.Lookup(infoDir + "/python3-acme.postinst"); err != nil || !ok {
		t.Errorf("with a second compiler the script has to run: %v", err)
	}
}
