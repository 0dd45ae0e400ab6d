package artifact

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

func set(t *testing.T, dir string) Set {
	t.Helper()
	b := tree.NewBuilder(tree.Time{})
	b.Add(tree.Entry{Path: "etc/a", Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte("a"))})
	b.Add(tree.Entry{Path: "etc/b", Type: tree.Hardlink, Link: "etc/a"})
	b.Add(tree.Entry{Path: "etc/\xff", Type: tree.File})
	root, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	boot := tree.NewBuilder(tree.Time{})
	boot.Add(tree.Entry{Path: "cmdline.txt", Type: tree.File, Content: tree.InlineContent([]byte("c"))})
	fw, err := boot.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return Set{
		Dir: dir, Artifacts: []string{"x.img"}, LockDigest: cas.Of(nil), Reader: tree.NewReader(nil),
		Lock: lock.Lock{Profile: "p", Arch: "arm64", Packages: []lock.Package{{Name: "zlib1g", Version: "1"}, {Name: "adduser", Version: "3.134"},
			{Name: "zlib1g", Version: "2", Layer: 1, Upgrades: "1"}}},
		Plan: disk.Plan{Table: disk.MBR, DiskID: 0xabc, Partitions: []disk.Partition{
			{Number: 1, FS: disk.VFAT, Mount: "/boot/firmware", Tree: fw},
			{Number: 2, FS: disk.Ext4, Mount: "/", Tree: root},
		}},
	}
}

func sparseImage(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "x.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(80<<20 + 17); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 9 << 20, 80<<20 + 16} {
		if _, err := f.WriteAt([]byte("x"), at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadManifestIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ManifestName)
	if err := errors.Join(os.WriteFile(path, []byte("{"), 0o600), os.Truncate(path, 1<<40)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadManifest(dir); err == nil || !strings.Contains(err.Error(), "more than 134217728 bytes") {
		t.Errorf("a manifest of 1 TiB: %v", err)
	}
}

// TestArtifactsAreOnTheDisk: on ext4, filefrag tells bytes that have no place on the disk yet (delayed allocation).
func TestArtifactsAreOnTheDisk(t *testing.T) {
	tool := oracle.Need(t, "filefrag")
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	if err := os.WriteFile(image, bytes.Repeat([]byte("x"), 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := exec.Command(tool, "-v", image).CombinedOutput() // fails where there is nothing to tell
	t.Logf("before: %s", before)
	if _, err := Write(context.Background(), set(t, dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x.img", ManifestName, SumsName} {
		out, err := exec.Command(tool, "-v", filepath.Join(dir, name)).CombinedOutput()
		if strings.Contains(string(out), "delalloc") {
			t.Errorf("%s is not on the disk (%v): %s", name, err, out)
		}
	}
}

func TestWriteIsWhatSha256sumChecks(t *testing.T) {
	tool := oracle.Need(t, "sha256sum")
	dir := t.TempDir()
	sparseImage(t, dir)
	m, err := Write(context.Background(), set(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "--strict", "-c", SumsName)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	again, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Files) != 4 || again.Artifacts[0] != m.Artifacts[0] || len(again.Packages) != 2 || again.Packages[0].Name != "adduser" || again.Packages[1].Version != "2" {
		t.Errorf("read %+v", again)
	}
	paths := []string{"/boot/firmware/cmdline.txt", `/etc/\xff`, "/etc/a", "/etc/b"}
	for i, f := range again.Files {
		if f.Path != paths[i] {
			t.Errorf("file %d is %q", i, f.Path)
		}
	}
	if again.Files[3].SHA256 != cas.Of([]byte("a")) || again.Disk.Partitions[1].PartUUID != "00000abc-02" {
		t.Errorf("read %+v", again)
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	var manifests [2][]byte
	for i := range manifests {
		dir := t.TempDir()
		sparseImage(t, dir)
		if _, err := Write(context.Background(), set(t, dir)); err != nil {
			t.Fatal(err)
		}
		manifests[i], _ = os.ReadFile(filepath.Join(dir, ManifestName))
	}
	if len(manifests[0]) == 0 || !bytes.Equal(manifests[0], manifests[1]) {
		t.Error("two manifests differ")
	}
}

func TestWriteEndsWhenCancelled(t *testing.T) {
	dir := t.TempDir()
	sparseImage(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Write(ctx, set(t, dir)); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(dir, SumsName)); err == nil {
		t.Error("SHA256SUMS was written")
	}
}

func TestUpdateSums(t *testing.T) {
	tool := oracle.Need(t, "sha256sum")
	dir := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("x.img", "image")
	put("manifest.json", "manifest")
	wrong := cas.Of([]byte("another image")) // stays: the image is not read again
	if err := WriteSums(dir, []Artifact{{Name: "x.img", SHA256: wrong}, {Name: "manifest.json", SHA256: cas.Of([]byte("manifest"))}}); err != nil {
		t.Fatal(err)
	}
	put("verdict.json", "good")
	put("console.log", "login:")
	for _, verdict := range []string{"good", "bad"} {
		put("verdict.json", verdict)
		if err := UpdateSums(t.Context(), dir, "verdict.json", "console.log"); err != nil {
			t.Fatal(err)
		}
	}
	sums, err := ReadSums(dir)
	if err != nil || len(sums) != 4 || sums[3].SHA256 != wrong {
		t.Fatalf("sums are %+v, %v", sums, err)
	}
	put("x.img", "another image")
	cmd := exec.Command(tool, "--strict", "-c", SumsName)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "console.log")); err != nil {
		t.Fatal(err)
	}
	if err := UpdateSums(t.Context(), dir, "console.log"); err != nil {
		t.Fatal(err)
	}
	if sums, err := ReadSums(dir); err != nil || len(sums) != 3 {
		t.Errorf("a file that is gone keeps its line: %+v, %v", sums, err)
	}
	put(SumsName, "nonsense\n")
	if err := UpdateSums(t.Context(), dir, "verdict.json"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
}
