package image_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// Usage agrees with dumpe2fs and fsck.fat on the same file systems.
func TestUsage(t *testing.T) {
	img := open(t, bake(t, "mbr", func(b *tree.Builder) {
		for i := range 5 {
			b.Add(tree.Entry{Path: fmt.Sprintf("boot/firmware/overlays/%d.dtbo", i), Type: tree.File, Mode: 0o644, Content: tree.InlineContent(make([]byte, 700*i))})
		}
	}))
	files := map[string]string{}
	for _, p := range img.Partitions() {
		name := filepath.Join(t.TempDir(), p.Label)
		out, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, img.Section(p)); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		files[p.Label] = name
	}
	usage, err := img.Usage(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	says := func(tool string, args []string, pattern string) []int64 {
		t.Helper()
		out, err := exec.Command(oracle.Need(t, tool), args...).CombinedOutput()
		m := regexp.MustCompile(pattern).FindStringSubmatch(string(out))
		if m == nil {
			t.Fatalf("%s does not say %s: %v: %s", tool, pattern, err, out)
		}
		var numbers []int64
		for _, text := range m[1:] {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, n)
		}
		return numbers
	}
	n := says("dumpe2fs", []string{"-h", files["writable"]}, `(?s)Inode count: +(\d+).*Block count: +(\d+).*Free blocks: +(\d+).*Free inodes: +(\d+).*Block size: +(\d+)`)
	want := image.Usage{Size: n[1] * n[4], Free: n[2] * n[4], Inodes: n[0], FreeInodes: n[3], State: "clean"}
	if usage != want {
		t.Errorf("ext4: got %+v, want %+v", usage, want)
	}
	if usage, err = img.Usage(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	n = says("fsck.fat", []string{"-n", files["system-boot"]}, `(\d+)/(\d+) clusters`)
	if used := (usage.Size - usage.Free) / 512; usage.Size/512 != n[1] || used < n[0]-2 || used > n[0]+2 { // the root directory
		t.Errorf("FAT: got %+v, %d clusters used; fsck.fat counts %d of %d", usage, used, n[0], n[1])
	}
	if _, err := img.Usage(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "none of that number") {
		t.Errorf("partition 3: %v", err)
	}
}

func TestDevice(t *testing.T) {
	img := open(t, bake(t, "mbr", nil))
	for spec, number := range map[string]int{
		"LABEL=writable": 2, "LABEL=Writable": 0, "PARTUUID=" + img.ID() + "-01": 1, "/dev/mmcblk0p2": 2, "tmpfs": 0,
		"UUID=" + strings.ToUpper(img.Partitions()[1].UUID): 2,
	} {
		if p, _ := img.Device(spec); p.Number != number {
			t.Errorf("%s is partition %d, want %d", spec, p.Number, number)
		}
	}
}
