package cas

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGC(t *testing.T) {
	// Blob i has 100 bytes and was used i days ago.
	tests := []struct {
		name   string
		policy Policy
		roots  []int
		kept   []int
	}{
		{"zero policy keeps all", Policy{}, nil, []int{0, 1, 2, 3, 4}},
		{"age", Policy{MaxAge: 60 * time.Hour}, nil, []int{0, 1, 2}},
		{"size", Policy{MaxSize: 250}, nil, []int{0, 1}},
		{"size that fits", Policy{MaxSize: 500}, nil, []int{0, 1, 2, 3, 4}},
		{"age with root", Policy{MaxAge: 60 * time.Hour}, []int{4}, []int{0, 1, 2, 4}},
		{"size with root", Policy{MaxSize: 200}, []int{3}, []int{0, 3}},
		{"age and size", Policy{MaxAge: 60 * time.Hour, MaxSize: 100}, nil, []int{0}},
		{"dry run", Policy{MaxAge: time.Hour, DryRun: true}, nil, []int{0, 1, 2, 3, 4}},
		{"later", Policy{MaxAge: time.Hour, Now: time.Now().Add(2 * time.Hour)}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			var blobs []Digest
			for i := range 5 {
				d := put(t, s, strings.Repeat(fmt.Sprint(i), 100))
				blobs = append(blobs, d)
				age(t, s.Path(d), time.Duration(i)*24*time.Hour)
			}
			for _, i := range tt.roots {
				tt.policy.Roots = append(tt.policy.Roots, blobs[i])
			}
			report, err := s.GC(t.Context(), tt.policy)
			if err != nil {
				t.Fatal(err)
			}
			checkKept(t, s, blobs, tt.kept)
			if total := report.KeptBytes + report.RemovedBytes; total != 500 {
				t.Errorf("report counts %d bytes of 500: %+v", total, report)
			}
			if !tt.policy.DryRun && report.Kept != len(tt.kept) {
				t.Errorf("report says %d kept, want %d", report.Kept, len(tt.kept))
			}
		})
	}
}

func checkKept(t *testing.T, s *Store, blobs []Digest, want []int) {
	t.Helper()
	var kept []int
	for i, d := range blobs {
		if _, err := os.Stat(s.Path(d)); err == nil {
			kept = append(kept, i)
		}
	}
	if fmt.Sprint(kept) != fmt.Sprint(want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
}

func TestGCKeepsWhatIsOpen(t *testing.T) {
	s := newStore(t)
	d := put(t, s, "hello")
	b, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := s.GC(t.Context(), Policy{MaxAge: time.Hour, Now: time.Now().Add(48 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if s.Has(d) {
		t.Error("the old blob is still named")
	}
	p := make([]byte, 5)
	if _, err := b.ReadAt(p, 0); err != nil || string(p) != "hello" {
		t.Errorf("open blob reads %q, %v", p, err)
	}
}

func TestOpeningMarksAsUsed(t *testing.T) {
	s := newStore(t)
	d := put(t, s, "hello")
	age(t, s.Path(d), 48*time.Hour)
	b, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.GC(t.Context(), Policy{MaxAge: 24 * time.Hour}); err != nil || r.Removed != 0 {
		t.Errorf("gc removed a blob that was just read: %+v, %v", r, err)
	}
}

func TestGCRemovesOldPartials(t *testing.T) {
	s := newStore(t)
	if err := os.MkdirAll(s.PartialDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]time.Duration{"young": time.Hour, "old": 8 * 24 * time.Hour} {
		path := filepath.Join(s.PartialDir(), name)
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		age(t, path, by)
	}
	if _, err := s.GC(t.Context(), Policy{}); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(s.PartialDir())
	if len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("partials after gc: %v", entries)
	}
}

func TestGCOfNothing(t *testing.T) {
	s := newStore(t)
	if _, err := s.GC(t.Context(), Policy{MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Error("gc made the store")
	}
}
