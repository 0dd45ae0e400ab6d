package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
)

// TestKernel lets the running kernel change a file system of ours and reads the result. It needs
// root and loop devices, which a person's machine may not grant.
func TestKernel(t *testing.T) {
	image := writeImage(t, mustTree(t, slices.Concat(everything(), names(5000, 40)[1:])), tree.NewReader(nil), testOptions(200*mib))
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		t.Skipf("the kernel mounts nothing here: %s", out)
	}
	script := `set -e; cd "$1"; test -f big/0000000000000000000000000000000000004999
		for i in $(seq 3000); do echo $i >big/new-$i; done; rm -r deep; mkdir -p made/by; ln hard made/by/kernel
		fallocate -l 3M unwritten; printf hello | dd of=unwritten bs=1 seek=1000000 conv=notrunc status=none`
	out, err := exec.Command("sh", "-c", script, "sh", mnt).CombinedOutput()
	if umount, uerr := exec.Command("umount", mnt).CombinedOutput(); uerr != nil {
		t.Fatalf("umount: %s", umount)
	}
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	fsck(t, image)
	_, got, src := readImage(t, image)
	checkKernelChanges(t, got, src)
}

// TestKernelGrows enlarges a mounted file system of ours, as the first boot does.
func TestKernelGrows(t *testing.T) {
	image := writeImage(t, mustTree(t, everything()), tree.NewReader(nil), testOptions(200*mib))
	if err := os.Truncate(image, 9000*mib); err != nil {
		t.Fatal(err)
	}
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		t.Skipf("the kernel mounts nothing here: %s", out)
	}
	out, err := exec.Command("sh", "-c", `resize2fs "$(findmnt -n -o SOURCE "$1")"`, "sh", mnt).CombinedOutput()
	if umount, uerr := exec.Command("umount", mnt).CombinedOutput(); uerr != nil {
		t.Fatalf("umount: %s", umount)
	}
	if strings.Contains(string(out), "Permission denied") {
		t.Skipf("the kernel lets nobody resize here: %s", out)
	}
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	fsck(t, image)
	fs, got, _ := readImage(t, image)
	if got.Len() != len(everything())+1 || fs.Info().Blocks != 9000*mib/blockSize {
		t.Errorf("after growing: %d entries, %d blocks", got.Len(), fs.Info().Blocks)
	}
}

func checkKernelChanges(t *testing.T, got tree.Tree, src *tree.Reader) {
	t.Helper()
	for i := 1; i <= 3000; i++ {
		e, _ := got.Lookup(fmt.Sprintf("big/new-%d", i))
		if b := contentOf(t, src, e); string(b) != fmt.Sprintf("%d\n", i) {
			t.Fatalf("big/new-%d holds %q", i, b)
		}
	}
	e, _ := got.Lookup("unwritten")
	want := make([]byte, 3*mib)
	copy(want[1000000:], "hello")
	if !bytes.Equal(contentOf(t, src, e), want) {
		t.Error("unwritten extents do not read as zeros")
	}
	if _, ok := got.Lookup("deep"); ok {
		t.Error("a removed directory is still there")
	}
}
