package durable

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestWriteFileReplacesInOneStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	if err := WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := WriteFile(path, []byte("new and longer")); err != nil {
		t.Fatal(err)
	}
	info, err := old.Stat()
	if err != nil || info.Size() != 3 {
		t.Errorf("who has the old file open sees it change: %v, %v", info.Size(), err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "new and longer" {
		t.Errorf("got %q, %v", b, err)
	}
	if info, err = os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	onlyFile(t, path)
}

// TestFailedWriteLeavesTheOldFile lets a write fail in the middle, as on a full disk.
func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	if err := WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	limitFileSize(t, 1000)
	if err := WriteFile(path, make([]byte, 4000)); err == nil {
		t.Error("a write over the limit succeeds")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("got %q, %v", b, err)
	}
	onlyFile(t, path)
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("in the directory are %v, %v", left, err)
	}
}

// limitFileSize makes writes beyond n bytes fail with EFBIG: Go ignores the signal.
func limitFileSize(t *testing.T, n uint64) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPartialsOfTheDeadGo has what a killed process leaves, what a living one holds, and what is somebody else's.
func TestPartialsOfTheDeadGo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	for _, name := range []string{".report.json.1.partial", ".report.json.2.partial", ".report.json.swp", ".other.json.1.partial"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	living, err := os.Open(filepath.Join(dir, ".report.json.2.partial"))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if err := lock(living); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".other.json.1.partial", ".report.json.2.partial", ".report.json.swp", "report.json"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q; %v", left, want, err)
	}
}

// TestManyWritersAtOnce lets each sweep while others write: nobody takes a living one's partial away.
func TestManyWritersAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for range 20 {
				if err := WriteFile(path, []byte("whole")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, path)
}
