package test

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/test/standin"
)

// piFlags turn on what CRI-O needs.
func piFlags() []string { return []string{"cgroup_enable=memory", "cgroup_memory=1"} }

// olderPi bakes from the image of 20.04.3, whose ext4 has uninit_bg and whose texts are others. Its kernel has no
// virtio, so the package's scripts run under the archive's generic kernel. It is not compressed, since what it decodes
// is not the point.
func olderPi(t *testing.T, u *ubuntu) {
	p := standin.Pi{Point: "20.04.3", Checksums: ext4.UninitBG, NoVirtio: true}
	raw, err := p.Write(t.Context(), u.base, t.TempDir())
	must(t, err)
	must(t, u.up.Publish(raw, u.signing(), p.URL()))
	b, l := u.bake(u.older(p), noBoot)
	uninit(t, b)
	ownKernel(t, b, kernelOfGuest(t, l))
	cat := func(name string) string { t.Helper(); return u.run("inspect", b.image, "cat", name) }
	mosquitto(t, cat)
	line := cat("/boot/firmware/cmdline.txt")
	if want := strings.Join(piFlags(), " ") + "\n"; !strings.HasSuffix(line, " fixrtc "+want) || strings.Count(line, "\n") != 1 {
		t.Errorf("the command line is %q", line)
	}
	if tweaks := cat("/boot/firmware/usercfg.txt"); !strings.HasSuffix(tweaks, "\ngpu_mem=16\n") {
		t.Errorf("usercfg.txt is %q", tweaks)
	}
	untouched(t, b, l, []int{1, 2}, append(installing(), "boot/firmware/cmdline.txt", "boot/firmware/usercfg.txt"))
	checkDisk(t, b.image)
}

// kernelOfGuest wants a kernel among the guest's packages, and none among the image's. It returns the version.
func kernelOfGuest(t testing.TB, l lock.Lock) string {
	t.Helper()
	kernel := func(p lock.Package) bool { return strings.HasPrefix(p.Name, "linux-") }
	var names []string
	for _, p := range l.Guest {
		if kernel(p) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		t.Fatal("the guest has no kernel but the image's")
	}
	version, ok := strings.CutPrefix(names[0], "linux-image-")
	if want := []string{"linux-image-" + version, "linux-modules-" + version}; !ok || !strings.HasSuffix(version, "-generic") || !slices.Equal(names, want) {
		t.Errorf("the guest's kernel is %v, want a generic image and its modules", names)
	}
	if slices.ContainsFunc(l.Packages, kernel) {
		t.Errorf("a kernel is to be installed: %v", l.Packages)
	}
	return version
}

// ownKernel wants no trace of the guest's kernel in an image, whose own cannot be a guest's.
func ownKernel(t testing.TB, b baked, guest string) {
	t.Helper()
	img, err := image.Open(b.image)
	must(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	must(t, err)
	versions := boot.Kernels(root.Tree)
	if len(versions) != 1 {
		t.Fatalf("the image has the kernels %v", versions)
	}
	modules := 0
	for i := range root.Tree.Len() {
		e := root.Tree.At(i)
		if strings.Contains(e.Path, guest) {
			t.Errorf("/%s is of the guest's kernel", e.Path)
		}
		if path.Dir(e.Path) == "usr/lib/modules" {
			modules++
		}
	}
	if modules != 1 {
		t.Errorf("there are modules for %d kernels", modules)
	}
	s := initramfs.Source{Arch: "arm64", Tree: root.Tree, Reader: img.Reader(), Version: versions[0]}
	if err := initramfs.CheckGuest(t.Context(), s); err == nil {
		t.Error("the image's own kernel could have been the guest's")
	}
}

// mosquitto looks for what its scripts leave: an account, a configured package, an enabled service.
func mosquitto(t testing.TB, cat func(string) string) {
	t.Helper()
	status := cat("/var/lib/dpkg/status")
	if s := stanza(status, "mosquitto"); !strings.Contains(s, "\nStatus: install ok installed\n") {
		t.Errorf("dpkg says %q", s)
	}
	if strings.Contains(status, "-generic\n") {
		t.Error("dpkg knows the guest's kernel")
	}
	if passwd := cat("/etc/passwd"); !strings.Contains(passwd, "\nmosquitto:") {
		t.Errorf("the accounts are %q", passwd)
	}
	if unit := cat("/etc/systemd/system/multi-user.target.wants/mosquitto.service"); !strings.Contains(unit, "\n[Install]\n") {
		t.Errorf("the unit is %q", unit)
	}
}

// older writes a profile that changes the boot files of an image and installs one package.
func (u *ubuntu) older(p standin.Pi) string {
	u.t.Helper()
	profile := filepath.Join(u.t.TempDir(), "older.yaml")
	u.yaml(profile, map[string]any{
		"extends": []string{"ubuntu-20.04"}, "arch": "arm64", "variables": map[string]any{"point": p.Point},
		"packages": []string{"mosquitto"},
		"boot":     map[string]any{"cmdline": piFlags(), "configTxt": []string{"gpu_mem=16"}},
		"disk":     map[string]any{"size": "4GiB"},
		"checks":   []string{"multi-user", "no-failed-units", "cloud-init", "cmdline-flags", "memory-cgroup", "root-grown"},
	})
	return profile
}

// uninit asks e2fsprogs for the features of the root file system.
func uninit(t testing.TB, b baked) {
	t.Helper()
	features := tool(t, "dumpe2fs", "-h", rootPartition(t, b.image))
	if !strings.Contains(features, "uninit_bg") || strings.Contains(features, "metadata_csum") {
		t.Errorf("the features are others: %s", features)
	}
}
