package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const module = `package x

import (
	"bytes"
	"testing"
)

func FuzzGood(f *testing.F) { f.Fuzz(func(*testing.T, []byte) {}) }

func FuzzBad(f *testing.F) {
	f.Add([]byte("0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !bytes.Equal(b, []byte("0")) {
			t.Error("found")
		}
	})
}

var kept []byte

func FuzzGreedy(f *testing.F) {
	f.Add([]byte("0"))
	f.Fuzz(func(t *testing.T, b []byte) { kept = make([]byte, 5<<30*len(b)) })
}
`

// TestRun has one fuzz test that holds and two that do not; FuzzGreedy asks for 5 GiB, and gets none of them.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.org/x\n\ngo 1.24\n", "x.go": "package x\n", "x_test.go": module} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out bytes.Buffer
	failed, err := run(t.Context(), options{time: 500 * time.Millisecond, json: true, packages: []string{"./..."}}, &out)
	if err != nil || failed != 2 {
		t.Errorf("%d failed, %v; want 2\n%s", failed, err, out.String())
	}
	for _, word := range []string{`"Action":"pass","Elapsed"`, "Failing input written to", "terminated unexpectedly", `"Package":"example.org/x (fuzzing)"`} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("nothing of %s in\n%s", word, out.String())
		}
	}
	if found, _ := filepath.Glob("testdata/fuzz/FuzzBad/*"); len(found) != 1 {
		t.Errorf("kept inputs: %q", found)
	}
}

func TestSpurious(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"deadline": {"fuzz: elapsed: 2s, execs: 9 (4/sec)\n--- FAIL: FuzzX (2.01s)\n    context deadline exceeded\nFAIL\n", true},
		"found":    {"--- FAIL: FuzzX (0.1s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:1: context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n", false},
		"panic":    {"panic: context deadline exceeded\n", false},
		"bare":     {"--- FAIL: FuzzX (0.1s)\nFAIL\n", false},
	} {
		if got := spurious(tt.text); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestStuck(t *testing.T) {
	p := progress{}
	said := 0
	for i := range 40 {
		line := "fuzz: elapsed: 3s, execs: 12 (0/sec), new interesting: 0 (total: 2)"
		if i == 10 {
			line = strings.Replace(line, "(0/", "(7/", 1)
		}
		if p.stands(line) {
			said = i
			break
		}
	}
	if want := 10 + int(maxStuck/reportEvery) + 1; said != want {
		t.Errorf("said after %d lines, want %d", said, want)
	}
}
