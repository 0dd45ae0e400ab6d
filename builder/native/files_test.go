package native

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
)

// TestFilesAfterAFailure takes a file after the copy of another one had failed half-way.
func TestFilesAfterAFailure(t *testing.T) {
	j := Job{Reader: tree.NewReader(nil), Dir: t.TempDir()}
	b, err := NewBox(t.Context(), j, filepath.Join(j.Dir, "box"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	out, err := NewFiles(j.Dir, j.Reader, 9)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.blob.Write([]byte("half of")); err != nil { // as the copy left it
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "first", "b": "second"} {
		if err := b.root.WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := out.take(b, name, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(bytesOf(t, j, Module{Entry: e})); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := b.root.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	if _, err := out.take(b, "link", 0o644); err == nil {
		t.Error("a link was taken")
	}
	if _, err := out.take(b, "absent", 0o644); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
