package lock_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// TestLayers asks for kernel and base (the parents' packages) and some of one's own. A word is "name" of the lower
// layer or "name/1" of the upper one.
func TestLayers(t *testing.T) {
	for name, tt := range map[string]struct{ own, want string }{
		"none of one's own":              {"", "lib1 base linux-image-arm64"},
		"one more":                       {"tool", "lib1 base linux-image-arm64 lib2/1 tool/1"},
		"its dependency is there":        {"small", "lib1 base linux-image-arm64 small/1"},
		"there already":                  {"lib1", "lib1 base linux-image-arm64"},
		"forbids what is not taken":      {"other- tool", "lib1 base linux-image-arm64 lib2/1 tool/1"},
		"forbids what would be taken":    {"lib1- lib1-ng", "lib1-ng base linux-image-arm64"},
		"another version below":          {"lib1=1 small", "lib1 base small linux-image-arm64"},
		"the base can't be without them": {"virtual-a needs-virtual", "lib1 base linux-image-arm64 virtual-a/1 needs-virtual/1"},
	} {
		t.Run(name, func(t *testing.T) {
			in := layeredInputs(t)
			in.Own = strings.Fields(tt.own)
			in.Profile.Packages = append(in.Profile.Packages, in.Own...)
			l, err := lock.Resolve(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, words(l)); d != "" {
				t.Error(d)
			}
		})
	}
}

func words(l lock.Lock) string {
	var out []string
	for _, p := range l.Packages {
		if p.Layer == 1 {
			p.Name += "/1"
		}
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func layeredInputs(t *testing.T) lock.Inputs {
	t.Helper()
	r := aptrepo.New(t).Add(aptrepo.Deb{Name: "busybox-static"}, aptrepo.Deb{Name: "linux-image-arm64"},
		aptrepo.Deb{Name: "lib1", Version: "1"}, aptrepo.Deb{Name: "lib1", Version: "2"}, aptrepo.Deb{Name: "lib1-ng", Provides: "lib1"},
		aptrepo.Deb{Name: "base", Depends: "lib1"}, aptrepo.Deb{Name: "lib2"}, aptrepo.Deb{Name: "tool", Depends: "lib2, base"},
		aptrepo.Deb{Name: "small", Depends: "lib1"}, aptrepo.Deb{Name: "other"},
		aptrepo.Deb{Name: "virtual-a", Provides: "virtual"}, aptrepo.Deb{Name: "needs-virtual", Depends: "virtual"})
	dir := r.Write(t.TempDir())
	store, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	p := profile.Profile{Name: "layered", Arch: "arm64", Packages: []string{"base"}, Boot: profile.Boot{Kernel: "linux-image-arm64"}}
	p.Apt.Sources = []profile.Source{{Name: "test", URL: "file://" + dir, Suites: []string{"stable"}, Components: []string{"main"},
		Fingerprints: []string{r.Fingerprint()}, Priority: 500}}
	return lock.Inputs{Profile: p, Keyrings: map[string][]byte{"test": r.Keyring()}, Client: fetch.New(fetch.Config{Store: store, Retries: -1}),
		Store: store, Now: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
}
