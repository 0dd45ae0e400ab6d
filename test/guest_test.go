package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

// TestBakeStopsAtFailingScript bakes a real system with one more package, whose preinst fails in a
// real guest: the error has the package, the script, its exit code and what it printed.
func TestBakeStopsAtFailingScript(t *testing.T) {
	t.Parallel()
	oracle.Need(t, "qemu-system-x86_64")
	dir := t.TempDir()
	repo := aptrepo.New(t)
	repo.Arch, repo.Suite = "amd64", "stable"
	repo.Add(aptrepo.Deb{Name: "acme-agent", Files: map[string]string{"usr/share/acme/x": "x"},
		Scripts: map[string]string{"preinst": "#!/bin/sh\necho the licence of acme is missing\nexit 42\n"}})
	repo.Write(filepath.Join(dir, "acme"))
	keyring := filepath.Join(dir, "acme.gpg")
	if err := os.WriteFile(keyring, repo.Keyring(), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := "apiVersion: edgebake/v1\nname: acme\nextends: [minimal-debian-12-amd64]\npackages: [acme-agent]\napt:\n  sources:\n" +
		"    - name: acme\n      url: file://" + filepath.Join(dir, "acme") + "\n      suites: [" + repo.Suite + "]\n      components: [main]\n" +
		"      keyring: acme.gpg\n      fingerprints: [" + repo.Fingerprint() + "]\n"
	path := filepath.Join(dir, "acme.yaml")
	if err := os.WriteFile(path, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "edgebake")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/edgebake").CombinedOutput(); err != nil {
		t.Fatalf("building edgebake: %v\n%s", err, out)
	}
	store := filepath.Join(dir, "store")
	if out, err := exec.CommandContext(t.Context(), bin, "lock", path, "--store", store).CombinedOutput(); err != nil {
		t.Fatalf("locking: %v\n%s", err, out)
	}
	var stderr bytes.Buffer
	bake := exec.CommandContext(t.Context(), bin, "bake", path, "--store", store, "-o", filepath.Join(dir, "out"))
	bake.Stderr = &stderr
	if err := bake.Run(); err == nil {
		t.Fatalf("the bake went on after a failing script:\n%s", stderr.String())
	}
	for _, want := range []string{"acme-agent", "preinst", "exit code 42", "the licence of acme is missing", "acme.img.configure.log"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the message lacks %q:\n%s", want, lastPart(stderr.String()))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "acme.img")); err == nil {
		t.Error("an image appeared although its packages are not configured")
	}
}
