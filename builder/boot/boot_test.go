package boot_test

import (
	"errors"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// makeTree makes a tree of inline files with the directories above them.
func makeTree(t testing.TB, files map[string]string) tree.Tree {
	t.Helper()
	entries := map[string]tree.Entry{".": {Path: ".", Type: tree.Dir, Mode: 0o755}}
	for name, text := range files {
		entries[name] = tree.Entry{Path: name, Type: tree.File, Mode: 0o600, Content: tree.InlineContent([]byte(text))}
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			entries[d] = tree.Entry{Path: d, Type: tree.Dir, Mode: 0o755}
		}
	}
	var list []tree.Entry
	for _, e := range entries {
		list = append(list, e)
	}
	made, err := tree.New(list)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func text(t testing.TB, tr tree.Tree, name string) string {
	t.Helper()
	e, ok := tr.Lookup(name)
	if !ok {
		t.Fatalf("%s is not in the tree", name)
	}
	return string(e.Content.Inline)
}

func arm64Kernel(name string) string { return strings.Repeat("\x00", 56) + "ARM\x64" + name }
func amd64Kernel(name string) string { return strings.Repeat("\x00", 0x202) + "HdrS" + name }

func piRoot() map[string]string {
	files := map[string]string{
		"boot/vmlinuz-6.1.0-9-arm64":                                          arm64Kernel("old"),
		"boot/vmlinuz-6.1.0-56-arm64":                                         arm64Kernel("new"),
		"boot/vmlinuz-6.1.0-99-arm64.dpkg-bak":                                arm64Kernel("backup"),
		"usr/lib/linux-image-6.1.0-56-arm64/broadcom/bcm2837-rpi-3-b.dtb":     "pi 3",
		"usr/lib/linux-image-6.1.0-56-arm64/broadcom/bcm2711-rpi-4-b.dtb":     "pi 4",
		"usr/lib/linux-image-6.1.0-56-arm64/rockchip/rk3399-rockpro64.dtb":    "another",
		"usr/lib/linux-image-6.1.0-9-arm64/broadcom/bcm2837-rpi-3-b-plus.dtb": "old",
		"usr/lib/raspi-firmware/bootcode.bin":                                 "1",
		"usr/lib/raspi-firmware/start.elf":                                    "2",
		"usr/lib/raspi-firmware/fixup.dat":                                    "3",
		"usr/lib/raspi-firmware/start4.elf":                                   "4",
		"usr/lib/raspi-firmware/fixup4.dat":                                   "5",
		"usr/lib/raspi-firmware/start4x.elf":                                  "6",
	}
	return files
}

func TestRaspberryPi(t *testing.T) {
	cfg := boot.Config{
		Cmdline:   []string{"console=tty0", "net.ifnames=0", "console=ttyAMA0,115200", "fixrtc", "cgroup_enable=memory", "cgroup_memory=1"},
		ConfigTxt: []string{"dtparam=watchdog=on"},
		Initrd:    []byte("ramdisk"),
		Time:      tree.Time{Sec: 1700000000},
	}
	fat, err := boot.RaspberryPi(makeTree(t, piRoot()), tree.NewReader(nil), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range fat.Entries() {
		names = append(names, e.Path)
		if e.MTime != cfg.Time {
			t.Errorf("%s has the time %v", e.Path, e.MTime)
		}
	}
	want := []string{".", "bcm2711-rpi-4-b.dtb", "bcm2837-rpi-3-b.dtb", "bootcode.bin", "cmdline.txt", "config.txt", "fixup.dat", "fixup4.dat",
		"initrd.img", "meta-data", "start.elf", "start4.elf", "start4x.elf", "user-data", "vmlinuz"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if got := text(t, fat, "vmlinuz"); got != arm64Kernel("new") {
		t.Errorf("vmlinuz is %q", got)
	}
	wantLine := "console=tty0 console=ttyAMA0,115200 root=LABEL=writable rootfstype=ext4 rootwait net.ifnames=0 fixrtc cgroup_enable=memory cgroup_memory=1"
	if got := text(t, fat, "cmdline.txt"); got != wantLine+"\n" {
		t.Errorf("cmdline.txt is %q", got)
	}
	if got := text(t, fat, "config.txt"); !strings.HasSuffix(got, "\n[all]\ndtparam=watchdog=on\n") {
		t.Errorf("config.txt is %q", got)
	}
	for board, dtb := range map[boot.Board]string{boot.RaspberryPi3: "bcm2837-rpi-3-b.dtb", boot.RaspberryPi4: "bcm2711-rpi-4-b.dtb", boot.Virt: ""} {
		eff, err := boot.Evaluate(fat, tree.NewReader(nil), board)
		if err != nil {
			t.Fatal(err)
		}
		want := boot.Effective{Cmdline: wantLine, CmdlineFile: "cmdline.txt", Kernel: "vmlinuz", Initrd: "initrd.img", DTB: dtb}
		if d := cmp.Diff(want, eff); d != "" {
			t.Errorf("%s: %s", board, d)
		}
	}
}

func TestRaspberryPiFaults(t *testing.T) {
	without := func(names ...string) map[string]string {
		files := piRoot()
		for _, n := range names {
			delete(files, n)
		}
		return files
	}
	zboot := piRoot()
	zboot["boot/vmlinuz-6.1.0-56-arm64"] = "MZ\x00\x00zimg" + strings.Repeat("\x00", 100)
	wrong := piRoot()
	wrong["boot/vmlinuz-6.1.0-56-arm64"] = amd64Kernel("")
	for name, tc := range map[string]struct {
		files   map[string]string
		cfg     boot.Config
		want    string
		missing bool
	}{
		"no firmware": {without("usr/lib/raspi-firmware/start4.elf"), boot.Config{Initrd: []byte("x")}, "add package raspi-firmware", true},
		"no kernel":   {map[string]string{"etc/hostname": ""}, boot.Config{}, "add package linux-image-arm64", true},
		"no initrd":   {piRoot(), boot.Config{}, "boot/initrd.img-6.1.0-56-arm64", true},
		"zboot":       {zboot, boot.Config{}, "EFI zboot", false},
		"wrong arch":  {wrong, boot.Config{}, "not those of a kernel for arm64", false},
		"two words":   {piRoot(), boot.Config{Initrd: []byte("x"), Cmdline: []string{"a b"}}, "a parameter is one word", false},
		"own root":    {piRoot(), boot.Config{Initrd: []byte("x"), Cmdline: []string{"root=/dev/sda"}}, "leave it out", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := boot.RaspberryPi(makeTree(t, tc.files), tree.NewReader(nil), tc.cfg)
			var missing *boot.MissingFileError
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.As(err, &missing) != tc.missing {
				t.Errorf("got %v, want %q (missing file: %v)", err, tc.want, tc.missing)
			}
		})
	}
}

func grubRoot() map[string]string {
	return map[string]string{
		"boot/vmlinuz-6.1.0-9-amd64":                        amd64Kernel("old"),
		"boot/vmlinuz-6.1.0-56-amd64":                       amd64Kernel("new"),
		"boot/initrd.img-6.1.0-9-amd64":                     "old ramdisk",
		"usr/lib/shim/shimx64.efi.signed":                   "shim",
		"usr/lib/shim/mmx64.efi.signed":                     "mok",
		"usr/lib/shim/fbx64.efi.signed":                     "fallback",
		"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grub",
		"etc/default/grub":                                  "",
	}
}

func TestGrubEFI(t *testing.T) {
	cfg := boot.Config{Cmdline: []string{"console=tty0", "console=ttyS0,115200", "ds=nocloud;h=x"}, Initrd: []byte("ramdisk")}
	esp, files, err := boot.GrubEFI(makeTree(t, grubRoot()), tree.NewReader(nil), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"EFI/BOOT/BOOTX64.EFI": "shim", "EFI/BOOT/grubx64.efi": "grub", "EFI/debian/grubx64.efi": "grub", "EFI/BOOT/mmx64.efi": "mok",
		"EFI/debian/grub.cfg": "search --no-floppy --label --set=root writable\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"} {
		if got := text(t, esp, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if _, ok := esp.Lookup("EFI/BOOT/fbx64.efi"); ok {
		t.Error("the fallback loader is on the ESP")
	}
	var names []string
	contents := map[string]string{}
	for _, e := range files {
		names = append(names, e.Path)
		contents[e.Path] = string(e.Content.Inline)
	}
	want := []string{"boot/grub", "boot/grub/grub.cfg", "boot/initrd.img-6.1.0-56-amd64", "etc/default/grub.d", "etc/default/grub.d/60-edgebake.cfg"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	grubCfg := contents["boot/grub/grub.cfg"]
	wantMenu := `search --no-floppy --label --set=root writable

menuentry 'Debian GNU/Linux' {
  linux /boot/vmlinuz-6.1.0-56-amd64 root=LABEL=writable ro console=tty0 console=ttyS0,115200 'ds=nocloud;h=x'
  initrd /boot/initrd.img-6.1.0-56-amd64
}

menuentry 'Debian GNU/Linux, with Linux 6.1.0-9-amd64' {
  linux /boot/vmlinuz-6.1.0-9-amd64 root=LABEL=writable ro console=tty0 console=ttyS0,115200 'ds=nocloud;h=x'
  initrd /boot/initrd.img-6.1.0-9-amd64
}
`
	if !strings.HasSuffix(grubCfg, wantMenu) {
		t.Errorf("grub.cfg is\n%s", grubCfg)
	}
	entry := tree.Entry{Path: "grub.cfg", Type: tree.File, Content: tree.InlineContent([]byte(grubCfg))}
	params, err := boot.GrubParameters(tree.NewReader(nil), entry)
	if d := cmp.Diff([]string{"root=LABEL=writable", "ro", "console=tty0", "console=ttyS0,115200", "ds=nocloud;h=x"}, params); d != "" || err != nil {
		t.Error(err, d)
	}
	// sh is what grub-mkconfig reads the settings with.
	out, err := exec.Command(oracle.Need(t, "sh"), "-c", contents["etc/default/grub.d/60-edgebake.cfg"]+`printf %s "$GRUB_CMDLINE_LINUX_DEFAULT"`).Output()
	if err != nil || string(out) != "console=tty0 console=ttyS0,115200 'ds=nocloud;h=x'" {
		t.Errorf("sh reads %q (%v)", out, err)
	}
}

func TestGrubEFIByUUID(t *testing.T) {
	esp, files, err := boot.GrubEFI(makeTree(t, grubRoot()), tree.NewReader(nil), boot.Config{RootUUID: "2b6c4f9e-0000-4000-8000-000000000001"})
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, esp, "EFI/BOOT/grub.cfg"); !strings.HasPrefix(got, "search --no-floppy --fs-uuid --set=root 2b6c4f9e-") {
		t.Error(got)
	}
	i := slices.IndexFunc(files, func(e tree.Entry) bool { return e.Path == "boot/grub/grub.cfg" })
	if got := string(files[i].Content.Inline); !strings.Contains(got, " root=UUID=2b6c4f9e-0000-4000-8000-000000000001 ro\n") || strings.Count(got, "initrd /") != 1 {
		t.Error(got)
	}
}

func TestGrubEFINeedsTheSignedFiles(t *testing.T) {
	files := grubRoot()
	delete(files, "usr/lib/shim/shimx64.efi.signed")
	_, _, err := boot.GrubEFI(makeTree(t, files), tree.NewReader(nil), boot.Config{})
	if err == nil || !strings.Contains(err.Error(), "add package shim-signed") {
		t.Error(err)
	}
}
