package cas

import (
	"bytes"
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

// TestIntactOfLargeBlob damages blobs that are hashed in pieces: before they were ever checked, after, and
// where a record of pieces is not theirs.
func TestIntactOfLargeBlob(t *testing.T) {
	const size = largeBlob + 5*pieceSize/2 // the last piece is half of one
	tests := []struct {
		name   string
		checks int // before the damage
		harm   func(t *testing.T, s *Store, d Digest)
		want   bool
	}{
		{"good at first", 0, func(*testing.T, *Store, Digest) {}, true},
		{"good again", 1, func(*testing.T, *Store, Digest) {}, true},
		{"good on another disk without holes", 1, fillHoles, true},
		{"byte before any check", 0, writeAt(9 * pieceSize), false},
		{"byte of data", 1, writeAt(0), false},
		{"byte of a hole", 1, writeAt(3*pieceSize + 17), false},
		{"last byte", 1, writeAt(size - 1), false},
		{"byte more", 1, writeAt(size), false},
		{"byte less", 1, func(t *testing.T, s *Store, d Digest) { must(t, os.Truncate(s.Path(d), size-1)) }, false},
		{"hole for data", 1, func(t *testing.T, s *Store, d Digest) {
			must(t, errors.Join(os.Truncate(s.Path(d), 5*pieceSize), os.Truncate(s.Path(d), size)))
		}, false},
		{"record of another blob", 1, func(t *testing.T, s *Store, d Digest) {
			must(t, s.SaveResult(piecesKey(d), make([]byte, size/pieceSize*32+32)))
		}, true},
		{"record cut short", 1, func(t *testing.T, s *Store, d Digest) { must(t, s.SaveResult(piecesKey(d), []byte("x"))) }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			d := putLarge(t, s, size)
			for range test.checks {
				if s = reopen(t, s); !s.Intact(d) {
					t.Fatal("the blob is damaged before anybody harmed it")
				}
			}
			must(t, os.Chmod(s.Path(d), 0o644))
			test.harm(t, s, d)
			if got := reopen(t, s).Intact(d); got != test.want || s.Has(d) != test.want {
				t.Errorf("intact: %t, kept: %t, want %t", got, s.Has(d), test.want)
			}
		})
	}
}

// putLarge stores data, a hole of several pieces, and data up to the end.
func putLarge(t *testing.T, s *Store, size int64) Digest {
	t.Helper()
	w, err := s.CreateSparse()
	must(t, err)
	defer w.Abort()
	block := bytes.Repeat([]byte("0123456789abcdef"), pieceSize/16)
	for w.Size() < size {
		part := block[:min(pieceSize, size-w.Size())]
		if i := w.Size() / pieceSize; i >= 2 && i < 6 {
			must(t, w.Skip(pieceSize))
		} else if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	d, err := w.Commit()
	must(t, err)
	return d
}

func fillHoles(t *testing.T, s *Store, d Digest) {
	t.Helper()
	data, err := os.ReadFile(s.Path(d))
	must(t, err)
	must(t, os.WriteFile(s.Path(d), data, 0o644))
}

func writeAt(at int64) func(*testing.T, *Store, Digest) {
	return func(t *testing.T, s *Store, d Digest) {
		t.Helper()
		f, err := os.OpenFile(s.Path(d), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		if _, err := f.WriteAt([]byte{'~'}, at); err != nil {
			t.Fatal(err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
