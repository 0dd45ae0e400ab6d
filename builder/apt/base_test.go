package apt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/test/aptrepo"
)

// statusOf writes a dpkg database of lines "name version [want state] [/ Field: value; ..]".
func statusOf(t *testing.T, lines ...string) []Installed {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		head, fields, _ := strings.Cut(line, " / ")
		w := strings.Fields(head)
		w = append(w, []string{"install", "installed"}[len(w)-2:]...)
		fmt.Fprintf(&b, "Package: %s\nStatus: %s ok %s\nVersion: %s\n", w[0], w[2], w[3], w[1])
		if !strings.Contains(fields, "Architecture:") {
			b.WriteString("Architecture: arm64\n")
		}
		b.WriteString(strings.ReplaceAll(fields, "; ", "\n") + "\n\n")
	}
	list, err := ParseStatus(strings.NewReader(b.String()))
	must(t, err)
	return list
}

func baseArchive(t *testing.T) *Universe {
	t.Helper()
	r := aptrepo.New(t).Add(
		aptrepo.Deb{Name: "base", Essential: true, Priority: "required"},
		aptrepo.Deb{Name: "lib", Version: "2"}, aptrepo.Deb{Name: "app", Depends: "lib"}, aptrepo.Deb{Name: "new", Depends: "lib (>= 2)"},
		aptrepo.Deb{Name: "tool", Version: "2", Depends: "lib (= 2)"},
		aptrepo.Deb{Name: "breaker", Breaks: "old (<< 2)"}, aptrepo.Deb{Name: "old", Version: "2"},
		aptrepo.Deb{Name: "mta1", Provides: "mta", Conflicts: "mta"}, aptrepo.Deb{Name: "mta2", Provides: "mta", Conflicts: "mta"}, aptrepo.Deb{Name: "mail", Depends: "mta1 | mta"},
		aptrepo.Deb{Name: "server", Depends: "mta2"}, aptrepo.Deb{Name: "either", Depends: "fresh | lib (>= 2)"}, aptrepo.Deb{Name: "fresh"},
		aptrepo.Deb{Name: "pinned", Depends: "lib (<< 2) | fresh"}, aptrepo.Deb{Name: "strict", Depends: "lib (<< 2)"},
		aptrepo.Deb{Name: "late", Version: "1"}, aptrepo.Deb{Name: "foe", Breaks: "late"})
	u, err := loadTest(t, sourceOf(r, r.Write(t.TempDir())))
	must(t, err)
	return u
}

// described is "name", or "name<old" for an upgrade, and the reason where it is not "requested".
func described(s *Solution) string {
	var list []string
	for _, c := range s.Packages {
		text := c.Name
		if c.Upgrades != "" {
			text += "<" + c.Upgrades
		}
		if c.Reason != "requested" {
			text += " [" + c.Reason + "]"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func TestSolveOnBase(t *testing.T) {
	u := baseArchive(t)
	for _, c := range []struct{ status, install, want, fault string }{
		{"lib 1", "app", "app", ""},
		{"lib 1, app 1", "app", "", ""},
		{"lib 1", "lib", "", ""}, // as apt-get install --no-upgrade
		{"lib 1", "lib=2", "lib<1", ""},
		{"lib 2+local", "lib", "", ""},
		{"lib 1", "new", "lib<1 [new depends], new", ""},
		{"lib 3", "new", "new", ""},
		{"lib 1, tool 1 / Depends: lib (= 1)", "new", "lib<1 [new depends], new, tool<1 [lib changes]", ""},
		{"lib 1, mine 1 / Depends: lib (= 1) | fresh", "new", "lib<1 [new depends], new, fresh [mine depends]", ""},
		{"lib 1, mine 1 / Depends: lib (= 1)", "new", "", "lib would replace version 1, mine 1 of the base requires lib (= 1); lib is wanted by new; new is requested"},
		{"lib 1 hold", "new", "", "new requires lib (>= 2), lib 1 is installed and on hold; new is requested"},
		{"lib 1 hold", "lib=2", "", "lib is needed as version 2, lib 1 is installed and on hold; lib is requested"},
		{"lib 1 / Multi-Arch: same, lib 1 / Multi-Arch: same; Architecture: armhf", "new", "", "lib 1 is installed for armhf too, and both must have one version"},
		{"lib 1", "either", "lib<1 [either depends], either", ""}, // upgrades come before new packages
		{"lib 2", "pinned", "fresh [pinned depends], pinned", ""},
		{"lib 1", "pinned new", "fresh [pinned depends], pinned, lib<1 [new depends], new", ""},
		{"lib 1", "strict new", "", "lib would replace version 1, strict 1 requires lib (<< 2); lib is wanted by new; new is requested"},
		{"old 1", "breaker", "old<1 [breaker breaks], breaker", ""},
		{"old 1 / Breaks: breaker", "breaker", "old<1 [breaker breaks], breaker", ""},
		{"old 1 hold", "breaker", "", "breaker conflicts with old (old (<< 2)), old 1 is installed and on hold; breaker is requested"},
		{"late 1", "foe", "", "late 1 is installed in the base, from which nothing is removed, and no source has a version that fits"},
		{"mta2 1 / Provides: mta; Conflicts: mta", "mail", "mail", ""},
		{"mta1 1 / Provides: mta; Conflicts: mta", "server", "",
			"mta2 conflicts with mta1 (mta), mta1 1 is installed in the base, from which nothing is removed, and no source has a version that fits; mta2 is wanted by server; server is requested"},
		{"mta1 1 / Provides: mta", "mta", "", ""},
		{"lib 1", "lib-", "", "lib is not wanted, but it is installed in the base"},
		{"app 1 install unpacked / Depends: lib", "fresh", "fresh, lib [app depends]", ""},
		{"app 1 / Depends: lib", "fresh", "fresh", ""}, // was broken before
		{"app 1 install half-configured / Depends: gone", "fresh", "", "app requires gone, gone is not in the sources; app is wanted by the base, where it is installed"},
		{"lib 1 deinstall config-files, late 1", "app", "lib [app depends], app", ""},
		{"lib 1 install triggers-pending", "app", "app", ""},
	} {
		t.Run(c.status+" + "+c.install, func(t *testing.T) {
			lines := strings.Split(c.status, ", ")
			s, err := Solve(u, Request{Install: strings.Fields(c.install), Installed: statusOf(t, lines...), Essential: true, Priorities: []string{"required"}})
			switch {
			case c.fault != "":
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v, want %s", err, c.fault)
				}
			case err != nil:
				t.Error(err)
			default:
				if diff := cmp.Diff(c.want, described(s)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	list, err := ParseStatus(strings.NewReader("Package: a\nStatus: hold ok half-configured\nVersion: 1\nArchitecture: all\nDepends: b\n\n" +
		"Package: b\nStatus: deinstall ok config-files\n\nPackage: c\nStatus: install ok installed\nVersion: 2\nArchitecture: arm64\n"))
	must(t, err)
	if len(list) != 2 || !list[0].Hold || list[0].State != "half-configured" || list[0].Depends != "b" || list[1].Name != "c" || list[1].Source != -1 {
		t.Errorf("%+v", list)
	}
	for text, want := range map[string]string{
		"Package: a\nVersion: 1\n":                   "instead of three words",
		"Package: a\nStatus: install ok eaten\n":     `state "eaten"`,
		"Package: a\nStatus: install ok installed\n": "no version or architecture",
		"Status: install ok installed\n":             `package ""`,
		strings.Repeat("Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n", 2): "a:all is there twice",
	} {
		if _, err := ParseStatus(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDepends: b | c (>= 1)\nProvides: d (= 2)\n")
	f.Add("Package: a\nStatus: hold ok unpacked\nVersion: 1:2-3\nArchitecture: arm64\nConflicts: a\n\nPackage: b\nStatus: x y not-installed\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseStatus(strings.NewReader(text))
		if err != nil {
			return
		}
		if slices.ContainsFunc(list, func(p Installed) bool { return p.Name == "" || p.Version == "" || p.Source != -1 }) {
			t.Errorf("%+v", list)
		}
		// Whatever is installed, solving ends.
		u := newUniverse("arm64")
		u.finish()
		if _, err := Solve(u, Request{Installed: list}); err != nil && err.Error() == "" {
			t.Error(err)
		}
	})
}
