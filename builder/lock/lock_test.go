package lock

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/profile"
)

func sample() Lock {
	return Lock{Version: Version, Profile: "p", ProfileDigest: cas.Of([]byte("profile")), Arch: "arm64", Epoch: 1,
		Archives: []Archive{{Source: "debian", URL: "http://ftp.debian.org/debian", Suite: "bookworm",
			Date: "2026-07-11T10:16:37Z", Snapshot: "http://snapshot.debian.org/archive/debian"}},
		Packages: []Package{{Name: "a", Version: "1", Arch: "all", Path: "pool/a.deb", Size: 3, SHA256: cas.Of([]byte("a"))}},
		Guest:    []Package{{Name: "b", Version: "2", Arch: "arm64", Path: "pool/b.deb", Size: 4, SHA256: cas.Of([]byte("b"))}}}
}

func TestWriteAndParse(t *testing.T) {
	path, err := sample().Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(path, data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Lock)
		want   string
	}{
		"version": {func(l *Lock) { l.Version = 99 }, "version is 99"},
		"digest":  {func(l *Lock) { l.Packages[0].SHA256 = "xyz" }, "package a"},
		"archive": {func(l *Lock) { l.Guest[0].Archive = 1 }, "names archive 1 of 1"},
		"layer":   {func(l *Lock) { l.Packages[0].Layer = 2 }, "is in layer 2"},
		"twice":   {func(l *Lock) { l.again(0, "") }, "package a is in layer 0 twice"},
		"thrice":  {func(l *Lock) { l.again(1, "1"); l.again(1, "1") }, "package a is in layer 1 twice"},
		"both":    {func(l *Lock) { l.again(1, "") }, `package a replaces version "", and the layer below has "1"`},
		"other":   {func(l *Lock) { l.again(1, "0") }, `package a replaces version "0", and the layer below has "1"`},
		"nothing": {func(l *Lock) { l.Packages[0].Upgrades = "0" }, `package a replaces version "0"`},
		"alone":   {func(l *Lock) { l.Packages[0].Layer, l.Packages[0].Upgrades = 1, "0" }, `package a replaces version "0"`},
		"base":    {func(l *Lock) { l.again(1, "1"); l.Base = &Base{} }, "package a is in both layers over a base image"},
	} {
		l := sample()
		tt.change(&l)
		path, err := l.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(path, data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// again puts package a into the lock once more.
func (l *Lock) again(layer int, upgrades string) {
	p := l.Packages[0]
	p.Version, p.Layer, p.Upgrades = "2", layer, upgrades
	l.Packages = append(l.Packages, p)
}

// TestInstalled counts a package once that is in both layers.
func TestInstalled(t *testing.T) {
	l := sample()
	l.again(1, "1")
	l.Packages = append(l.Packages, Package{Name: "c", Layer: 1})
	was := slices.Clone(l.Packages)
	got := l.Installed()
	if len(got) != 2 || got[0].Name != "a" || got[0].Version != "2" || got[0].Layer != 0 || got[0].Upgrades != "" || got[1].Name != "c" || got[1].Layer != 1 {
		t.Errorf("got %+v", got)
	}
	if d := cmp.Diff(was, l.Packages); d != "" {
		t.Errorf("the lock was changed: %s", d)
	}
}

// TestHugeFileIsRefused reads a file that has a lock's name and 1 TiB.
func TestHugeFileIsRefused(t *testing.T) {
	path := t.TempDir() + "/p" + Extension
	if err := errors.Join(os.WriteFile(path, []byte("{"), 0o600), os.Truncate(path, 1<<40)); err != nil {
		t.Fatal(err)
	}
	data, err := ReadFile(path)
	if err != nil || len(data) > maxFile+1 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if _, err := Parse(path, data); err == nil || !strings.Contains(err.Error(), "more than 33554432 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestRequestsFallBackToTheSnapshot(t *testing.T) {
	got := sample().Requests()
	want := []string{"http://ftp.debian.org/debian/pool/a.deb", "http://snapshot.debian.org/archive/debian/20260711T101637Z/pool/a.deb"}
	if len(got) != 2 || cmp.Diff(want, got[0].URLs) != "" {
		t.Errorf("requests: %+v", got)
	}
}

func TestKeep(t *testing.T) {
	p := profile.Profile{Arch: "arm64", Packages: []string{"a"}}
	l := sample()
	var err error
	if l.RequestDigest, err = requestDigest(p); err != nil {
		t.Fatal(err)
	}
	p.Sysctls = map[string]string{"kernel.panic": "10"}
	kept, ok, err := l.Keep(p, "new")
	if err != nil || !ok || kept.ProfileDigest != "new" || kept.Packages[0] != l.Packages[0] {
		t.Errorf("a setting needs new inputs: %v %v %v", ok, err, kept.ProfileDigest)
	}
	p.Packages = append(p.Packages, "c")
	if _, ok, err := l.Keep(p, "new"); ok || err != nil {
		t.Errorf("a new package needs no new inputs: %v %v", ok, err)
	}
	var stale *StaleError
	if err := l.CheckProfile("other"); !errors.As(err, &stale) {
		t.Errorf("stale lock: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"archives":[],"packages":[]}`))
	f.Add([]byte(`{"version":1,"packages":[{"archive":-1}]}`))
	f.Add([]byte(`{"version":1,"packages":[{"name":"a","layer":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse("fuzz", data)
		if err == nil {
			l.Requests() // indexes were checked: this must not panic
			l.Installed()
		}
	})
}
