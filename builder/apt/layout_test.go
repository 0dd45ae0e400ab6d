package apt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/test/aptrepo"
)

// TestLayouts reads what archives look like besides Debian's own, and has apt read it too.
func TestLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *aptrepo.Repo)
		suite  string
	}{
		"plain":           {func(*aptrepo.Repo) {}, "stable"},
		"xz only":         {func(r *aptrepo.Repo) { r.Forms = []string{".xz"} }, "stable"},
		"gz only":         {func(r *aptrepo.Repo) { r.Forms = []string{".gz"} }, "stable"},
		"all forms":       {func(r *aptrepo.Repo) { r.Forms = []string{"", ".gz", ".xz"} }, "stable"},
		"Release.gpg":     {func(r *aptrepo.Repo) { r.Detached = true }, "stable"},
		"subkey":          {func(r *aptrepo.Repo) { r.SignWithSubkey() }, "stable"},
		"subkey detached": {func(r *aptrepo.Repo) { r.SignWithSubkey(); r.Detached = true }, "stable"},
		"split all":       {func(r *aptrepo.Repo) { r.SplitAll = true }, "stable"},
		"flat":            {func(r *aptrepo.Repo) { r.Flat, r.Suite = true, "/" }, "/"},
		"flat below":      {func(r *aptrepo.Repo) { r.Flat, r.Suite = true, "./sub/" }, "./sub/"},
		"flat by name":    {func(r *aptrepo.Repo) { r.Flat, r.Suite, r.Detached = true, "amd/64/", true }, "amd/64/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := aptrepo.New(t).Add(aptrepo.Deb{Name: "lib", Arch: "arm64", Version: "1:2-3"}, aptrepo.Deb{Name: "app", Depends: "lib (>= 1:2)"})
			c.change(r)
			dir := r.Write(t.TempDir())
			s := sourceOf(r, dir)
			if s.Suite = c.suite; s.flat() {
				s.Components = nil
			}
			u, err := loadTest(t, s)
			must(t, err)
			solution, err := Solve(u, Request{Install: []string{"app"}})
			must(t, err)
			var got []string
			for _, p := range solution.Packages {
				got = append(got, p.String())
				_, err := os.Stat(filepath.Join(dir, p.Path))
				must(t, err)
			}
			slices.Sort(got)
			want, err := aptrepo.NewAptGet(t, "arm64", aptrepo.Suite{Dir: dir, Name: s.Suite, Components: s.Components, Keyring: s.Keyring}).Fetched("app")
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" || len(got) != 2 {
				t.Errorf("-apt +edgebake\n%s", diff)
			}
		})
	}
}

// TestSubkeyIsNoPin: the fingerprint to pin is that of the primary key.
func TestSubkeyIsNoPin(t *testing.T) {
	r := aptrepo.New(t).Add(aptrepo.Deb{Name: "a"})
	sub := r.SignWithSubkey()
	s := sourceOf(r, r.Write(t.TempDir()))
	s.Fingerprints = []string{sub}
	if _, err := loadTest(t, s); err == nil || !strings.Contains(err.Error(), "no primary key "+sub) {
		t.Error(err)
	}
}

// TestPriorities: what a name means with several sources. The expectations are apt's; see
// apt_preferences(5).
func TestPriorities(t *testing.T) {
	for name, c := range map[string]struct {
		second         int // priority of the second source
		fields         string
		request, want  string
		installed, bad string
	}{
		"newest of equals":       {request: "app", want: "app=2"},
		"lower":                  {second: 400, request: "app", want: "app=1"},
		"higher, older":          {second: 600, request: "tool", want: "tool=1"},
		"never":                  {second: -1, request: "app", want: "app=1"},
		"never, alone":           {second: -1, request: "alone", bad: "alone"},
		"not automatic":          {fields: "NotAutomatic: yes\n", request: "app", want: "app=1"},
		"not automatic, alone":   {fields: "NotAutomatic: yes\n", request: "alone", want: "alone=1"},
		"not automatic, version": {fields: "NotAutomatic: yes\n", request: "app=2", want: "app=2"},
		"not automatic, suite":   {fields: "NotAutomatic: yes\n", request: "app/second", want: "app=2"},
		"suite is not for needs": {fields: "NotAutomatic: yes\n", request: "needy/second", bad: "needy requires app (>= 2), first has 1"},
		"both named":             {fields: "NotAutomatic: yes\n", request: "needy/second app/second", want: "app=2 needy=1"},
		"no such version":        {request: "app=3", bad: "no package app=3 in the sources; there is 2 (second), 1 (first)"},
		"no such suite":          {request: "app/third", bad: "no package app/third"},
		"no such architecture":   {request: "app:riscv64", bad: "app:riscv64"},
		"own architecture":       {request: "app:arm64", want: "app=2"},
		"never wanted":           {request: "either app-", want: "either=1 tool=2"},
		"both ways":              {request: "needy app-", bad: "needy requires app (>= 2), the request excludes app"},
		"backports stay out":     {fields: "NotAutomatic: yes\nButAutomaticUpgrades: yes\n", request: "needs1", installed: "app 0", want: "app=1 needs1=1"},
		"backports are kept up":  {fields: "NotAutomatic: yes\nButAutomaticUpgrades: yes\n", request: "needy", installed: "app 1.5", want: "app=2 needy=1"},
		"downgrade":              {second: 1000, request: "old", installed: "tool 2", want: "old=1 tool=1"},
		"no downgrade":           {second: 999, request: "old", installed: "tool 2", bad: "old requires tool (<< 2)"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := aptrepo.New(t), aptrepo.New(t)
			first.Suite, second.Suite, second.Fields = "first", "second", c.fields
			first.Add(aptrepo.Deb{Name: "app"}, aptrepo.Deb{Name: "tool", Version: "2"}, aptrepo.Deb{Name: "either", Depends: "app | tool"},
				aptrepo.Deb{Name: "needs1", Depends: "app (>= 1)"}, aptrepo.Deb{Name: "old", Depends: "tool (<< 2)"})
			second.Add(aptrepo.Deb{Name: "app", Version: "2"}, aptrepo.Deb{Name: "tool", Version: "1"}, aptrepo.Deb{Name: "alone"},
				aptrepo.Deb{Name: "needy", Depends: "app (>= 2)"})
			a, b := sourceOf(first, first.Write(t.TempDir())), sourceOf(second, second.Write(t.TempDir()))
			a.Suite, b.Suite, b.Priority = "first", "second", c.second
			u, err := loadTest(t, a, b)
			must(t, err)
			var base []Installed
			if c.installed != "" {
				base = statusOf(t, c.installed)
			}
			checkSolved(t, u, Request{Install: strings.Fields(c.request), Installed: base}, c.want, c.bad)
		})
	}
}

func checkSolved(t *testing.T, u *Universe, r Request, want, bad string) {
	t.Helper()
	s, err := Solve(u, r)
	if err != nil || bad != "" {
		if bad == "" || err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%v, want %s%s", err, want, bad)
		}
		return
	}
	var got []string
	for _, p := range s.Packages {
		got = append(got, p.String())
	}
	slices.Sort(got)
	if text := strings.Join(got, " "); text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func TestRecommends(t *testing.T) {
	r := aptrepo.New(t).Add(aptrepo.Deb{Name: "app", Recommends: "extra | other, gone, foe"}, aptrepo.Deb{Name: "extra", Recommends: "more"}, aptrepo.Deb{Name: "other"},
		aptrepo.Deb{Name: "more"}, aptrepo.Deb{Name: "foe", Conflicts: "app"}, aptrepo.Deb{Name: "lib", Version: "2", Recommends: "more, other"}, aptrepo.Deb{Name: "user", Depends: "lib (>= 2)"})
	u, err := loadTest(t, sourceOf(r, r.Write(t.TempDir())))
	must(t, err)
	checkSolved(t, u, Request{Install: []string{"app"}}, "app=1", "")
	checkSolved(t, u, Request{Install: []string{"app"}, Recommends: true}, "app=1 extra=1 more=1", "")
	checkSolved(t, u, Request{Install: []string{"app", "extra-"}, Recommends: true}, "app=1 other=1", "")
	// An upgrade brings only what it did not recommend before.
	checkSolved(t, u, Request{Install: []string{"user"}, Recommends: true, Installed: statusOf(t, "lib 1 / Recommends: more")}, "lib=2 other=1 user=1", "")
}

func FuzzRelease(f *testing.F) {
	f.Add("Suite: stable\nCodename: s\nDate: Sat, 10 Jan 2026 10:00:00 UTC\nValid-Until: Sat, 17 Jan 2026 10:00:00 +0000\nComponents: main\nArchitectures: arm64 all\n" +
		"Acquire-By-Hash: yes\nSHA256:\n " + strings.Repeat("a", 64) + " 12 main/binary-arm64/Packages.xz\n " + strings.Repeat("B", 64) + " 0 main/binary-all/Packages\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRelease("test", []byte(text), "")
		if err != nil {
			return
		}
		s := Source{Suite: "stable", Components: []string{"main"}}
		_ = r.check(s, "arm64", testNow) // any verdict will do
		names, err := r.indexes(s, "arm64")
		if err != nil {
			return
		}
		for _, name := range names {
			if _, file, ok := r.file(name); !ok || file.size < 0 || len(file.digest) != 64 {
				t.Errorf("%s: %+v", name, file)
			}
		}
	})
}

// FuzzInRelease: no text that the key did not sign gets through.
func FuzzInRelease(f *testing.F) {
	r := aptrepo.New(f)
	dir := r.Write(f.TempDir())
	signed, err := os.ReadFile(filepath.Join(dir, "dists/stable/InRelease"))
	must(f, err)
	keys, err := pinnedKeys(r.Keyring(), []string{r.Fingerprint()})
	must(f, err)
	genuine, err := verifyClear(signed, keys, testNow)
	must(f, err)
	f.Add(signed)
	f.Add([]byte(strings.Replace(string(signed), "\n\n", "\nHash: SHA1\n\n", 1)))
	f.Add([]byte("evil\n" + string(signed) + "\nevil: yes\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Blanks at the end of a line are not signed (RFC 9580, section 7.2).
		if text, err := verifyClear(data, keys, testNow); err == nil && !slices.Equal(trimmed(text), trimmed(genuine)) {
			t.Errorf("%q passed", text)
		}
	})
}

func trimmed(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimRight(line, " \t\r\n"))
	}
	return lines
}
