package standin

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/tree"
)

// BIOSGRUB is GRUB for i386-pc, as grub-install would embed it.
type BIOSGRUB struct {
	// Boot is boot.img, the code of the first sector; Core is core.img, for the BIOS boot partition.
	Boot, Core []byte
	// Modules by name go to /boot/grub/i386-pc.
	Modules map[string][]byte
}

// grubDir is of package grub-pc-bin on the machine that runs the tests.
const grubDir = "/usr/lib/grub/i386-pc"

// NewBIOSGRUB makes core.img in dir with grub-mkimage, the path of which mkimage is.
func NewBIOSGRUB(ctx context.Context, mkimage, dir string) (BIOSGRUB, error) {
	core := filepath.Join(dir, "core.img")
	cmd := exec.CommandContext(ctx, mkimage, "-O", "i386-pc", "-d", grubDir, "-o", core, "-p", "(,gpt1)/boot/grub", "biosdisk", "part_gpt", "ext2")
	if text, err := cmd.CombinedOutput(); err != nil {
		return BIOSGRUB{}, fmt.Errorf("making GRUB's core.img: %w: %s", err, text)
	}
	out, err := os.ReadFile(core)
	if err != nil {
		return BIOSGRUB{}, err
	}
	g := BIOSGRUB{Core: out, Modules: map[string][]byte{"core.img": out}}
	if g.Boot, err = os.ReadFile(grubDir + "/boot.img"); err != nil {
		return g, err
	}
	g.Modules["boot.img"] = g.Boot
	files, err := os.ReadDir(grubDir)
	if err != nil {
		return g, err
	}
	for _, f := range files {
		if ext := filepath.Ext(f.Name()); ext == ".mod" || ext == ".lst" {
			if g.Modules[f.Name()], err = os.ReadFile(filepath.Join(grubDir, f.Name())); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// Places in boot.img and diskboot.img (GRUB, include/grub/i386/pc/boot.h).
const (
	bootCode       = 440  // bytes of the first sector before the disk's identifier
	kernelSector   = 0x5c // where core.img begins, 8 bytes
	driveCheck     = 0x66 // a jump that a hard disk must not take
	firstBlocklist = 0x1f4
)

// regions are the bytes that GRUB has outside of file systems, by offset; core.img goes to sector at.
func (g BIOSGRUB) regions(at int64) map[int64][]byte {
	if len(g.Core) == 0 {
		return nil
	}
	boot := append([]byte(nil), g.Boot[:bootCode]...)
	binary.LittleEndian.PutUint64(boot[kernelSector:], uint64(at))
	boot[driveCheck], boot[driveCheck+1] = 0x90, 0x90
	core := append([]byte(nil), g.Core...)
	binary.LittleEndian.PutUint64(core[firstBlocklist:], uint64(at+1))
	return map[int64][]byte{0: boot, at * sector: core}
}

// grubFiles are the modules below /boot/grub.
func (w *wardrobe) grubFiles(base tree.Tree, g BIOSGRUB) {
	for name, data := range g.Modules {
		w.put("boot/grub/i386-pc/"+name, 0o644, tree.InlineContent(data))
	}
	const efi = "usr/lib/grub/x86_64-efi"
	for i := range base.Len() {
		e := base.At(i)
		if ext := path.Ext(e.Path); path.Dir(e.Path) == efi && e.Type == tree.File && (ext == ".mod" || ext == ".lst") {
			w.put("boot/grub/x86_64-efi/"+path.Base(e.Path), 0o644, e.Content)
		}
	}
	env := []byte("# GRUB Environment Block\n" + strings.Repeat("#", 999))
	w.put("boot/grub/grubenv", 0o644, tree.InlineContent(env))
}

// espTree is what grub-install --uefi-secure-boot --no-nvram leaves, for the removable path too.
// The signed GRUB is Debian's: it looks for its configuration in EFI/debian.
func espTree(b Base) (tree.Tree, error) {
	w := newWardrobe(tree.Tree{}, b.Reader, b.time())
	w.dir(".")
	for to, from := range map[string]string{
		"EFI/BOOT/BOOTX64.EFI": "usr/lib/shim/shimx64.efi.signed", "EFI/ubuntu/shimx64.efi": "usr/lib/shim/shimx64.efi.signed",
		"EFI/BOOT/mmx64.efi": "usr/lib/shim/mmx64.efi.signed", "EFI/ubuntu/mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
		"EFI/BOOT/grubx64.efi":   "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
		"EFI/ubuntu/grubx64.efi": "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
	} {
		e, ok := b.Tree.Lookup(from)
		if !ok {
			return tree.Tree{}, fmt.Errorf("dressing the ESP: /%s is missing", from)
		}
		w.put(to, 0o755, e.Content)
	}
	stub := "search.fs_uuid " + disk.FormatUUID(cloudRootUUID()) + " root hd0,gpt1 \nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
	w.text("EFI/ubuntu/grub.cfg", stub)
	w.text("EFI/debian/grub.cfg", stub)
	w.text("EFI/ubuntu/BOOTX64.CSV", "shimx64.efi,ubuntu,,This is the boot entry for ubuntu\n")
	return w.tree()
}

const cloudimgSettings = `# Cloud Image specific Grub settings for Generic Cloud Images
# CLOUD_IMG: This file was created/modified by the Cloud Image build process

# Set the recordfail timeout
GRUB_RECORDFAIL_TIMEOUT=0

# Do not wait on grub prompt
GRUB_TIMEOUT=0

# Set the default commandline
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"

# Set the grub console type
GRUB_TERMINAL=console
`

const grubDefaults = `# If you change this file, run 'update-grub' afterwards to update
# /boot/grub/grub.cfg.
# For full documentation of the options in this file, see:
#   info -f grub -n 'Simple configuration'

GRUB_DEFAULT=0
GRUB_TIMEOUT_STYLE=hidden
GRUB_TIMEOUT=10
GRUB_DISTRIBUTOR=` + "`lsb_release -i -s 2> /dev/null || echo Debian`" + `
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX=""
`

// grubCfg is what update-grub writes on bionic, with the root that livecd-rootfs puts in.
func grubCfg(version string) string {
	uuid := disk.FormatUUID(cloudRootUUID())
	r := strings.NewReplacer("@VERSION@", version, "@UUID@", uuid, "@ROOT@", "root=LABEL="+cloudLabel, "@LOAD@", strings.ReplaceAll(grubLoad, "@UUID@", uuid))
	return r.Replace(grubHead + grubEntries)
}

const grubHead = `#
# DO NOT EDIT THIS FILE
#
# It is automatically generated by grub-mkconfig using templates
# from /etc/grub.d and settings from /etc/default/grub
#

### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="0"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi

export menuentry_id_option

function recordfail {
  set recordfail=1
  if [ -n "${have_grubenv}" ]; then if [ -z "${boot_once}" ]; then save_env recordfail; fi; fi
}
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
    insmod efi_uga
    insmod ieee1275_fb
    insmod vbe
    insmod vga
    insmod video_bochs
    insmod video_cirrus
  fi
}

terminal_input console
terminal_output console
if [ "${recordfail}" = 1 ] ; then
  set timeout=0
else
  if [ x$feature_timeout_style = xy ] ; then
    set timeout_style=hidden
    set timeout=0
  # Fallback hidden-timeout code in case the timeout_style feature is
  # unavailable.
  elif sleep --interruptible 0 ; then
    set timeout=0
  fi
fi
### END /etc/grub.d/00_header ###
`

const grubLoad = `insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	insmod part_gpt
	insmod ext2
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root  @UUID@
	else
	  search --no-floppy --fs-uuid --set=root @UUID@
	fi`

const grubEntries = `
### BEGIN /etc/grub.d/10_linux ###
function gfxmode {
	set gfxpayload="${1}"
	if [ "${1}" = "keep" ]; then
		set vt_handoff=vt.handoff=1
	else
		set vt_handoff=
	fi
}
if [ "${recordfail}" != 1 ]; then
  set linux_gfx_mode=text
else
  set linux_gfx_mode=text
fi
export linux_gfx_mode
menuentry 'Ubuntu' --class ubuntu --class gnu-linux --class gnu --class os $menuentry_id_option 'gnulinux-simple-@UUID@' {
	recordfail
	load_video
	gfxmode $linux_gfx_mode
	@LOAD@
	linux	/boot/vmlinuz-@VERSION@ @ROOT@ ro  console=tty1 console=ttyS0
	initrd	/boot/initrd.img-@VERSION@
}
submenu 'Advanced options for Ubuntu' $menuentry_id_option 'gnulinux-advanced-@UUID@' {
	menuentry 'Ubuntu, with Linux @VERSION@' --class ubuntu --class gnu-linux --class gnu --class os $menuentry_id_option 'gnulinux-@VERSION@-advanced-@UUID@' {
		recordfail
		load_video
		gfxmode $linux_gfx_mode
		@LOAD@
		echo	'Loading Linux @VERSION@ ...'
		linux	/boot/vmlinuz-@VERSION@ @ROOT@ ro  console=tty1 console=ttyS0
		echo	'Loading initial ramdisk ...'
		initrd	/boot/initrd.img-@VERSION@
	}
	menuentry 'Ubuntu, with Linux @VERSION@ (recovery mode)' --class ubuntu --class gnu-linux --class gnu --class os $menuentry_id_option 'gnulinux-@VERSION@-recovery-@UUID@' {
		recordfail
		load_video
		@LOAD@
		echo	'Loading Linux @VERSION@ ...'
		linux	/boot/vmlinuz-@VERSION@ @ROOT@ ro recovery nomodeset 
		echo	'Loading initial ramdisk ...'
		initrd	/boot/initrd.img-@VERSION@
	}
}
### END /etc/grub.d/10_linux ###

### BEGIN /etc/grub.d/30_uefi-firmware ###
### END /etc/grub.d/30_uefi-firmware ###

### BEGIN /etc/grub.d/40_custom ###
### END /etc/grub.d/40_custom ###

### BEGIN /etc/grub.d/41_custom ###
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg;
fi
### END /etc/grub.d/41_custom ###
`
