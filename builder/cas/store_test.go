package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, text string) Digest {
	t.Helper()
	d, err := s.PutBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func tempEntries(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.tmp())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestBlobRoundTrip(t *testing.T) {
	s := newStore(t)
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Fatalf("opening made the directory (%v)", err)
	}
	d := put(t, s, "hello")
	if d != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Errorf("digest of hello is %s", d)
	}
	info, err := os.Stat(filepath.Join(s.Dir(), "blobs", string(d[:2]), string(d[2:])))
	if err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("blob file: %v, %v; want mode 0444", info, err)
	}
	b, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p := make([]byte, 3)
	if _, err := b.ReadAt(p, 2); err != nil || string(p) != "llo" || b.Size() != 5 {
		t.Errorf("ReadAt gives %q, size %d, %v", p, b.Size(), err)
	}
	if got := tempEntries(t, s); len(got) != 0 {
		t.Errorf("tmp holds %v after Put", got)
	}
}

func TestMissingBlob(t *testing.T) {
	s := newStore(t)
	for _, d := range []Digest{Of([]byte("nothing")), "", "../../etc/passwd"} {
		var missing *NotFoundError
		if _, err := s.Open(d); !errors.As(err, &missing) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q) = %v; want *NotFoundError", d, err)
		}
		if s.Has(d) {
			t.Errorf("Has(%q)", d)
		}
	}
}

func TestPutVerified(t *testing.T) {
	hello := Of([]byte("hello"))
	tests := []struct {
		name, text string
		size       int64
		gotSize    int64
		ok         bool
	}{
		{"right", "hello", 5, 0, true},
		{"size unknown", "hello", -1, 0, true},
		{"other bytes", "hullo", 5, 5, false},
		{"short", "hell", 5, 4, false},
		{"endless", strings.Repeat("hello", 1000), 5, 6, false},
		{"right bytes, wrong size", "hello", 4, 5, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			err := s.PutVerified(strings.NewReader(tt.text), hello, tt.size)
			var mismatch *MismatchError
			if tt.ok != (err == nil) || (!tt.ok && !errors.As(err, &mismatch)) {
				t.Fatalf("got %v", err)
			}
			if s.Has(hello) != tt.ok {
				t.Errorf("blob kept: %v", !tt.ok)
			}
			if !tt.ok && (mismatch.Want != hello || mismatch.GotSize != tt.gotSize) {
				t.Errorf("got %+v", mismatch)
			}
			if got := tempEntries(t, s); len(got) != 0 {
				t.Errorf("tmp holds %v", got)
			}
		})
	}
}

func TestReadAllChecksAgain(t *testing.T) {
	s := newStore(t)
	d := put(t, s, "hello")
	var large *LimitError
	if _, err := s.ReadAll(d, 4); !errors.As(err, &large) {
		t.Errorf("limit 4: %v", err)
	}
	if err := os.Chmod(s.Path(d), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(d), []byte("hexxo"), 0o644); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := s.ReadAll(d, 5); !errors.As(err, &damaged) {
		t.Errorf("a rotten blob: %v", err)
	}
}

func TestAbortAndUseAfterCommit(t *testing.T) {
	s := newStore(t)
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "dropped")
	w.Abort()
	if s.Has(Of([]byte("dropped"))) || len(tempEntries(t, s)) != 0 {
		t.Error("an aborted blob is there")
	}
	if _, err := w.Commit(); err == nil {
		t.Error("Commit after Abort succeeds")
	}
}

func TestResults(t *testing.T) {
	s := newStore(t)
	key := Of([]byte("key"))
	if _, ok, err := s.Result(key); ok || err != nil {
		t.Fatalf("empty store: %v, %v", ok, err)
	}
	for _, value := range []string{"one", "two"} {
		if err := s.SaveResult(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := s.Result(key); !ok || err != nil || string(got) != value {
			t.Errorf("Result = %q, %v, %v; want %q", got, ok, err, value)
		}
	}
	if err := s.SaveResult("../x", nil); err == nil {
		t.Error("a key that is no digest is saved")
	}
}

func TestAdopt(t *testing.T) {
	s := newStore(t)
	if err := os.MkdirAll(s.PartialDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.PartialDir(), "x")
	for _, text := range []string{"hullo", "hello", "hello"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := s.Adopt(path, Of([]byte("hello")), 5)
		if (err == nil) != (text == "hello") {
			t.Errorf("adopting %q: %v", text, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%q stays in partial", text)
		}
	}
	if s.Has(Of([]byte("hullo"))) || !s.Has(Of([]byte("hello"))) {
		t.Error("wrong blobs in the store")
	}
}

func TestDefaultDir(t *testing.T) {
	tests := []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"EDGEBAKE_STORE": "/s", "XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/s"},
		{map[string]string{"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/edgebake"},
		{map[string]string{"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/edgebake"},
	}
	for _, tt := range tests {
		if got := DefaultDir(func(k string) string { return tt.env[k] }); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.env, got, tt.want)
		}
	}
}

func TestLockWaitsAndHonoursContext(t *testing.T) {
	s := newStore(t)
	unlock, err := s.Lock(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "a/b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second lock: %v", err)
	}
	if other, err := s.Lock(t.Context(), "other"); err != nil {
		t.Fatal(err)
	} else {
		other()
	}
	got := make(chan error)
	go func() {
		again, err := s.Lock(context.Background(), "a/b")
		if err == nil {
			again()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

// TestMain lets the test binary be a second process: it puts a blob and then, when told to,
// kills itself in the middle of further work.
func TestMain(m *testing.M) {
	dir := os.Getenv("CAS_TEST_STORE")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Open(dir)
	if err != nil {
		os.Exit(1)
	}
	for i := range 50 {
		if _, err := s.PutBytes(bytes.Repeat([]byte{byte(i)}, 100_000)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if os.Getenv("CAS_TEST_DIE") != "" {
		_, _, _ = s.TempDir("guest")
		w, _ := s.Create()
		fmt.Fprint(w, "half a blob")
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	os.Exit(0)
}

func child(s *Store, extra ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "CAS_TEST_STORE="+s.Dir()), extra...)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestConcurrentProcessesPutTheSameBlobs(t *testing.T) {
	s := newStore(t)
	var running []*exec.Cmd
	for range 4 {
		cmd := child(s)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		want := bytes.Repeat([]byte{byte(i)}, 100_000)
		if got, err := s.ReadAll(Of(want), 1<<20); err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob %d: %v", i, err)
		}
	}
	if got := tempEntries(t, s); len(got) != 0 {
		t.Errorf("tmp holds %v", got)
	}
}

func TestKilledProcessLeavesNothingPartial(t *testing.T) {
	s := newStore(t)
	if err := child(s, "CAS_TEST_DIE=1").Run(); err == nil {
		t.Fatal("the child was not killed")
	}
	if s.Has(Of([]byte("half a blob"))) {
		t.Error("half a blob has a name")
	}
	if got := tempEntries(t, s); len(got) != 2 {
		t.Fatalf("tmp holds %v; want the directory and the blob of the dead process", got)
	}
	dir, release, err := s.TempDir("mine")
	if err != nil {
		t.Fatal(err)
	}
	var busy *InUseError
	if _, err := s.GC(t.Context(), Policy{}); !errors.As(err, &busy) {
		t.Errorf("gc of a store in use: %v", err)
	}
	release()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is there after release", dir)
	}
	report, err := s.GC(t.Context(), Policy{})
	if err != nil || report.Leftovers != 2 || report.Kept != 50 || report.Removed != 0 {
		t.Errorf("gc: %+v, %v", report, err)
	}
	if got := tempEntries(t, s); len(got) != 0 {
		t.Errorf("tmp holds %v after gc", got)
	}
}
