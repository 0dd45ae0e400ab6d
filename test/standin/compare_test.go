package standin

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/tree"
)

// smallDisk is an image with one partition of each kind; change edits its root file system.
func smallDisk(t *testing.T, extra int64, regions map[int64][]byte, change func(*wardrobe)) string {
	t.Helper()
	w := newWardrobe(tree.Tree{}, tree.NewReader(nil), tree.Time{Sec: 1})
	w.dir(".")
	w.text("etc/kept", "kept")
	w.text("etc/edited", "before")
	w.text("etc/removed", "removed")
	change(w)
	root, err := w.tree()
	check(t, err)
	esp := newWardrobe(tree.Tree{}, tree.NewReader(nil), tree.Time{Sec: 1})
	esp.dir(".")
	esp.text("EFI/file", "file")
	boot, err := esp.tree()
	check(t, err)
	const start, bios, rootAt = int64(mebibyte), int64(20 * mebibyte), int64(21 * mebibyte)
	size := 16*mebibyte + extra
	plan := disk.Plan{Size: rootAt + size + mebibyte, Table: disk.GPT, DiskGUID: identifier("d"), Partitions: []disk.Partition{
		{Number: 15, Type: disk.ESP, Start: start, Size: bios - start, PartUUID: identifier("15")},
		{Number: 14, Type: disk.BIOSBoot, Start: bios, Size: mebibyte, PartUUID: identifier("14")},
		{Number: 1, Type: disk.Linux, Start: rootAt, Size: size, PartUUID: identifier("1")},
	}}
	name := filepath.Join(t.TempDir(), "disk.img")
	check(t, writeDisk(t.Context(), name, plan, tree.NewReader(nil), regions, []part{
		{start: start, tree: boot, fat: &fat.Options{Size: bios - start, Label: "UEFI"}},
		{start: rootAt, tree: root, ext4: &ext4.Options{Size: size, Label: "root", UUID: identifier("fs")}},
	}))
	return name
}

func TestDifferences(t *testing.T) {
	nothing := func(*wardrobe) {}
	base := smallDisk(t, 0, nil, nothing)
	for name, c := range map[string]struct {
		baked string
		want  []string
	}{
		"none":      {smallDisk(t, 0, nil, nothing), nil},
		"grown":     {smallDisk(t, 8*mebibyte, nil, nothing), nil},
		"boot code": {smallDisk(t, 0, map[int64][]byte{0: {0xeb}}, nothing), []string{"boot code"}},
		"BIOS boot": {smallDisk(t, 0, map[int64][]byte{20*mebibyte + 7: {1}}, nothing), []string{"partition 14: bytes"}},
		"files": {smallDisk(t, 0, nil, func(w *wardrobe) {
			w.text("etc/edited", "after!")
			w.text("etc/new/added", "added")
			w.remove("etc/removed")
			e := w.entries["etc/kept"]
			e.MTime = tree.Time{Sec: 2}
			w.entries["etc/kept"] = e
		}), []string{"partition 1: /etc/edited changed", "partition 1: /etc/new added", "partition 1: /etc/new/added added", "partition 1: /etc/removed removed"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Differences(t.Context(), base, c.baked)
			check(t, err)
			if !slices.Equal(got, c.want) {
				t.Errorf("differences are %q, want %q", got, c.want)
			}
		})
	}
	if _, err := Differences(t.Context(), base, os.DevNull); err == nil {
		t.Error("no image is the same as an image")
	}
}
