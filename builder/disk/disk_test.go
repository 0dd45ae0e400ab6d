package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

func piDisk() profile.Disk {
	return profile.Disk{Table: MBR, Size: 400 << 20, Partitions: []profile.Partition{
		{Label: "system-boot", Type: FAT, FS: VFAT, Size: 64 << 20, Mount: "/boot/firmware", ClusterSize: 512},
		{Label: "writable", Type: Linux, FS: Ext4, Mount: "/", Grow: true},
	}}
}

func pcDisk() profile.Disk {
	return profile.Disk{Table: GPT, Size: 300 << 20, Partitions: []profile.Partition{
		{Label: "grub", Type: BIOSBoot, FS: None, Size: 1 << 20},
		{Label: "UEFI", Type: ESP, FS: VFAT, Size: 40 << 20, Mount: "/boot/efi"},
		{Label: "root", Type: Linux, FS: Ext4, Mount: "/", Grow: true},
	}}
}

func root(t *testing.T) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	for _, p := range []string{"etc/fstab", "boot/firmware/cmdline.txt", "boot/firmware/overlays/a.dtbo", "boot/efi/EFI/BOOT/BOOTX64.EFI", "boot/vmlinuz"} {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(p))})
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func assemble(t *testing.T, d profile.Disk) (string, Plan) {
	t.Helper()
	p, err := NewPlan(d, root(t), [32]byte{1}, 1700000000)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.img")
	if err := Assemble(context.Background(), out, p, tree.NewReader(nil), progress.Discard{}); err != nil {
		t.Fatal(err)
	}
	return out, p
}

func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(oracle.Need(t, tool), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// carve copies partition n to a file of its own, for tools that know no offsets.
func carve(t *testing.T, image string, p Partition) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "part")
	run(t, "dd", "if="+image, "of="+out, "bs=1M", "conv=sparse", fmt.Sprintf("skip=%d", p.Start>>20), fmt.Sprintf("count=%d", p.Size>>20))
	return out
}

func TestToolsAcceptTheImages(t *testing.T) {
	for name, d := range map[string]profile.Disk{"mbr": piDisk(), "gpt": pcDisk()} {
		t.Run(name, func(t *testing.T) {
			image, p := assemble(t, d)
			if out := run(t, "sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
				t.Errorf("sfdisk: %s", out)
			}
			if out := run(t, "parted", "-s", image, "print"); strings.Contains(out, "Error") || strings.Contains(out, "Warning") {
				t.Errorf("parted: %s", out)
			}
			if d.Table == GPT {
				if out := run(t, "sgdisk", "-v", image); !strings.Contains(out, "No problems found") {
					t.Errorf("sgdisk: %s", out)
				}
			}
			for _, part := range p.Partitions {
				checkPartition(t, image, part)
			}
		})
	}
}

func checkPartition(t *testing.T, image string, p Partition) {
	t.Helper()
	if p.FS == None {
		return
	}
	file := carve(t, image, p)
	switch p.FS {
	case VFAT:
		run(t, "fsck.vfat", "-n", file)
	case Ext4:
		run(t, "e2fsck", "-fn", file)
	}
	want := fmt.Sprintf("LABEL=%s", p.Label)
	if out := run(t, "blkid", "-p", "-o", "export", file); !strings.Contains(out, want) {
		t.Errorf("blkid does not find %s: %s", want, out)
	}
}

func TestIdentifiersAreTheOnesPlanned(t *testing.T) {
	image, p := assemble(t, piDisk())
	if out := run(t, "sfdisk", "--dump", image); !strings.Contains(out, fmt.Sprintf("label-id: 0x%08x", p.DiskID)) ||
		!strings.Contains(out, "type=c, bootable") {
		t.Errorf("sfdisk: %s", out)
	}
	image, p = assemble(t, pcDisk())
	out := strings.ToLower(run(t, "sfdisk", "--dump", image))
	for _, want := range []string{FormatUUID(p.DiskGUID), FormatUUID(p.Partitions[2].PartUUID), "name=\"uefi\"", "c12a7328"} {
		if !strings.Contains(out, want) {
			t.Errorf("sfdisk does not show %s: %s", want, out)
		}
	}
}

func TestPlanSplitsTheTreeAtMountPoints(t *testing.T) {
	p, err := NewPlan(piDisk(), root(t), [32]byte{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	boot, rootfs := p.Partitions[0], p.Partitions[1]
	if _, ok := boot.Tree.Lookup("overlays/a.dtbo"); !ok || boot.Start != 1<<20 {
		t.Errorf("boot is %+v", boot)
	}
	if _, ok := rootfs.Tree.Lookup("boot/firmware/cmdline.txt"); ok {
		t.Error("the root holds what is in the boot partition")
	}
	if e, ok := rootfs.Tree.Lookup("boot/firmware"); !ok || e.Type != tree.Dir {
		t.Error("the mount point is missing")
	}
	if _, ok := rootfs.Tree.Lookup("boot/vmlinuz"); !ok || rootfs.Start+rootfs.Size != p.Size {
		t.Errorf("root is %+v", rootfs)
	}
}

func TestEqualInputsGiveEqualImages(t *testing.T) {
	for _, d := range []profile.Disk{piDisk(), pcDisk()} {
		first, _ := assemble(t, d)
		second, _ := assemble(t, d)
		a, errA := os.ReadFile(first)
		b, errB := os.ReadFile(second)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: two images differ (%v, %v)", d.Table, errA, errB)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	small := piDisk()
	small.Size = 32 << 20
	_, err := NewPlan(small, root(t), [32]byte{}, 0)
	var size *SizeError
	if !errors.As(err, &size) || size.Need <= size.Have {
		t.Errorf("small disk: %v", err)
	}
	bios := piDisk()
	bios.Partitions[0].Type = BIOSBoot
	if _, err := NewPlan(bios, root(t), [32]byte{}, 0); err == nil || !strings.Contains(err.Error(), "bios-boot") {
		t.Errorf("bios-boot in an MBR: %v", err)
	}
	five := profile.Disk{Table: MBR, Size: 100 << 20}
	for range 5 {
		five.Partitions = append(five.Partitions, profile.Partition{Type: Linux, FS: None, Size: 1 << 20})
	}
	if _, err := NewPlan(five, root(t), [32]byte{}, 0); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("five partitions: %v", err)
	}
}

func TestNothingIsLeftWhenATreeDoesNotFit(t *testing.T) {
	b := tree.NewBuilder(tree.Time{})
	b.Add(tree.Entry{Path: "boot/firmware/big", Type: tree.File, Content: tree.Content{Size: 80 << 20, Extents: []tree.Extent{{Length: 80 << 20}}}})
	tr, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(piDisk(), tr, [32]byte{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err = Assemble(context.Background(), filepath.Join(dir, "x.img"), p, tree.NewReader(nil), progress.Discard{})
	if err == nil || !strings.Contains(err.Error(), "partition 1 (system-boot)") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
