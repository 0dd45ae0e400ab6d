// Package disk plans and assembles raw disk images.
//
// A Plan says where the partitions of an image are and what is in them. NewPlan makes one from a
// profile's layout and a tree; Assemble writes it to a file. A seed is 32 bytes from which every
// identifier (disk, partition, volume, hash seed) is derived by SHA-256 with a label, so that
// equal inputs give equal identifiers.
//
// Subset: 512-byte sectors; MBR with up to four primary partitions, GPT with up to 128. Partitions
// begin at multiples of 1 MiB, the first at 1 MiB.
//
// GPTs are written by go-diskfs. MBRs are not: go-diskfs 1.9.4 writes the 66 bytes from 446 on
// and has no way to set the disk identifier at 440 (Table.partitionTableUUID is only read), from
// which Linux makes PARTUUIDs.
package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

// The names that profiles use.
const (
	MBR = "mbr"
	GPT = "gpt"

	Linux    = "linux"
	ESP      = "esp"
	FAT      = "fat"
	BIOSBoot = "bios-boot"

	Ext4 = "ext4"
	VFAT = "vfat"
	None = "none"
)

const (
	sector    = 512
	alignment = 1 << 20
	// gptTail is the backup GPT at the end: 32 sectors of entries and the header.
	gptTail = 33 * sector
	maxMBR  = 4
	maxGPT  = 128
)

// Plan is a disk image to be. Sizes and places are in bytes.
type Plan struct {
	Size int64
	// Table is mbr or gpt.
	Table string
	// DiskID is the signature of an MBR, DiskGUID the identifier of a GPT.
	DiskID     uint32
	DiskGUID   [16]byte
	Partitions []Partition
	// Settled, when it is not nil, is told while the file is written that its first n bytes will not
	// change any more; in the end n is Size. The file's name is not the final one yet.
	Settled func(f *os.File, n int64) error

	kept *kept // of Rebase: what comes from the base image
}

// Partition is one partition of a Plan with its file system.
type Partition struct {
	// Number counts from 1.
	Number int
	// Label of the file system, Name of the partition (GPT only).
	Label, Name string
	Start, Size int64
	// Type is linux, esp, fat or bios-boot.
	Type string
	// FS is ext4, vfat or none; none leaves the partition as zeros.
	FS string
	// Bootable sets the active flag of an MBR's entry.
	Bootable bool
	// Mount is where the file system appears in the running system.
	Mount string
	Tree  tree.Tree
	// UUID of an ext4; a FAT's volume serial is its first four bytes, big endian.
	UUID [16]byte
	// PartUUID is the partition's own GUID (GPT only).
	PartUUID    [16]byte
	HashSeed    [16]byte
	ClusterSize int
	// Grow says that the first boot enlarges the partition.
	Grow bool
	Time tree.Time
	// NoDelayedAllocation makes nodelalloc a default mount option of an ext4 that is written.
	NoDelayedAllocation bool

	kept bool          // it is copied from the base image
	ext4 *ext4.Options // of Rebase: as the file system before, nil for the usual ones
	fat  *fat.Options
}

// Kept says that the partition is the base image's, byte for byte.
func (p Partition) Kept() bool { return p.kept }

// VolumeID is the serial number of a FAT.
func (p Partition) VolumeID() uint32 { return binary.BigEndian.Uint32(p.UUID[:]) }

// SizeError says that a layout does not fit on its disk.
type SizeError struct{ Need, Have int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("planning disk: the partitions need %d bytes and the disk has %d: raise disk.size by %d bytes", e.Need, e.Have, e.Need-e.Have)
}

// NewPlan lays out d. root is the whole file system of the image; what is below a partition's
// mount point goes to that partition, and the empty mount point stays in the one above. epoch is
// the time of the file systems in seconds since 1970.
func NewPlan(d profile.Disk, root tree.Tree, seed [32]byte, epoch int64) (Plan, error) {
	p := Plan{Size: int64(d.Size) / sector * sector, Table: d.Table, DiskGUID: uuid(seed, "disk")}
	id := derive(seed, "disk")
	p.DiskID = binary.LittleEndian.Uint32(id[:])
	at := int64(alignment)
	for i, from := range d.Partitions {
		part := newPartition(from, i+1, seed, epoch)
		part.Start = at
		if part.Size == 0 && i == len(d.Partitions)-1 {
			part.Size = p.end()/alignment*alignment - at
		}
		if part.Size <= 0 {
			return p, &SizeError{Need: at + alignment + p.tail(), Have: p.Size}
		}
		at = (part.Start + part.Size + alignment - 1) / alignment * alignment
		p.Partitions = append(p.Partitions, part)
	}
	if err := p.split(root); err != nil {
		return p, err
	}
	return p, p.check()
}

func newPartition(from profile.Partition, number int, seed [32]byte, epoch int64) Partition {
	id := fmt.Sprintf("%d:%s", number, from.Label)
	return Partition{
		Number: number, Label: from.Label, Name: from.Label, Size: int64(from.Size) / sector * sector,
		Type: from.Type, FS: from.FS, Bootable: from.Type == FAT, Mount: from.Mount,
		UUID: uuid(seed, "uuid:"+id), PartUUID: uuid(seed, "partuuid:"+id), HashSeed: uuid(seed, "hashseed:"+id),
		ClusterSize: int(from.ClusterSize), Grow: from.Grow, Time: tree.Time{Sec: epoch},
	}
}

// derive returns the identifier with this label.
func derive(seed [32]byte, label string) [32]byte {
	return sha256.Sum256(append(append(seed[:], 0), label...))
}

// uuid is derive in the form of a random UUID (RFC 9562, version 4).
func uuid(seed [32]byte, label string) [16]byte {
	sum := derive(seed, label)
	u := [16]byte(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

// FormatUUID writes a UUID as people and tools do.
func FormatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func (p Plan) tail() int64 {
	if p.Table == GPT {
		return gptTail
	}
	return 0
}

// end is the byte behind the last one that a partition may use.
func (p Plan) end() int64 { return p.Size - p.tail() }

// split gives each partition its part of the tree, the deepest mount points first.
func (p *Plan) split(root tree.Tree) error {
	order := make([]*Partition, 0, len(p.Partitions))
	for i := range p.Partitions {
		if strings.HasPrefix(p.Partitions[i].Mount, "/") {
			order = append(order, &p.Partitions[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *Partition) int {
		return strings.Count(b.Mount, "/") - strings.Count(a.Mount, "/") + len(b.Mount) - len(a.Mount)
	})
	for _, part := range order {
		if part.Mount == "/" {
			part.Tree = root
			continue
		}
		var err error
		if part.Tree, root, err = cut(root, strings.Trim(part.Mount, "/"), part.Time); err != nil {
			return fmt.Errorf("planning disk: mount point %s: %w", part.Mount, err)
		}
	}
	return nil
}

// cut takes what is in dir out of t; the directory itself stays, and is made when it is missing.
func cut(t tree.Tree, dir string, now tree.Time) (inside, outside tree.Tree, err error) {
	if e, ok := t.Lookup(dir); ok && e.Type != tree.Dir {
		return inside, outside, fmt.Errorf("%s is a %s in the tree and must be a directory", dir, e.Type)
	}
	inside = tree.Sub(t, dir)
	if inside.Len() == 0 {
		if inside, err = tree.NewBuilder(now).Tree(); err != nil {
			return inside, outside, err
		}
	}
	rest := tree.Filter(t, func(e tree.Entry) bool { return !strings.HasPrefix(e.Path, dir+"/") })
	if _, ok := rest.Lookup(dir); ok {
		return inside, rest, nil
	}
	outside, err = tree.With(rest, now, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755, MTime: now})
	return inside, outside, err
}

// check refuses plans that can't be written.
func (p Plan) check() error {
	if p.kept != nil { // Rebase checked it
		return nil
	}
	limit := maxGPT
	switch {
	case p.Table == MBR:
		limit = maxMBR
	case p.Table != GPT:
		return fmt.Errorf("planning disk: table is %q: use mbr or gpt", p.Table)
	}
	if len(p.Partitions) > limit {
		return fmt.Errorf("planning disk: %d partitions are too many for %s: it holds %d", len(p.Partitions), p.Table, limit)
	}
	if p.Table == MBR && p.Size/sector > 1<<32-1 {
		return fmt.Errorf("planning disk: %d bytes are more than an MBR can address (2 TiB): use gpt", p.Size)
	}
	at := int64(alignment)
	for _, part := range p.Partitions {
		if part.Start < at || part.Start%sector != 0 || part.Size <= 0 || part.Size%sector != 0 {
			return fmt.Errorf("planning disk: partition %d (%s) from byte %d, %d bytes long, overlaps or is not in whole sectors", part.Number, part.Label, part.Start, part.Size)
		}
		if _, err := p.typeOf(part); err != nil {
			return err
		}
		at = part.Start + part.Size
	}
	if at > p.end() {
		return &SizeError{Need: at + p.tail(), Have: p.Size}
	}
	return nil
}
