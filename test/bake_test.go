package test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/oracle"
)

// The tests of this file bake real images from the Debian archive with the built program and boot
// them. Archives move, so every test locks afresh. They run beside each other, two at a time (make
// test): a boot keeps one processor busy most of the time.

// edgebake builds the program, once for each test that asks.
func edgebake(t testing.TB) func(args ...string) string {
	t.Helper()
	return quiet(telling(t))
}

// quiet returns results alone.
func quiet(tell func(...string) (stdout, stderr string)) func(...string) string {
	return func(args ...string) string {
		stdout, _ := tell(args...)
		return stdout
	}
}

// telling is edgebake that also returns what it says on its way.
func telling(t testing.TB) func(args ...string) (stdout, stderr string) {
	t.Helper()
	oracle.Need(t, "qemu-system-x86_64")
	oracle.Need(t, "qemu-system-aarch64")
	bin := program(t)
	return func(args ...string) (string, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		t.Logf("edgebake %s\n%s", strings.Join(args, " "), lastPart(stderr.String()))
		if err != nil {
			t.Fatalf("edgebake %s: %v\n%s", strings.Join(args, " "), err, stdout.String())
		}
		return stdout.String(), stderr.String()
	}
}

func lastPart(s string) string {
	const most = 6000
	return s[max(0, len(s)-most):]
}

// baked is one artifact directory.
type baked struct{ dir, image string }

func bake(t testing.TB, run func(...string) string, profile, store, lockDir string, flags ...string) baked {
	t.Helper()
	out, name := filepath.Join(t.TempDir(), "out"), profileName(profile)
	args := append([]string{"bake", profile, "--store", store, "--lock", filepath.Join(lockDir, name+".lock.json"), "-o", out}, flags...)
	run(args...)
	return baked{dir: out, image: filepath.Join(out, name+".img")}
}

// profileName is the name of a profile, which may be a file.
func profileName(profile string) string { return strings.TrimSuffix(filepath.Base(profile), ".yaml") }

func digestOf(t testing.TB, b baked) string {
	t.Helper()
	m, err := artifact.ReadManifest(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Artifacts[0].SHA256)
}

// believing is the small profile with what lets the booted system compare itself with dpkg's database. Of its own
// accord cloud-init would make a locale that the small profile does not have.
func believing(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"believing.yaml":                               believingProfile,
		"words/etc/default/locale":                     "LANG=C.UTF-8\n",
		"words/etc/cloud/cloud.cfg.d/60-believing.cfg": "locale: C.UTF-8\ngrub_dpkg:\n  enabled: false\n",
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return filepath.Join(dir, "believing.yaml")
}

const believingProfile = `apiVersion: edgebake/v1
name: believing
extends: [minimal-debian-12-amd64]
packages: [cloud-init, debsums]
boot: {initrd: initramfs-tools, initrdModules: [overlay]}
overlays: [cloud-vm, ./words]
disk: {size: 2GiB}
checks: [multi-user, no-failed-units, cloud-init, packages]
`

// TestReproducibleMinimal bakes the small profile with two more packages and the distribution's initrd from two empty stores, in
// one of which the small profile is baked before, and looks at the result with the tools of others: e2fsprogs on this
// host; dpkg, apt and debsums in the booted image.
func TestReproducibleMinimal(t *testing.T) {
	t.Parallel()
	tell, locks, profile, first, second := telling(t), t.TempDir(), believing(t), t.TempDir(), t.TempDir()
	run := quiet(tell)
	run("lock", profile, "--store", first, "-o", locks)
	run("lock", "minimal-debian-12-amd64", "--store", first, "-o", locks)
	a := bake(t, run, profile, first, locks) // boots it too
	bake(t, run, "minimal-debian-12-amd64", second, locks, "--no-boot")
	var said string
	b := bake(t, func(args ...string) (stdout string) { stdout, said = tell(args...); return stdout }, profile, second, locks, "--no-boot", "-v")
	if want := "the parents' packages are in the store, configured"; !strings.Contains(said, want) {
		t.Errorf("the packages of the small profile were configured again:\n%s", said)
	}
	if x, y := digestOf(t, a), digestOf(t, b); x != y {
		difference, _, err := image.Diff(t.Context(), a.image, b.image)
		t.Fatalf("two bakes differ: %s and %s: %v %v", x, y, difference, err)
	}
	positive(t, a)
	believes(t, a)
	profiled(t, a)
	logged(t, a)
	logged(t, b)
	distributionInitrd(t, a)
	checkDisk(t, a.image)
}

// profiled wants the report to tell where the guest's time went, in both layers.
func profiled(t testing.TB, b baked) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, "report.json"))
	must(t, err)
	var report struct {
		Guest struct {
			Seconds float64
			Scripts []struct {
				Package, Script string
				Seconds         float64
			}
		}
	}
	must(t, json.Unmarshal(data, &report))
	sum, seen := 0.0, map[string]bool{}
	for _, s := range report.Guest.Scripts {
		sum += s.Seconds
		seen[s.Package+" "+s.Script] = true
	}
	if sum > report.Guest.Seconds || sum < report.Guest.Seconds/2 {
		t.Errorf("the guest ran %.1f s and its scripts %.1f s", report.Guest.Seconds, sum)
	}
	for _, want := range []string{"base-files postinst", "libc6 preinst", "cloud-init postinst", "debsums unpacking", "python3 byte-compiling"} {
		if !seen[want] {
			t.Errorf("the profile has no %s: %s", want, data)
		}
	}
}

// logged wants the log of the guest to have both layers, whether the lower one was in the store or not.
func logged(t testing.TB, b baked) {
	t.Helper()
	log, err := os.ReadFile(b.image + ".configure.log")
	must(t, err)
	lower, upper := bytes.Index(log, []byte("Setting up libc6")), bytes.Index(log, []byte("Setting up debsums"))
	if lower < 0 || upper < lower {
		t.Errorf("the log of %s has libc6 at %d and debsums at %d", b.image, lower, upper)
	}
}

// distributionInitrd wants the initrd of initramfs-tools, with the module that the profile adds.
func distributionInitrd(t testing.TB, b baked) {
	t.Helper()
	img, err := image.Open(b.image)
	must(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	must(t, err)
	for _, e := range root.Tree.Entries() {
		if !strings.HasPrefix(e.Path, "boot/initrd.img-") {
			continue
		}
		r, err := img.Reader().Open(e.Content)
		must(t, err)
		text := unpackInitrd(t, r)
		for _, want := range []string{"scripts/local-premount", "/overlay.ko"} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s has %d bytes, and no %s", e.Path, len(text), want)
			}
		}
		return
	}
	t.Error("there is no initrd")
}

// unpackInitrd knows gzip and zstd: the second is mkinitramfs's choice where its program is installed.
func unpackInitrd(t testing.TB, r io.Reader) []byte {
	t.Helper()
	packed := bufio.NewReader(r)
	magic, err := packed.Peek(2)
	must(t, err)
	var z io.Reader
	if string(magic) == "\x1f\x8b" {
		z, err = gzip.NewReader(packed)
	} else {
		z, err = zstd.NewReader(packed, zstd.WithDecoderConcurrency(1))
	}
	must(t, err)
	text, err := io.ReadAll(z)
	must(t, err)
	return text
}

// believes wants both examinations to find every file as its package brought it: this profile changes none.
func believes(t testing.TB, b baked) {
	t.Helper()
	for name, want := range map[string]string{"verdict.json": `"detail": "configuration files changed: none"`, "lint.json": `"package-files"`} {
		data, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(data), want) != 1 { // lint.json has the rule's name once as a rule, and once more in each finding
			t.Errorf("%s has not one %s:\n%s", name, want, data)
		}
	}
}

// positive reads the verdict that lies beside the image.
func positive(t testing.TB, b baked) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, "verdict.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v verify.Verdict
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	t.Logf("verdict: %s", data)
	if !v.OK || v.Digest == "" || string(v.Digest) != digestOf(t, b) {
		t.Fatalf("the verdict is negative or of another image: %s", v.Reason)
	}
	if len(v.Checks) == 0 {
		t.Fatal("the verdict has no checks")
	}
}

// checkDisk lets e2fsprogs, dosfstools and the partition tools judge the image.
func checkDisk(t testing.TB, path string) {
	t.Helper()
	img, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	tool(t, "sfdisk", "--verify", path)
	for _, p := range img.Partitions() {
		part := extract(t, path, p.Start, p.Size)
		switch p.FS {
		case "ext4":
			tool(t, "e2fsck", "-fn", part)
			if err := os.Truncate(part, 2*p.Size); err != nil {
				t.Fatal(err)
			}
			tool(t, "resize2fs", part)
			tool(t, "e2fsck", "-fn", part)
		case "vfat":
			tool(t, "fsck.vfat", "-n", part)
		}
	}
}

func extract(t testing.TB, path string, start, size int64) string {
	t.Helper()
	part := filepath.Join(t.TempDir(), "part")
	tool(t, "qemu-img", "convert", "--image-opts", "-O", "raw",
		"driver=raw,offset="+decimal(start)+",size="+decimal(size)+",file.driver=file,file.filename="+path, part)
	return part
}

func decimal(n int64) string {
	b, _ := json.Marshal(n) // an integer always encodes
	return string(b)
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	oracle.Need(t, name)
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestBakeEdgeRaspberryPi is the main job: the Raspberry Pi edge image. TestBakeKubeEdgeRaspberryPi proves it on
// QEMU's generic board, with KubeEdge added. As a Raspberry Pi 3, whose boot takes five minutes, make test proves
// Ubuntu's image, and make boards this one (EDGEBAKE_BOARDS).
func TestBakeEdgeRaspberryPi(t *testing.T) {
	t.Parallel()
	const name = "edge-rpi-debian-12"
	run, s := edgebake(t), shared(t)
	s.locked(t, run, name)
	b := bake(t, run, name, s.store, s.locks, "--no-boot")
	checkDisk(t, b.image)
	for _, board := range strings.Fields(os.Getenv("EDGEBAKE_BOARDS")) {
		run("boot", b.image, "--check", "--machine", board)
		positive(t, b)
	}
}

// TestBakeKubeEdgeAMD64 is the same node as a UEFI machine, which takes its seed from a disk. In it dpkg and apt look
// at all packages, too: that takes a minute.
func TestBakeKubeEdgeAMD64(t *testing.T) {
	t.Parallel()
	run := edgebake(t)
	b := bakeKubeEdge(t, run, "edge-debian-12-amd64-kubeedge")
	m, err := artifact.ReadManifest(b.dir)
	must(t, err)
	run("boot", b.image, "--check", "--checks", strings.Join(append(m.Checks, verify.CheckPackages), ","))
	positive(t, b)
	checkDisk(t, b.image)
}
