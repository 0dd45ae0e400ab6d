package disk

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// kept is what a Plan takes from a base image byte for byte.
type kept struct {
	blob    cas.Digest
	regions []region
	patches []patch
}

// region is length bytes of the base at from, which go to the image at to.
type region struct{ from, to, length int64 }

// patch is bytes that are written over the regions: a partition table that was changed.
type patch struct {
	at    int64
	bytes []byte
}

// Rebase plans an image that is base, byte for byte, but for the partitions whose trees are given
// anew, by number. These get a file system with the identity and the settings of the one before;
// everything else stays: tables, boot code, partition identifiers and attributes, partitions that
// nobody knows, the gaps between them.
//
// size is that of the new image in bytes. 0 keeps the base's, and its tables as they are. A larger
// one enlarges the partition that is physically last, which is then written anew whether its tree is
// given or not; a GPT's backup moves to the new end, and the sectors that an MBR image has behind
// its last partition are kept there. blob is the base in the store; contents of the trees may refer
// to it. epoch is the time of the new file systems in seconds since 1970. seed is for what a base
// does not have.
func Rebase(ctx context.Context, base *image.Image, blob cas.Digest, trees map[int]tree.Tree, size int64, seed [32]byte, epoch int64) (Plan, error) {
	r := rebase{base: base, trees: trees, seed: seed, now: tree.Time{Sec: epoch}, kept: &kept{blob: blob}}
	p, err := r.plan(ctx, size/sector*sector)
	if err != nil {
		return Plan{}, fmt.Errorf("planning disk over its base image: %w", err)
	}
	return p, nil
}

type rebase struct {
	base  *image.Image
	trees map[int]tree.Tree
	seed  [32]byte
	now   tree.Time
	kept  *kept
}

func (r *rebase) plan(ctx context.Context, size int64) (Plan, error) {
	p := Plan{Size: r.base.Size(), Table: r.base.Table(), kept: r.kept}
	if err := p.takeID(r.base.ID()); err != nil {
		return p, err
	}
	for _, from := range r.base.Partitions() {
		part, err := r.partition(ctx, from)
		if err != nil {
			return p, fmt.Errorf("partition %d: %w", from.Number, err)
		}
		p.Partitions = append(p.Partitions, part)
	}
	for number := range r.trees {
		if !slices.ContainsFunc(p.Partitions, func(x Partition) bool { return x.Number == number }) {
			return p, fmt.Errorf("there is a tree for partition %d, which the base does not have", number)
		}
	}
	switch {
	case size > 0 && size < p.Size:
		return p, fmt.Errorf("the base has %d bytes and disk.size says %d: a base can't be made smaller; give %d or more, or leave it out", p.Size, size, p.Size)
	case size > 0:
		if err := r.grow(ctx, &p, size); err != nil {
			return p, err
		}
	}
	r.repairGPT(p.Size)
	if err := p.checkKept(); err != nil {
		return p, err
	}
	r.keepRest(&p)
	return p, r.inherit(&p)
}

// takeID parses the identifier of the disk.
func (p *Plan) takeID(id string) error {
	switch p.Table {
	case MBR:
		n, err := strconv.ParseUint(id, 16, 32)
		p.DiskID = uint32(n)
		return err
	case GPT:
		return parseUUID(id, &p.DiskGUID)
	}
	return nil
}

func parseUUID(s string, out *[16]byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(out) {
		return fmt.Errorf("identifier %q is no UUID", s)
	}
	copy(out[:], b)
	return nil
}

// partition describes a partition of the base. Its tree is the given one, or what is there.
func (r *rebase) partition(ctx context.Context, from image.Partition) (Partition, error) {
	t, given := r.trees[from.Number]
	part := Partition{
		Number: from.Number, Label: from.Label, Name: from.Name, Start: from.Start, Size: from.Size,
		Type: from.Type, FS: cmp.Or(from.FS, None), Bootable: from.Bootable, Tree: t, Time: r.now, kept: !given,
	}
	if given && part.FS == None {
		return part, errors.New("a tree is given and it holds no file system that can be written")
	}
	if r.base.Table() == GPT {
		if err := parseUUID(from.PartUUID, &part.PartUUID); err != nil {
			return part, err
		}
	}
	var err error
	switch part.FS {
	case Ext4:
		err = parseUUID(from.UUID, &part.UUID)
	case VFAT:
		var serial uint64
		serial, err = strconv.ParseUint(strings.ReplaceAll(from.UUID, "-", ""), 16, 32)
		binary.BigEndian.PutUint32(part.UUID[:], uint32(serial))
	}
	if err == nil && part.kept && part.FS != None {
		part.Tree, err = r.base.Tree(ctx, from.Number)
	}
	return part, err
}

// inherit takes over settings of the file systems that are written anew.
func (r *rebase) inherit(p *Plan) error {
	for i := range p.Partitions {
		part := &p.Partitions[i]
		if part.kept {
			continue
		}
		from := r.from(part.Number)
		var err error
		switch part.FS {
		case Ext4:
			err = r.inheritExt4(part, from)
		case VFAT:
			err = r.inheritFAT(part, from)
		}
		if err != nil {
			return fmt.Errorf("partition %d: %w", part.Number, err)
		}
	}
	return nil
}

func (r *rebase) from(number int) image.Partition {
	for _, p := range r.base.Partitions() {
		if p.Number == number {
			return p
		}
	}
	return image.Partition{}
}

func (r *rebase) inheritExt4(part *Partition, from image.Partition) error {
	fs, err := ext4.Open(r.base.Section(from), from.Size)
	if err == nil {
		err = fs.Intact()
	}
	if err != nil {
		return err
	}
	o := fs.Again(part.Size, r.now)
	if o.HashSeed == [16]byte{} {
		o.HashSeed = uuid(r.seed, fmt.Sprintf("hashseed:%d:%s", part.Number, part.Label))
	}
	part.ext4 = &o
	part.HashSeed = o.HashSeed
	return nil
}

func (r *rebase) inheritFAT(part *Partition, from image.Partition) error {
	fs, err := fat.Open(r.base.Section(from), from.Size)
	if err != nil {
		return err
	}
	var size int64
	if part.Size != from.Size {
		size = part.Size
	}
	o, err := fs.Again(size, r.now)
	part.fat, part.ClusterSize = &o, o.ClusterSize
	return err
}

// checkKept refuses to write over what should stay.
func (p *Plan) checkKept() error {
	for i, a := range p.Partitions {
		for _, b := range p.Partitions[i+1:] {
			apart := a.Start+a.Size <= b.Start || b.Start+b.Size <= a.Start
			if !apart && (!a.kept || !b.kept) {
				return fmt.Errorf("partitions %d and %d of the base overlap, and one of them is to be written anew", a.Number, b.Number)
			}
		}
		if !a.kept && p.Table != "none" && a.Start < sector {
			return fmt.Errorf("partition %d begins on the partition table", a.Number)
		}
	}
	return nil
}

// keepRest makes regions of everything that is not written anew.
func (r *rebase) keepRest(p *Plan) {
	written := slices.DeleteFunc(slices.Clone(p.Partitions), func(x Partition) bool { return x.kept })
	slices.SortFunc(written, func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	at, end := int64(0), r.base.Size()
	for _, part := range written {
		if part.Start > at {
			r.kept.regions = append(r.kept.regions, region{at, at, part.Start - at})
		}
		at = part.Start + part.Size
	}
	if at < end {
		r.kept.regions = append(r.kept.regions, region{at, at, end - at})
	}
}

const copyPiece = 1 << 20

// write copies the regions, without their zeros, and then the patches.
func (k *kept) write(ctx context.Context, w io.WriterAt, src *tree.Reader, add func(int64)) error {
	blob, err := src.Blob(k.blob)
	if err != nil {
		return fmt.Errorf("reading base image: %w", err)
	}
	buf := make([]byte, copyPiece)
	for _, r := range k.regions {
		for done := int64(0); done < r.length; {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buf[:min(copyPiece, r.length-done)]
			if n, err := blob.ReadAt(part, r.from+done); n < len(part) {
				return fmt.Errorf("reading base image at byte %d: %w", r.from+done, err)
			}
			if err := writeData(w, part, r.to+done); err != nil {
				return err
			}
			done += int64(len(part))
			add(int64(len(part)))
		}
	}
	for _, p := range k.patches {
		if _, err := w.WriteAt(p.bytes, p.at); err != nil {
			return fmt.Errorf("writing partition table: %w", err)
		}
	}
	return nil
}
