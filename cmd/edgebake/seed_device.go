package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// machine is where the kernel says what its disks are used for.
type machine struct{ sys, proc string }

func thisMachine() machine { return machine{"/sys", "/proc"} }

// maxCard bounds what is taken for a card: SDXC ends at 2 TB.
const maxCard = 2_000_000_000_000

func inUse(path, why string) error {
	return &refusedError{fmt.Sprintf("applying a seed to %s: it is in use: %s", path, why), "end the virtual machine or unmount what is on it (umount), then run the same command again"}
}

// mayWrite refuses a device that is in use or does not look like a card. What is in use is refused always.
func (m machine) mayWrite(path string, info fs.FileInfo, force bool) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("applying a seed to %s: its device number is unknown", path)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	d, err := m.disk(number)
	if err != nil {
		return &refusedError{fmt.Sprintf("applying a seed to %s: %s", path, err), "name the device of a card: lsblk"}
	}
	return m.judge(path, d, force)
}

// blockDisk is a whole disk as /sys has it.
type blockDisk struct {
	dir       string
	size      int64             // bytes
	removable bool              // or an SD card in a reader that does not say so
	readOnly  bool              //
	parts     map[string]string // major:minor to the name, of the disk and its partitions
	held      string            // by whom, when a mapper or a RAID uses it
}

// disk finds the whole disk of a device, or of a partition.
func (m machine) disk(number string) (blockDisk, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(m.sys, "dev", "block", number))
	if err != nil {
		return blockDisk{}, fmt.Errorf("the kernel does not know it: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	d := blockDisk{dir: dir, parts: map[string]string{}}
	sectors, err := strconv.ParseInt(attribute(dir, "size"), 10, 64)
	if err != nil {
		return d, fmt.Errorf("reading its size: %w", err)
	}
	d.size = sectors * 512 // the unit of /sys, whatever the disk has
	d.removable = attribute(dir, "removable") == "1" || attribute(dir, "device/type") == "SD"
	d.readOnly = attribute(dir, "ro") == "1"
	below, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if err != nil {
		return d, err
	}
	for _, p := range append(below, filepath.Join(dir, "partition")) {
		part := filepath.Dir(p)
		d.parts[attribute(part, "dev")] = filepath.Base(part)
		if holders, _ := os.ReadDir(filepath.Join(part, "holders")); len(holders) > 0 { // no directory, no holders
			d.held = holders[0].Name()
		}
	}
	return d, nil
}

func attribute(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (m machine) judge(path string, d blockDisk, force bool) error {
	if where, err := m.mounted(d); err != nil || where != "" {
		if err != nil {
			where = err.Error() // not knowing is no reason to write
		}
		return inUse(path, where)
	}
	refuse := func(remedy, format string, args ...any) error {
		return &refusedError{fmt.Sprintf("applying a seed to %s: "+format, append([]any{path}, args...)...), remedy}
	}
	switch {
	case d.held != "":
		return inUse(path, "it is part of "+d.held)
	case d.readOnly:
		return refuse("open the lock on the side of the card", "it is write-protected")
	case d.size > maxCard:
		return refuse("name the device of a card: lsblk", "it has %d bytes, and no card has more than %d", d.size, int64(maxCard))
	case !d.removable && !force:
		return refuse("look at lsblk; if it is a card all the same: --force", "it is not removable, so it may be a disk of this machine")
	}
	return nil
}

// mounted says what of a disk is mounted or used for swapping.
func (m machine) mounted(d blockDisk) (string, error) {
	mounts, err := os.ReadFile(filepath.Join(m.proc, "self", "mountinfo"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		// 36 35 98:0 /root /dir rw - ext4 /dev/sda1 rw: proc(5)
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		name, ours := d.parts[f[2]]
		if !ours {
			name, ours = d.named(f[min(slices.Index(f, "-")+2, len(f)-1)]) // btrfs has numbers of its own
		}
		if ours {
			return fmt.Sprintf("%s is mounted at %s", name, f[4]), nil
		}
	}
	swaps, err := os.ReadFile(filepath.Join(m.proc, "swaps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return "", err
	}
	for line := range strings.Lines(string(swaps)) {
		if f := strings.Fields(line); len(f) > 0 {
			if name, ours := d.named(f[0]); ours {
				return name + " is used for swapping", nil
			}
		}
	}
	return "", nil
}

// named knows /dev/NAME of the disk and its partitions.
func (d blockDisk) named(device string) (string, bool) {
	name, found := strings.CutPrefix(device, "/dev/")
	for _, own := range d.parts {
		if found && own == name {
			return name, true
		}
	}
	return "", false
}

// fileInUse refuses an image that is a loop device.
func (m machine) fileInUse(path string) error {
	whole, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("applying a seed: %w", err)
	}
	if whole, err = filepath.Abs(whole); err != nil {
		return fmt.Errorf("applying a seed: %w", err)
	}
	loops, err := filepath.Glob(filepath.Join(m.sys, "block", "loop*", "loop", "backing_file"))
	if err != nil {
		return fmt.Errorf("applying a seed: %w", err)
	}
	for _, l := range loops {
		if attribute(filepath.Dir(l), "backing_file") == whole {
			loop := filepath.Base(filepath.Dir(filepath.Dir(l)))
			return inUse(path, "it is the loop device "+loop+" (losetup -d /dev/"+loop+")")
		}
	}
	return nil
}
