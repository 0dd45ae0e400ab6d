package fat

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// TestAgainKeepsWhatMkfsDecided writes volumes of all kinds anew, in their size and larger.
func TestAgainKeepsWhatMkfsDecided(t *testing.T) {
	const mib = 1 << 20
	oracle.Need(t, "mkfs.vfat")
	oracle.Need(t, "fsck.vfat")
	for name, tt := range map[string]struct {
		size, larger int64
		args         []string
	}{
		"raspberry pi":  {40 * mib, 100 * mib, []string{"-s", "1", "-F", "32", "-n", "system-boot"}},
		"one FAT":       {40 * mib, 70 * mib, []string{"-s", "1", "-F", "32", "-f", "1", "-R", "64", "-h", "2048", "-i", "cafe0001"}},
		"FAT16":         {20 * mib, 30 * mib, []string{"-s", "2", "-F", "16", "-R", "8", "-r", "1024", "-n", "boot"}},
		"odd size":      {40*mib + 512*7, 41*mib + 512, []string{"-s", "1", "-F", "32"}},
		"with clusters": {280 * mib, 0, []string{"-s", "8", "-F", "32", "-n", "UEFI"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "base")
			run(t, "mkfs.vfat", append(append([]string{"-C"}, tt.args...), base, strconv.FormatInt(tt.size/1024+1, 10))...)
			if err := os.Truncate(base, tt.size); err != nil {
				t.Fatal(err)
			}
			run(t, "mkfs.vfat", append(tt.args, base)...)
			again(t, base, 0)
			if tt.larger > 0 {
				again(t, base, tt.larger)
			}
		})
	}
}

func again(t *testing.T, base string, size int64) {
	t.Helper()
	raw, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	o, err := fs.Again(size, tree.Time{Sec: 1700000000})
	if err != nil {
		t.Fatal(err)
	}
	want := sample(t)
	p := write(t, want, o)
	if out := run(t, "fsck.vfat", "-n", p); strings.Contains(out, "differ") || strings.Contains(out, "unused") || strings.Contains(out, "wrong") {
		t.Errorf("fsck.vfat: %s", out)
	}
	info, got, src := read(t, p)
	compare(t, want, got, src)
	before := fs.Info()
	if info.Label != before.Label || info.VolumeID != before.VolumeID || info.ClusterSize != before.ClusterSize || info.Bits != before.Bits {
		t.Errorf("was %+v and is %+v", before, info)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if size == 0 && !bytes.Equal(b[:sectorSize], raw[:sectorSize]) {
		t.Error("the boot sector differs")
	}
	if size > 0 && info.Size != size || !bytes.Equal(b[90:sectorSize], raw[90:sectorSize]) {
		t.Errorf("%d bytes instead of %d, or other boot code", info.Size, size)
	}
}
