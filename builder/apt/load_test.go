package apt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/test/aptrepo"
)

var testNow = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)

func sourceOf(r *aptrepo.Repo, dir string) Source {
	return Source{Name: "test", URLs: []string{"file://" + dir}, Suite: "stable", Components: []string{"main"},
		Keyring: r.Keyring(), Fingerprints: []string{r.Fingerprint()}}
}

func loadTest(t *testing.T, sources ...Source) (*Universe, error) {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Load(context.Background(), fetch.New(fetch.Config{Store: store, Retries: -1}), store, sources, "arm64", testNow)
}

func TestLoadFaults(t *testing.T) {
	other := aptrepo.New(t)
	for name, c := range map[string]struct {
		change func(r *aptrepo.Repo, dir string, s *Source)
		want   string
	}{
		"good": {func(*aptrepo.Repo, string, *Source) {}, ""},
		"wrong key": {func(_ *aptrepo.Repo, _ string, s *Source) {
			s.Keyring, s.Fingerprints = other.Keyring(), []string{other.Fingerprint()}
		}, "but pinned are " + other.Fingerprint()},
		"not pinned": {func(_ *aptrepo.Repo, _ string, s *Source) { s.Fingerprints = []string{other.Fingerprint()} }, "no primary key"},
		"changed": {func(_ *aptrepo.Repo, d string, _ *Source) {
			edit(t, d+"/dists/stable/InRelease", "Origin: Test", "Origin: Evil")
		}, "signature"},
		"text before": {func(_ *aptrepo.Repo, d string, _ *Source) {
			edit(t, d+"/dists/stable/InRelease", "-----BEGIN PGP SIGNED", "Evil: yes\n-----BEGIN PGP SIGNED")
		}, ""},
		"other suite": {func(_ *aptrepo.Repo, d string, s *Source) {
			s.Suite = "testing"
			must(t, os.Rename(d+"/dists/stable", d+"/dists/testing"))
		}, "suite testing was asked for"},
		"no component": {func(_ *aptrepo.Repo, _ string, s *Source) { s.Components = []string{"contrib"} }, "no contrib/binary-arm64"},
		"expired":      {func(r *aptrepo.Repo, d string, _ *Source) { r.ValidUntil = testNow.Add(-time.Hour); r.Write(d) }, "Valid-Until"},
		"expired, ignored": {func(r *aptrepo.Repo, d string, s *Source) {
			r.ValidUntil, s.IgnoreValidUntil = testNow.Add(-time.Hour), true
			r.Write(d)
		}, ""},
		"wrong index": {func(_ *aptrepo.Repo, d string, _ *Source) {
			must(t, os.RemoveAll(d+"/dists/stable/main/binary-arm64/by-hash"))
			must(t, os.WriteFile(d+"/dists/stable/main/binary-arm64/Packages.gz", []byte("evil"), 0o644))
		}, "reading Packages index of stable/main"},
	} {
		t.Run(name, func(t *testing.T) {
			r := aptrepo.New(t).Add(aptrepo.Deb{Name: "a"})
			dir := r.Write(t.TempDir())
			s := sourceOf(r, dir)
			c.change(r, dir, &s)
			u, err := loadTest(t, s)
			if c.want == "" && (err != nil || u.Candidate("a") == nil) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func edit(t *testing.T, name, from, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Clean(name))
	must(t, err)
	must(t, os.WriteFile(name, []byte(strings.Replace(string(data), from, to, 1)), 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSolve(t *testing.T) {
	r := aptrepo.New(t).Add(
		aptrepo.Deb{Name: "edge", Depends: "runtime (>= 9)"}, aptrepo.Deb{Name: "runtime", Version: "1.6"}, aptrepo.Deb{Name: "app", Depends: "edge"},
		aptrepo.Deb{Name: "mail", Depends: "mta"}, aptrepo.Deb{Name: "m1", Provides: "mta", Conflicts: "mta"}, aptrepo.Deb{Name: "m2", Provides: "mta", Priority: "standard", Conflicts: "mta"},
		aptrepo.Deb{Name: "first", Depends: "x | y"}, aptrepo.Deb{Name: "x"}, aptrepo.Deb{Name: "y"},
		aptrepo.Deb{Name: "late", Depends: "first, nox"}, aptrepo.Deb{Name: "nox", Conflicts: "x"},
		aptrepo.Deb{Name: "c1", Depends: "c2"}, aptrepo.Deb{Name: "c2", PreDepends: "c1"},
		aptrepo.Deb{Name: "v", Depends: "api (>= 2)"}, aptrepo.Deb{Name: "p1", Provides: "api (= 1)"}, aptrepo.Deb{Name: "p2", Provides: "api (= 2)"})
	u, err := loadTest(t, sourceOf(r, r.Write(t.TempDir())))
	must(t, err)
	for request, want := range map[string]string{
		"mail": "m2 mail", "mail m1": "m1 mail", "first": "x first", "first y": "y first", "late": "y first nox late",
		"c2": "c1 c2", "v": "p2 v", "first x-": "y first", "runtime=1.6": "runtime",
	} {
		s, err := Solve(u, Request{Install: strings.Fields(request)})
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		var names []string
		for _, c := range s.Packages {
			names = append(names, c.Name)
		}
		if diff := cmp.Diff(want, strings.Join(names, " ")); diff != "" {
			t.Errorf("%s: %s", request, diff)
		}
	}
	_, err = Solve(u, Request{Install: []string{"app"}})
	var bad *UnsatisfiableError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "edge requires runtime (>= 9), stable has 1.6; edge is wanted by app") {
		t.Error(err)
	}
	_, err = Solve(u, Request{Install: []string{"runtme"}})
	var unknown *UnknownPackageError
	if !errors.As(err, &unknown) || !strings.Contains(err.Error(), "did you mean runtime?") {
		t.Error(err)
	}
}

// TestSolveAfterFailedRecommends: what did not work for a recommendation is asked for by a
// dependency later. The first choice, x, has to go then.
func TestSolveAfterFailedRecommends(t *testing.T) {
	r := aptrepo.New(t).Add(aptrepo.Deb{Name: "a", Depends: "x | y", Recommends: "z"}, aptrepo.Deb{Name: "x"}, aptrepo.Deb{Name: "y"},
		aptrepo.Deb{Name: "z", Depends: "deep"}, aptrepo.Deb{Name: "deep", Conflicts: "x"}, aptrepo.Deb{Name: "b", Depends: "z"})
	u, err := loadTest(t, sourceOf(r, r.Write(t.TempDir())))
	must(t, err)
	checkSolved(t, u, Request{Install: []string{"a", "b"}, Recommends: true}, "a=1 b=1 deep=1 y=1 z=1", "")
	checkSolved(t, u, Request{Install: []string{"a", "b", "y-"}, Recommends: true}, "",
		"deep conflicts with x (x), x 1 is needed: a depends; deep is wanted by z; z is wanted by a; a is requested")
}
