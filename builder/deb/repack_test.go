package deb

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// TestRepackIsTheSamePackage lets dpkg-deb read both.
func TestRepackIsTheSamePackage(t *testing.T) {
	oracle.Need(t, "dpkg-deb")
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	original := buildDeb(t, "xz")
	blob, err := store.PutBytes(original)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Extract(context.Background(), store, blob)
	if err != nil {
		t.Fatal(err)
	}
	content, err := Repack(store, x, 1700000000)
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(store)
	defer src.Close()
	r, err := src.Open(content)
	if err != nil {
		t.Fatal(err)
	}
	repacked, err := io.ReadAll(r)
	if err != nil || int64(len(repacked)) != content.Size {
		t.Fatalf("read %d bytes of %d: %v", len(repacked), content.Size, err)
	}
	for _, ask := range [][]string{{"--fsys-tarfile"}, {"--field"}, {"--contents"}} {
		want, got := dpkgDeb(t, original, ask...), dpkgDeb(t, repacked, ask...)
		if !bytes.Equal(want, got) {
			t.Errorf("dpkg-deb %v differs:\n%q\n%q", ask, want, got)
		}
	}
	for _, script := range []string{"conffiles", "postinst"} {
		want, got := dpkgDeb(t, original, "--info", script), dpkgDeb(t, repacked, "--info", script)
		if !bytes.Equal(want, got) {
			t.Errorf("%s differs:\n%q\n%q", script, want, got)
		}
	}
}

// dpkgDeb runs dpkg-deb on a package; what follows the command in ask comes after the file.
func dpkgDeb(t *testing.T, data []byte, ask ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("dpkg-deb", append([]string{ask[0], path}, ask[1:]...)...).Output()
	if err != nil {
		t.Fatalf("dpkg-deb %v: %v", ask, err)
	}
	return out
}
