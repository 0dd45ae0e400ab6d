package standin

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

const (
	// cmdline3 is of the gadget's branch 18-arm64, cmdline5 of its branch classic.
	cmdline3 = "net.ifnames=0 dwc_otg.lpm_enable=0 console=serial0,115200 console=tty1 root=LABEL=writable rootfstype=ext4 elevator=deadline rootwait fixrtc\n"
	cmdline5 = "elevator=deadline net.ifnames=0 console=serial0,115200 dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc quiet splash\n"
)

// texts are the files of the FAT that people read.
func (p Pi) texts() map[string]string {
	t := map[string]string{
		"README": piReadme, "config.txt": config5, "syscfg.txt": syscfg, "usercfg.txt": usercfg, "cmdline.txt": cmdline5,
		"user-data": piUserData, "meta-data": piMetaData, "network-config": piNetwork,
	}
	if p.Point == "20.04.3" {
		t["cmdline.txt"], t["config.txt"] = cmdline3, config3
	}
	return t
}

const piReadme = `An overview of the files on the /boot/firmware partition (the 1st partition
on the SD card) used by the Ubuntu boot process (roughly in order) is as follows:

* bootcode.bin   - the second stage bootloader loaded by all Pis with the
                   exception of the Pi 4
* config.txt     - the configuration file read by the boot process
* syscfg.txt     - the file in which system modified configuration will be placed
* usercfg.txt    - the file in which user modified configuration should be placed
* start*.elf     - the third stage bootloader, which handles device-tree
                   modification and loading of
* uboot_rpi_*.bin - the u-boot binary
* boot.scr       - the boot script executed by uboot_rpi_*.bin to start
* vmlinuz        - the Linux kernel, executed with
* cmdline.txt    - the Linux kernel command line
* initrd.img     - the initramfs executed by the kernel

These files are a stand-in for tests: kernel, device trees and firmware are Debian's, the
overlays are empty, and uboot_rpi_*.bin hold a line of text instead of U-Boot.
`

const config5 = `[pi4]
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
# Enable the audio output, I2C and SPI interfaces on the GPIO header
dtparam=audio=on
dtparam=i2c_arm=on
dtparam=spi=on

# If the image on your screen is surrounded by black borders, remove this
disable_overscan=1

# Config settings specific to arm64
arm_64bit=1
dtoverlay=dwc2

[cm4]
# Enable the USB2 outputs on the IO board (assuming your CM4 is plugged into
# such a board)
dtoverlay=dwc2,dr_mode=host

[all]
# The following settings are "defaults" expected to be overridden by the
# included configuration. The only reason they are included is, again, to
# support old firmwares which don't understand the "include" command.

enable_uart=1
cmdline=cmdline.txt

include syscfg.txt
include usercfg.txt
`

const config3 = `# Please DO NOT modify this file; if you need to modify the boot config, the
# "usercfg.txt" file is the place to include user changes. Please refer to
# the README file for a description of the various configuration files on
# the boot partition.

# The unusual ordering below is deliberate; older firmwares (in particular the
# version initially shipped with bionic) don't understand the conditional
# [sections] below and simply ignore them. The Pi4 doesn't boot at all with
# firmwares this old so it's safe to place at the top. Of the Pi2 and Pi3, the
# Pi3 uboot happens to work happily on the Pi2, so it needs to go at the bottom
# to support old firmwares.

[pi4]
kernel=uboot_rpi_4.bin
max_framebuffers=2

[pi2]
kernel=uboot_rpi_2.bin

[pi3]
kernel=uboot_rpi_3.bin

[all]
arm_64bit=1
device_tree_address=0x03000000

# The following settings are "defaults" expected to be overridden by the
# included configuration. The only reason they are included is, again, to
# support old firmwares which don't understand the "include" command.

enable_uart=1
cmdline=cmdline.txt

include syscfg.txt
include usercfg.txt
`

const syscfg = `# This file is intended to be modified by the pibootctl utility. User
# configuration changes should be placed in "usercfg.txt". Please refer to the
# README file for a description of the various configuration files on the boot
# partition.

enable_uart=1
dtparam=audio=on
dtparam=i2c_arm=on
dtparam=spi=on
cmdline=cmdline.txt
`

const usercfg = `# Place "config.txt" changes (dtparam, dtoverlay, disable_overscan, etc.) in
# this file. Please refer to the README file for a description of the various
# configuration files on the boot partition.
`

const piUserData = `#cloud-config

# This is the user-data configuration file for cloud-init. By default this sets
# up an initial user called "ubuntu" with password "ubuntu", which must be
# changed at first login. However, many additional actions can be initiated on
# first boot from this file. The cloud-init documentation has more details:
#
# https://cloudinit.readthedocs.io/

# On first boot, set the (default) ubuntu user's password to "ubuntu" and
# expire user passwords
chpasswd:
  expire: true
  list:
  - ubuntu:ubuntu

# Enable password authentication with the SSH daemon
ssh_pwauth: true

## Update apt database and upgrade packages on first boot
#package_update: true
#package_upgrade: true
`

// piMetaData has the key with an underscore, which cloud-init does not read.
const piMetaData = `# This is the meta-data configuration file for cloud-init. Ordinarily, you
# should have no need to modify this file.
instance_id: cloud-image
`

const piNetwork = `# This file contains a netplan-compatible configuration which cloud-init
# will apply on first-boot. Please refer to the cloud-init documentation and
# the netplan reference for full details:

version: 2
ethernets:
  eth0:
    dhcp4: true
    optional: true
#wifis:
#  wlan0:
#    dhcp4: true
#    optional: true
#    access-points:
#      myhomewifi:
#        password: "S3kr1t"
`

// bootScript is U-Boot's legacy image of a script: a header of 64 bytes with two CRC-32 (U-Boot,
// include/image.h), then the length of the script, a zero, and the script.
func bootScript() []byte {
	script := []byte(`# This is a boot script for U-Boot, of a stand-in for tests
fdt addr ${fdt_addr} && fdt get value bootargs /chosen bootargs
load ${devtype} ${devnum}:${partition} ${kernel_addr_r} vmlinuz
unzip ${kernel_addr_r} ${fdt_addr_r}
load ${devtype} ${devnum}:${partition} ${ramdisk_addr_r} initrd.img
booti ${fdt_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr}
`)
	body := binary.BigEndian.AppendUint32(nil, uint32(len(script)))
	body = append(append(body, 0, 0, 0, 0), script...)
	h := make([]byte, 64)
	binary.BigEndian.PutUint32(h, 0x27051956)
	binary.BigEndian.PutUint32(h[12:], uint32(len(body)))
	binary.BigEndian.PutUint32(h[24:], crc32.ChecksumIEEE(body))
	h[28], h[29], h[30], h[31] = 5, 22, 6, 0 // Linux, arm64, script, not compressed
	copy(h[32:], "Ubuntu boot script")
	binary.BigEndian.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, body...)
}

// emptyDeviceTree is a flattened device tree with a root node and nothing in it (Devicetree
// Specification 0.4, chapter 5).
func emptyDeviceTree() []byte {
	words := []uint32{
		0xd00dfeed, 72, 56, 72, 40, 17, 16, 0, 0, 16, // header: sizes and places
		0, 0, 0, 0, // no reserved memory
		1, 0, 2, 9, // begin node "", end node, end
	}
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// identifier is a UUID that a word stands for.
func identifier(word string) [16]byte {
	sum := sha256.Sum256([]byte("stand-in " + word))
	u := [16]byte(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}
