package main

import (
	"context"
	"strings"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// archOf knows the architecture by the machine, otherwise by the boot program in the image.
func archOf(ctx context.Context, path, machine string) (string, error) {
	switch machine {
	case "virt", "raspi3b", "raspi4b":
		return "arm64", nil
	case "q35", "pc":
		return "amd64", nil
	case "":
	default:
		return "", usagef("--machine %q is none of virt, raspi3b, raspi4b, q35 and pc", machine)
	}
	img, err := image.Open(path)
	if err != nil {
		return "", err
	}
	defer img.Close()
	var found []string
	for _, p := range img.Partitions() {
		if p.FS != "vfat" {
			continue
		}
		t, err := img.Tree(ctx, p.Number)
		if err != nil {
			return "", err
		}
		found = append(found, bootPrograms(t)...)
	}
	return judgeArch(path, found)
}

// bootPrograms are the architectures whose boot program is in a FAT: the names that UEFI looks for
// (UEFI specification, section 3.5.1.1), and the Raspberry Pi's configuration.
func bootPrograms(t tree.Tree) []string {
	archs := map[string]string{"efi/boot/bootx64.efi": "amd64", "efi/boot/bootaa64.efi": "arm64", "config.txt": "arm64"}
	var found []string
	for i := range t.Len() {
		if arch := archs[strings.ToLower(t.At(i).Path)]; arch != "" {
			found = append(found, arch)
		}
	}
	return found
}

func judgeArch(path string, found []string) (string, error) {
	const remedy = "; say which one with --machine (virt or raspi3b for arm64, q35 or pc for amd64)"
	if len(found) == 0 {
		return "", usagef("choosing a machine for %s: none of its FATs has EFI/BOOT/BOOTX64.EFI, EFI/BOOT/BOOTAA64.EFI or config.txt"+remedy, path)
	}
	for _, arch := range found {
		if arch != found[0] {
			return "", usagef("choosing a machine for %s: it has boot programs of %s and %s"+remedy, path, found[0], arch)
		}
	}
	return found[0], nil
}
