package artifact

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
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
		Lock: lock.Lock{Profile: "p", Arch: "arm64", Packages: []lock.Package{{Name: "zlib1g", Version: "1"}, {Name: "adduser", Version: "3.134"}}},
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
	if len(again.Files) != 4 || again.Artifacts[0] != m.Artifacts[0] || again.Packages[0].Name != "adduser" {
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
