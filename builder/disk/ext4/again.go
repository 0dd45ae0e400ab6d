package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// DamagedError says that the kernel or e2fsck found faults in a file system.
type DamagedError struct{ Label string }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("reading ext4 %q: it is marked as having errors: run e2fsck -f on it, or take an image that is whole", e.Label)
}

// Intact returns a *DamagedError when faults were found in the file system and not repaired.
func (f *FS) Intact() error {
	if f.u16(0x3A)&2 != 0 {
		return &DamagedError{Label: f.label()}
	}
	return nil
}

// Again returns the Options with which Write makes this file system anew in size bytes, with
// other contents: UUID, label, hash seed, kind of checksums, reserved blocks, density of inodes,
// how far it can be grown, and settings stay. Blocks become 4096 bytes, inodes 256, and features
// those that Write writes. now is the time of the new file system.
func (f *FS) Again(size int64, now tree.Time) Options {
	i := f.Info()
	o := Options{Size: size, Label: i.Label, UUID: i.UUID, HashSeed: i.HashSeed, Time: now, Checksums: i.Checksums, Super: f.settings()}
	if o.Checksums == NoChecksums {
		o.Checksums = UninitBG
	}
	o.ReservedPercent = -1
	if i.ReservedBlocks > 0 { // half a block more, so that rounding down gives the same number
		o.ReservedPercent = (float64(i.ReservedBlocks) + 0.5) / float64(i.Blocks) * 100
	}
	if f.compat&compatHasJournal == 0 {
		o.JournalSize = -1
	}
	if f.bs != blockSize || f.groupSize != blocksPerGroup {
		o.BytesPerInode = max(i.Blocks*f.bs/max(i.Inodes, 1), 1024)
		return o
	}
	o.InodesPerGroup = int(f.perGroup)
	if f.descLen == descSize && f.compat&compatResizeInode != 0 {
		blocks := ceilDiv(f.groups, descsPerBlock) + int64(i.ReservedDescriptors)
		o.MaxResize = blocks * descsPerBlock * blocksPerGroup * blockSize
	}
	return o
}

func (f *FS) settings() *Super {
	text, _, _ := bytes.Cut(f.raw[0x200:0x23F], []byte{0})
	return &Super{
		MountOptions: binary.LittleEndian.Uint32(f.raw[0x100:]), Errors: uint16(f.u16(0x3C)),
		MaxMounts: uint16(f.u16(0x36)), CheckInterval: uint32(f.u32(0x44)), MountText: string(text),
	}
}
