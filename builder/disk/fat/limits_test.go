package fat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
)

// TestDatesThroughMtools: FAT has the years 1980 to 2107; other times become the nearest that there is.
func TestDatesThroughMtools(t *testing.T) {
	files := map[string]struct {
		sec  int64
		want string
	}{
		"before": {-1, "1980-01-01   0:00"}, "first": {315532800, "1980-01-01   0:00"}, "leap": {1709208000, "2024-02-29  12:00"},
		"last": {4354819198, "2107-12-31  23:59"}, "after": {1 << 40, "2107-12-31  23:59"},
	}
	entries := []tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o755}}
	for name, f := range files {
		entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o755, MTime: tree.Time{Sec: f.sec}})
	}
	tr, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	for kind, o := range volumes() {
		image := write(t, tr, o)
		run(t, "fsck.vfat", "-n", image)
		out := run(t, "mdir", "-i", image, "::")
		for name, f := range files {
			found := false
			for line := range strings.Lines(out) {
				found = found || strings.HasPrefix(line, strings.ToUpper(name)+" ") && strings.Contains(line, f.want)
			}
			if !found {
				t.Errorf("%s: mdir does not show %s of %s:\n%s", kind, name, f.want, out)
			}
		}
	}
}

// TestFullVolume fills a volume to the last cluster: tools accept it and read it back, and one byte more is refused.
func TestFullVolume(t *testing.T) {
	for _, o := range []Options{{Size: 4 << 20, Label: "full", ClusterSize: 512}, {Size: 48 << 20, Label: "full", ClusterSize: 4096}} {
		build := func(size int64) tree.Tree {
			return sample(t, tree.Entry{Path: "filler", Type: tree.File, Mode: 0o755, Content: tree.Content{Size: size, Extents: []tree.Extent{{Length: size}}}})
		}
		fits := func(size int64) bool {
			err := Write(context.Background(), discard{}, build(size), tree.NewReader(nil), o)
			var small *TooSmallError
			if err != nil && !errors.As(err, &small) {
				t.Fatal(err)
			}
			return err == nil
		}
		low, high := int64(1), o.Size
		for high-low > 1 {
			if mid := (low + high) / 2; fits(mid) {
				low = mid
			} else {
				high = mid
			}
		}
		image := write(t, build(low), o)
		run(t, "fsck.vfat", "-n", image)
		if out := run(t, "mdir", "-i", image, "::"); !strings.Contains(out, "  0 bytes free") {
			t.Errorf("mdir finds room beside %d bytes:\n%s", low, out)
		}
		copied := filepath.Join(t.TempDir(), "copied")
		run(t, "mcopy", "-i", image, "::filler", copied)
		if info, err := os.Stat(copied); err != nil || info.Size() != low {
			t.Errorf("mcopy: %v, %v", info, err)
		}
	}
}
