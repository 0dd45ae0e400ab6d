package verify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/oracle"
)

const (
	partStart = 1 << 20
	partSize  = 40 << 20
)

// piImage writes an image with an MBR and one FAT that holds files.
func piImage(t *testing.T, files map[string]string) string {
	t.Helper()
	entries := []tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o755}}
	for name, text := range files {
		if d := path.Dir(name); d != "." {
			t.Fatalf("%s: only files in the root", name)
		}
		entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(text))})
	}
	tr, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "pi.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var mbr [512]byte
	mbr[446+4] = 0x0c
	binary.LittleEndian.PutUint32(mbr[446+8:], partStart/512)
	binary.LittleEndian.PutUint32(mbr[446+12:], partSize/512)
	mbr[510], mbr[511] = 0x55, 0xaa
	err = errors.Join(f.Truncate(partStart+partSize+partStart),
		fat.Write(context.Background(), io.NewOffsetWriter(f, partStart), tr, tree.NewReader(nil), fat.Options{Size: partSize, Label: "system-boot", VolumeID: 0x1234abcd, ClusterSize: 512}))
	if _, werr := f.WriteAt(mbr[:], 0); err != nil || werr != nil {
		t.Fatal(err, werr)
	}
	return name
}

func piFiles() map[string]string {
	return map[string]string{
		"config.txt": "kernel=vmlinuz\ninitramfs initrd.img followkernel\nupstream_kernel=1\n", "cmdline.txt": "console=serial0 root=LABEL=writable cgroup_memory=1\n",
		"vmlinuz": strings.Repeat("kernel ", 100000), "initrd.img": "ramdisk", "bcm2837-rpi-3-b.dtb": "compatible\x00brcm,bcm2836-vchiq\x00brcm,bcm2835-vchiq\x00",
		"user-data": "#cloud-config\n", "meta-data": "", "zlast": strings.Repeat("z", 100000),
	}
}

func TestPlanTakesTheImagesOwnFiles(t *testing.T) {
	oracle.Need(t, "qemu-system-aarch64")
	qemuImg, mcopy := oracle.Need(t, "qemu-img"), oracle.Need(t, "mcopy")
	name := piImage(t, piFiles())
	before, _ := os.ReadFile(name)
	for board, dtb := range map[string]string{"virt": "", "raspi3b": "compatible\x00brcm,bcm2836-none!\x00brcm,bcm2835-none!\x00"} {
		dir := t.TempDir()
		seed := map[string][]byte{"user-data": bytes.Repeat([]byte("# longer\n"), 3000), "network-config": []byte("version: 2\n")}
		p, err := verify.Plan(context.Background(), name, verify.Options{Board: board, WorkDir: dir, Seed: seed, Grow: true})
		if err != nil {
			t.Fatal(err)
		}
		if want := "console=ttyAMA0 root=LABEL=writable cgroup_memory=1"; p.Machine.Cmdline != want || p.Cmdline != want {
			t.Errorf("cmdline is %q", p.Machine.Cmdline)
		}
		for file, want := range map[string]string{p.Machine.Kernel: piFiles()["vmlinuz"], p.Machine.Initrd: "ramdisk", p.Machine.DTB: dtb} {
			if got, _ := os.ReadFile(file); string(got) != want {
				t.Errorf("%s: %q holds %d bytes", board, file, len(got))
			}
		}
		raw := filepath.Join(dir, "shown.raw")
		if out, err := exec.Command(qemuImg, "convert", "-O", "raw", p.Machine.Disks[0].Path, raw).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for file, want := range map[string]string{"user-data": string(seed["user-data"]), "network-config": "version: 2\n", "vmlinuz": piFiles()["vmlinuz"], "zlast": piFiles()["zlast"]} {
			got, err := exec.Command(mcopy, "-i", raw+"@@1048576", "::"+file, "-").Output()
			if err != nil || string(got) != want {
				t.Errorf("%s: %s has %d bytes (%v), want %d", board, file, len(got), err, len(want))
			}
		}
		info, _ := os.Stat(raw)
		if want := map[string]int64{"virt": 63 << 20, "raspi3b": 64 << 20}[board]; info.Size() != want {
			t.Errorf("%s: the disk has %d bytes, want %d", board, info.Size(), want)
		}
	}
	if after, _ := os.ReadFile(name); !bytes.Equal(before, after) {
		t.Error("the image has changed")
	}
}

func TestPlanNamesWhatIsMissing(t *testing.T) {
	oracle.Need(t, "qemu-system-aarch64")
	files := piFiles()
	delete(files, "vmlinuz")
	_, err := verify.Plan(context.Background(), piImage(t, files), verify.Options{WorkDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "boot file vmlinuz") {
		t.Error(err)
	}
	var board *verify.MissingBoardError
	if _, err = verify.Plan(context.Background(), piImage(t, piFiles()), verify.Options{Board: "raspi9z", WorkDir: t.TempDir()}); !errors.As(err, &board) {
		t.Error(err)
	}
}

func TestCheckRefusesUnknownNames(t *testing.T) {
	_, err := verify.Check(context.Background(), "absent.img", verify.CheckOptions{Checks: []string{"mosquito"}})
	if err == nil || !strings.Contains(err.Error(), `unknown check "mosquito"`) {
		t.Error(err)
	}
}

// A kernel that is none keeps QEMU's processor busy with nothing: a boot that hangs.
func TestCheckEndsABootThatHangs(t *testing.T) {
	oracle.Need(t, "qemu-system-aarch64")
	name := piImage(t, piFiles())
	v, err := verify.Check(context.Background(), name, verify.CheckOptions{
		Options: verify.Options{WorkDir: t.TempDir(), MemoryMiB: 256}, Checks: verify.PlainChecks(), Limit: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "the boot ended before the kernel said anything: the time limit of 2s is over"; v.OK || v.Reason != want || len(v.Checks) != len(verify.PlainChecks()) {
		t.Errorf("ok %v, reason %q, %d checks; want %q", v.OK, v.Reason, len(v.Checks), want)
	}
	b, err := os.ReadFile(name)
	if err != nil || v.Digest != cas.Of(b) {
		t.Errorf("digest is %s (%v)", v.Digest, err)
	}
}
