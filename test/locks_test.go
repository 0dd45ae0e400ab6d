package test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/profiles"
)

// unlocked are the built-in profiles without a committed lock, each with its reason, as docs/profiles.md
// tells users.
func unlocked() map[string]string {
	const image = "a lock is made of the published image's own packages, which only upstream has"
	const release = "KubeEdge's release is on GitHub alone"
	return map[string]string{
		"edge-rpi-ubuntu-20.04": image, "edge-ubuntu-18.04": image, "master-ubuntu-18.04": image, "worker-ubuntu-18.04": image,
		"edge-rpi-debian-12-kubeedge": release, "edge-debian-12-amd64-kubeedge": release,
	}
}

// TestEveryImageIsLocked: who adds a built-in profile commits its lock, or says why not.
func TestEveryImageIsLocked(t *testing.T) {
	names, err := profiles.Names()
	must(t, err)
	guide := string(read(t, "../docs/profiles.md"))
	reasons := unlocked()
	for _, name := range names {
		loaded, err := profile.Load(t.Context(), profile.Options{Name: name})
		must(t, err)
		reason, excused := reasons[name]
		delete(reasons, name)
		_, err = fs.Stat(profiles.Builtin(), name+lock.Extension)
		switch has := err == nil; {
		case has && excused:
			t.Errorf("%s has a lock; take it out of the list (%s)", name, reason)
		case loaded.Profile.Abstract && (has || excused):
			t.Errorf("%s is no image by itself and needs no lock", name)
		case !loaded.Profile.Abstract && !has && !excused:
			t.Errorf("%s has no lock: edgebake lock %s -o profiles", name, name)
		}
		if excused && !strings.Contains(guide, "`"+name+"`") {
			t.Errorf("docs/profiles.md does not say that %s has no lock", name)
		}
	}
	for name := range reasons {
		t.Errorf("%s is no built-in profile", name)
	}
}

// TestCommittedLocksBelong: a change of a built-in profile or overlay needs "edgebake lock NAME
// --keep -o profiles" in the same commit.
func TestCommittedLocksBelong(t *testing.T) {
	found, err := fs.Glob(profiles.Builtin(), "*"+lock.Extension)
	if err != nil || len(found) == 0 {
		t.Fatalf("no committed locks: %v", err)
	}
	for _, file := range found {
		text, err := fs.ReadFile(profiles.Builtin(), file)
		if err != nil {
			t.Fatal(err)
		}
		pinned, err := lock.Parse(file, text)
		if err != nil {
			t.Error(err)
			continue
		}
		loaded, err := profile.Load(t.Context(), profile.Options{Name: strings.TrimSuffix(file, lock.Extension)})
		if err != nil {
			t.Error(err)
			continue
		}
		now, err := profile.Digest(loaded)
		if err != nil {
			t.Fatal(err)
		}
		if err := pinned.CheckProfile(now); err != nil {
			t.Error(err)
		}
	}
}
