package lock_test

import (
	"os"
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

// localInputs has an archive that lacks cri-o, and pins the given local package.
func localInputs(t *testing.T, debs ...aptrepo.Deb) lock.Inputs {
	t.Helper()
	r := aptrepo.New(t).Add(aptrepo.Deb{Name: "busybox-static"}, aptrepo.Deb{Name: "linux-image-arm64"},
		aptrepo.Deb{Name: "libseccomp2", Version: "2.5"}, aptrepo.Deb{Name: "conmon", Version: "2.1"})
	dir := r.Write(t.TempDir())
	store, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	c := lock.Component{Name: "crio", Kind: "crio"}
	for _, d := range debs {
		content := d.Build(t)
		digest, err := store.PutBytes(content)
		if err != nil {
			t.Fatal(err)
		}
		c.Files = append(c.Files, lock.File{Name: d.Name + ".deb", Source: "debs/" + d.Name + ".deb", Size: int64(len(content)), SHA256: digest})
	}
	p := profile.Profile{Name: "local", Arch: "arm64", Boot: profile.Boot{Kernel: "linux-image-arm64"}}
	p.Apt.Sources = []profile.Source{{Name: "test", URL: "file://" + dir, Suites: []string{"stable"}, Components: []string{"main"},
		Fingerprints: []string{r.Fingerprint()}, Priority: 500}}
	return lock.Inputs{Profile: p, Keyrings: map[string][]byte{"test": r.Keyring()}, Client: fetch.New(fetch.Config{Store: store, Retries: -1}),
		Store: store, Components: []lock.Component{c}, Now: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
}

func TestLocalPackagesAreSolvedWithTheArchives(t *testing.T) {
	in := localInputs(t, aptrepo.Deb{Name: "cri-o", Version: "1.20.0~2", Arch: "arm64", Depends: "libseccomp2, conmon (>= 2)"},
		aptrepo.Deb{Name: "conmon", Version: "2.0.20", Arch: "arm64"})
	l, err := lock.Resolve(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range l.Packages {
		got[p.Name] = p.Version + " from " + l.Archives[p.Archive].Source
	}
	want := map[string]string{"cri-o": "1.20.0~2 from local files", "conmon": "2.0.20 from local files", "libseccomp2": "2.5 from test", "linux-image-arm64": "1 from test"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, r := range l.Requests() {
		if strings.HasPrefix(r.Name, "cri-o") && len(r.URLs) > 0 {
			t.Errorf("a local package is fetched from %q", r.URLs)
		}
	}
	// The store has what lies on the machine, so nothing of it is downloaded.
	if err := in.Client.All(t.Context(), l.Requests()); err != nil {
		t.Error(err)
	}
	file, err := l.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Parse(file, text); err != nil {
		t.Error(err)
	}
}

// TestLocalPackagesAreTheUpperLayer but for a component's own ones.
func TestLocalPackagesAreTheUpperLayer(t *testing.T) {
	in := localInputs(t, aptrepo.Deb{Name: "tool", Version: "3", Arch: "arm64", Depends: "libseccomp2, conmon"})
	for kind, want := range map[string]string{"debs": "linux-image-arm64 libseccomp2/1 conmon/1 tool/1", "crio": "linux-image-arm64 libseccomp2 conmon tool"} {
		in.Components[0].Kind = kind
		l, err := lock.Resolve(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, words(l)); d != "" {
			t.Errorf("%s: %s", kind, d)
		}
	}
}

func TestLocalPackageFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		deb  aptrepo.Deb
		want string
	}{
		"architecture": {aptrepo.Deb{Name: "cri-o", Arch: "amd64"}, "reading package debs/cri-o.deb: it is for amd64 and the profile for arm64"},
		"dependency":   {aptrepo.Deb{Name: "cri-o", Depends: "libnowhere"}, "libnowhere"},
	} {
		if _, err := lock.Resolve(t.Context(), localInputs(t, tt.deb)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := localInputs(t, aptrepo.Deb{Name: "cri-o"})
	digest, err := in.Store.PutBytes([]byte("no package"))
	if err != nil {
		t.Fatal(err)
	}
	in.Components[0].Files[0].SHA256 = digest
	if _, err := lock.Resolve(t.Context(), in); err == nil || !strings.Contains(err.Error(), "reading package debs/cri-o.deb: opening package") {
		t.Errorf("what is no package: %v", err)
	}
}
