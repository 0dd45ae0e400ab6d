package boot_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/tree"
)

// The config.txt of Ubuntu 20.04.4 and .5 for arm64 (pi-gadget branch classic).
const focalConfig = `[pi4]
kernel=uboot_rpi_4.bin
[pi2]
kernel=uboot_rpi_2.bin
[pi3]
kernel=uboot_rpi_3.bin
[pi0]
kernel=uboot_rpi_3.bin
[all]
device_tree_address=0x03000000
[pi4]
max_framebuffers=2
arm_boost=1
[all]
dtparam=audio=on
disable_overscan=1
arm_64bit=1
dtoverlay=dwc2
[cm4]
dtoverlay=dwc2,dr_mode=host
[all]
enable_uart=1
cmdline=cmdline.txt
include syscfg.txt
include usercfg.txt
`

const (
	focalCmdline    = "elevator=deadline net.ifnames=0 console=serial0,115200 dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc quiet splash"
	focalOldCmdline = "net.ifnames=0 dwc_otg.lpm_enable=0 console=serial0,115200 console=tty1 root=LABEL=writable rootfstype=ext4 elevator=deadline rootwait fixrtc"
)

func focal(config, cmdline string) map[string]string {
	return map[string]string{
		"config.txt": config, "cmdline.txt": cmdline + "\n",
		"syscfg.txt": "enable_uart=1\ndtparam=audio=on\ncmdline=cmdline.txt\n", "usercfg.txt": "# Place user tweaks here\n",
		"vmlinuz": "k", "initrd.img": "i", "uboot_rpi_3.bin": "u", "uboot_rpi_4.bin": "u",
		"bcm2710-rpi-3-b.dtb": "3", "bcm2711-rpi-4-b.dtb": "4",
	}
}

func TestEvaluateFocal(t *testing.T) {
	early := strings.Replace(focalConfig, "cmdline=cmdline.txt", "cmdline=nobtcmd.txt", 1) // 20.04: named a file that was gone
	for name, tc := range map[string]struct{ config, cmdline string }{
		"20.04":   {early, focalOldCmdline},
		"20.04.3": {focalConfig, focalOldCmdline},
		"20.04.4": {focalConfig, focalCmdline},
		"20.04.5": {focalConfig, focalCmdline},
	} {
		for board, dtb := range map[boot.Board]string{boot.RaspberryPi3: "bcm2710-rpi-3-b.dtb", boot.RaspberryPi4: "bcm2711-rpi-4-b.dtb"} {
			t.Run(name+"/"+string(board), func(t *testing.T) {
				eff, err := boot.Evaluate(makeTree(t, focal(tc.config, tc.cmdline)), tree.NewReader(nil), board)
				want := boot.Effective{Cmdline: tc.cmdline, CmdlineFile: "cmdline.txt", Kernel: "vmlinuz", Initrd: "initrd.img", DTB: dtb}
				if d := cmp.Diff(want, eff); d != "" || err != nil {
					t.Error(err, d)
				}
			})
		}
	}
}

func TestEvaluateRules(t *testing.T) {
	files := map[string]string{
		"cmdline.txt": "default", "three.txt": "three", "four.txt": "four", "last.txt": "last\nsecond line",
		"kernel8.img": "k", "vmlinuz": "k", "initrd.img": "i", "new/vmlinuz": "k", "new/initrd.img": "i", "new/cmdline.txt": "prefixed",
		"bcm2710-rpi-3-b.dtb": "", "bcm2837-rpi-3-b.dtb": "", "new/bcm2837-rpi-3-b.dtb": "", "my.dtb": "",
		"more.txt": "cmdline=last.txt\n", "loop.txt": "include loop.txt\n",
	}
	for name, tc := range map[string]struct {
		config string
		want   boot.Effective
		err    string
	}{
		"empty":           {"", boot.Effective{Cmdline: "default", CmdlineFile: "cmdline.txt", Kernel: "kernel8.img", DTB: "bcm2710-rpi-3-b.dtb"}, ""},
		"last one wins":   {"cmdline=four.txt\ncmdline=three.txt\n[pi4]\ncmdline=four.txt\n", boot.Effective{Cmdline: "three", CmdlineFile: "three.txt", Kernel: "kernel8.img", DTB: "bcm2710-rpi-3-b.dtb"}, ""},
		"none":            {"[none]\ncmdline=four.txt\n", boot.Effective{Cmdline: "default", CmdlineFile: "cmdline.txt", Kernel: "kernel8.img", DTB: "bcm2710-rpi-3-b.dtb"}, ""},
		"serial number":   {"[0x12345678]\ncmdline=four.txt\n[pi3]\ncmdline=four.txt\n[all]\nupstream_kernel=1\n", boot.Effective{Cmdline: "default", CmdlineFile: "cmdline.txt", Kernel: "kernel8.img", DTB: "bcm2837-rpi-3-b.dtb"}, ""},
		"include":         {"include MORE.TXT\ninclude absent.txt\n", boot.Effective{Cmdline: "last", CmdlineFile: "last.txt", Kernel: "kernel8.img", DTB: "bcm2710-rpi-3-b.dtb"}, ""},
		"include skipped": {"[pi4]\ninclude more.txt\n", boot.Effective{Cmdline: "default", CmdlineFile: "cmdline.txt", Kernel: "kernel8.img", DTB: "bcm2710-rpi-3-b.dtb"}, ""},
		"prefix":          {"os_prefix=new/\nkernel=vmlinuz\ninitramfs initrd.img followkernel\nupstream_kernel=1\n", boot.Effective{Cmdline: "prefixed", CmdlineFile: "new/cmdline.txt", Kernel: "new/vmlinuz", Initrd: "new/initrd.img", DTB: "new/bcm2837-rpi-3-b.dtb"}, ""},
		"bad prefix":      {"os_prefix=old/\nkernel=vmlinuz\n", boot.Effective{Cmdline: "default", CmdlineFile: "cmdline.txt", Kernel: "vmlinuz", DTB: "bcm2710-rpi-3-b.dtb"}, ""},
		"device tree":     {"device_tree=my.dtb\n", boot.Effective{Cmdline: "default", CmdlineFile: "cmdline.txt", Kernel: "kernel8.img", DTB: "my.dtb"}, ""},
		"missing cmdline": {"cmdline=nobtcmd.txt\n", boot.Effective{}, "nobtcmd.txt"},
		"missing kernel":  {"kernel=absent\n", boot.Effective{}, "absent"},
		"loop":            {"include loop.txt\n", boot.Effective{}, "nested more than 8 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			all := maps.Clone(files)
			all["config.txt"] = strings.ReplaceAll(tc.config, "\n", "\r\n")
			eff, err := boot.Evaluate(makeTree(t, all), tree.NewReader(nil), boot.RaspberryPi3)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			if d := cmp.Diff(tc.want, eff); d != "" || err != nil {
				t.Error(err, d)
			}
		})
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add(focalConfig)
	f.Add("[pi3\n=\ninitramfs \ninclude config.txt\nos_prefix=..\n[")
	f.Fuzz(func(t *testing.T, config string) {
		fat := makeTree(t, map[string]string{"config.txt": config, "cmdline.txt": "x", "vmlinuz": "k", "kernel8.img": "k"})
		eff, err := boot.Evaluate(fat, tree.NewReader(nil), boot.RaspberryPi3)
		if err == nil && (eff.Kernel == "" || eff.CmdlineFile == "") {
			t.Errorf("no fault and no kernel: %+v", eff)
		}
	})
}
