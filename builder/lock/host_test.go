package lock_test

import (
	"maps"
	"path/filepath"
	"slices"
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

// hosted are packages of Python and kmod, with what they need, for both architectures.
func hosted(arch string) []aptrepo.Deb {
	return []aptrepo.Deb{
		{Name: "libc6", Version: "2", Arch: arch},
		{Name: "libc6", Version: "1", Arch: arch},
		{Name: "python3.11-minimal", Version: "3", Arch: arch, Depends: "libc6"},
		{Name: "kmod", Version: "30", Arch: arch, Depends: "libc6"},
	}
}

// lockFor locks a profile of these packages, for arm64.
func lockFor(t *testing.T, r *aptrepo.Repo, packages string, change func(*lock.Inputs)) lock.Lock {
	t.Helper()
	store, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	p := profile.Profile{Name: "hosted", Arch: "arm64", Packages: strings.Fields(packages), Boot: profile.Boot{Kernel: "linux-image-arm64"}}
	p.Apt.Sources = []profile.Source{{Name: "test", URL: "file://" + r.Write(t.TempDir()), Suites: []string{"stable"}, Components: []string{"main"},
		Fingerprints: []string{r.Fingerprint()}, Priority: 500}}
	in := lock.Inputs{Profile: p, Keyrings: map[string][]byte{"test": r.Keyring()}, Client: fetch.New(fetch.Config{Store: store, Retries: -1}),
		Store: store, Now: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
	change(&in)
	l, err := lock.Resolve(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func hostWords(l lock.Lock) string {
	var out []string
	for _, arch := range slices.Sorted(maps.Keys(l.Host)) {
		out = append(out, arch+":")
		byName := func(p, q lock.Package) int { return strings.Compare(p.Name, q.Name) }
		for _, p := range slices.SortedFunc(slices.Values(l.Host[arch]), byName) {
			out = append(out, p.Name+"="+p.Version)
			if p.Arch != arch {
				out = append(out, "of "+p.Arch)
			}
		}
	}
	return strings.Join(out, " ")
}

// TestHost pins programs for machines that bake: of the image's versions, for each architecture that has them.
func TestHost(t *testing.T) {
	both := "amd64: kmod=30 libc6=2 python3.11-minimal=3 arm64: kmod=30 libc6=2 python3.11-minimal=3"
	other := hosted("amd64")
	other[2].Version = "3.0.1" // of Python
	none := func(*lock.Inputs) {}
	for name, tt := range map[string]struct {
		packages, other string
		debs            []aptrepo.Deb
		change          func(*lock.Inputs)
		want            string
	}{
		"both":                      {"python3.11-minimal kmod", "amd64", hosted("amd64"), none, both},
		"the image has one of them": {"kmod", "amd64", hosted("amd64"), none, "amd64: kmod=30 libc6=2 arm64: kmod=30 libc6=2"},
		"the image has none":        {"libc6", "amd64", hosted("amd64"), none, ""},
		"only the profile's own":    {"libc6 kmod", "amd64", hosted("amd64"), func(in *lock.Inputs) { in.Own = []string{"kmod"} }, ""},
		"no other architecture":     {"kmod", "", nil, none, "arm64: kmod=30 libc6=2"},
		"another version elsewhere": {"python3.11-minimal kmod", "amd64", other, none,
			"amd64: kmod=30 libc6=2 arm64: kmod=30 libc6=2 python3.11-minimal=3"},
		"what it needs is missing": {"kmod", "amd64", hosted("amd64")[3:], none, "arm64: kmod=30 libc6=2"},
		"an older lock's": {"python3.11-minimal kmod", "amd64", hosted("amd64"), func(in *lock.Inputs) {
			in.KeepHost = map[string][]lock.Package{"amd64": {{Name: "libc6", Version: "1"}, {Name: "kmod", Version: "29"}}}
		}, strings.Replace(both, "libc6=2", "libc6=1", 1)},
		"an older lock's, updated": {"python3.11-minimal kmod", "amd64", hosted("amd64"), func(in *lock.Inputs) {
			in.KeepHost, in.Update = map[string][]lock.Package{"amd64": {{Name: "libc6", Version: "1"}}}, []string{"libc6"}
		}, both},
	} {
		t.Run(name, func(t *testing.T) {
			r := aptrepo.New(t).Add(aptrepo.Deb{Name: "busybox-static"}, aptrepo.Deb{Name: "linux-image-arm64"}).Add(hosted("arm64")...).Add(tt.debs...)
			r.Other = tt.other
			l := lockFor(t, r, tt.packages, tt.change)
			if d := cmp.Diff(tt.want, hostWords(l)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestHostIsNotTheImage: a lock with other programs for machines that bake is of the same image, and all are fetched.
func TestHostIsNotTheImage(t *testing.T) {
	r := aptrepo.New(t).Add(aptrepo.Deb{Name: "busybox-static"}, aptrepo.Deb{Name: "linux-image-arm64"}).Add(hosted("arm64")...).Add(hosted("amd64")...)
	r.Other = "amd64"
	l := lockFor(t, r, "kmod", func(*lock.Inputs) {})
	with, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	requests := len(l.Requests())
	l.Host = nil
	if without, err := l.Digest(); err != nil || with != without {
		t.Errorf("the digest is %s with and %s without (%v)", with, without, err)
	}
	if len(l.Requests()) != requests-2 { // those of arm64 are the image's, too
		t.Errorf("%d files are fetched with, %d without", requests, len(l.Requests()))
	}
}
