package cas

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// damage changes one byte of a blob.
func damage(t *testing.T, s *Store, d Digest) {
	t.Helper()
	data, err := os.ReadFile(s.Path(d))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(s.Path(d), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(d), data, 0o444); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestIntact(t *testing.T) {
	s := newStore(t)
	good, bad := put(t, s, "good"), put(t, s, "bad")
	damage(t, s, bad)
	var told []*DamagedError
	s.OnDamage(func(e *DamagedError) { told = append(told, e) })
	if !s.Intact(good) || s.Intact(bad) || s.Intact(Of([]byte("absent"))) {
		t.Error("a good blob is damaged, or a damaged or absent one is good")
	}
	if len(told) != 1 || told[0].Want != bad || !strings.Contains(told[0].Error(), s.Path(bad)) {
		t.Errorf("told of %v", told)
	}
	if s.Has(bad) {
		t.Error("the damaged blob is still there")
	}
	put(t, s, "bad")
	if !s.Intact(bad) {
		t.Error("the blob that was stored again is damaged")
	}
	if err := os.Remove(s.Path(good)); err != nil {
		t.Fatal(err)
	}
	if s.Intact(good) {
		t.Error("a blob that gc took is intact")
	}
}

func TestGCVerify(t *testing.T) {
	s := newStore(t)
	put(t, s, "good")
	bad := put(t, s, "bad")
	damage(t, s, bad)
	report, err := s.GC(t.Context(), Policy{MaxAge: time.Hour})
	if err != nil || report.Kept != 2 || report.Damaged != nil {
		t.Errorf("without Verify: %+v, %v", report, err)
	}
	report, err = s.GC(t.Context(), Policy{MaxAge: time.Hour, Verify: true})
	if err != nil || report.Kept != 1 || len(report.Damaged) != 1 || report.Damaged[0] != s.Path(bad) {
		t.Errorf("with Verify: %+v, %v", report, err)
	}
	if _, err := os.Stat(s.Path(bad)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged blob is still there: %v", err)
	}
}

// TestOpenRefusesForeignDirectories: gc of a home directory would empty its tmp.
func TestOpenRefusesForeignDirectories(t *testing.T) {
	home := t.TempDir()
	for _, dir := range []string{"tmp", "blobs", "Documents"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var foreign *ForeignError
	if _, err := Open(home); !errors.As(err, &foreign) || foreign.Entry != "Documents" {
		t.Errorf("opening a home directory: %v", err)
	}
	s := newStore(t)
	put(t, s, "x")
	if err := os.WriteFile(filepath.Join(s.Dir(), "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	reopen(t, s) // its tag says that it is a store
	if err := os.Remove(filepath.Join(s.Dir(), tagName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Dir()); !errors.As(err, &foreign) {
		t.Errorf("opening a directory without a tag: %v", err)
	}
	if err := os.Remove(filepath.Join(s.Dir(), "notes.txt")); err != nil {
		t.Fatal(err)
	}
	reopen(t, s) // as stores of older versions are
}
