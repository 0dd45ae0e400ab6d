package test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/profiles"
)

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
