package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestConsoleLogAppearsWhole: whoever finds console.log finds all of a boot, also when edgebake was killed in it.
func TestConsoleLogAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	final := filepath.Join(dir, consoleName)
	for _, text := range []string{"first boot", "second boot"} {
		log, err := openConsole(dir)
		if err != nil {
			t.Fatal(err)
		}
		before, beforeErr := os.ReadFile(final)
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if now, err := os.ReadFile(final); string(now) != string(before) || errors.Is(err, fs.ErrNotExist) != errors.Is(beforeErr, fs.ErrNotExist) {
			t.Errorf("while the machine runs: %q, %v; before: %q, %v", now, err, before, beforeErr)
		}
		if err := placeConsole(log); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(final); err != nil || string(got) != text {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
