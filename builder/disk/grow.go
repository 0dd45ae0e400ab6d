package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/edgebake/edgebake/builder/image"
)

// grow makes the disk size bytes large and gives what is new to the partition that is last.
func (r *rebase) grow(ctx context.Context, p *Plan, size int64) error {
	if len(p.Partitions) == 0 {
		return errors.New("the base has no partition that could be enlarged")
	}
	last := &p.Partitions[0]
	for i := range p.Partitions {
		if p.Partitions[i].Start > last.Start {
			last = &p.Partitions[i]
		}
	}
	end, err := r.newEnd(last, size)
	if err != nil {
		return err
	}
	if end == last.Start+last.Size && size == p.Size {
		return nil
	}
	if last.FS == None {
		return fmt.Errorf("partition %d is the last on the disk and holds no file system that can be enlarged (type %s): leave out disk.size", last.Number, last.Type)
	}
	old := *last
	last.Size, last.kept, p.Size = end-last.Start, false, size
	switch p.Table {
	case GPT:
		return r.growGPT(old, end, size)
	case MBR:
		return r.growMBR(old, end, size)
	}
	return nil
}

const (
	// maxSpare is what may be left behind the last partition on purpose; where there is more, the
	// image was enlarged and waits for its partition to follow.
	maxSpare = alignment
	// usualSpare is what ubuntu-image leaves: room for a backup GPT.
	usualSpare = 34 * sector
)

// newEnd is the byte behind the last partition of a disk of size bytes.
func (r *rebase) newEnd(last *Partition, size int64) (int64, error) {
	end := last.Start + last.Size
	spare := r.base.Size() - end
	if spare > maxSpare {
		spare = usualSpare
	}
	if g, ok := r.base.GPT(); ok {
		spare = (1 + entrySectors(g)) * sector
	}
	if size-spare < end {
		return 0, &SizeError{Need: end + spare, Have: size}
	}
	return size - spare, nil
}

func entrySectors(g image.GPT) int64 { return (int64(len(g.Entries)) + sector - 1) / sector }

// growMBR changes the length of one entry; the sectors behind the last partition stay there.
func (r *rebase) growMBR(old Partition, end, size int64) error {
	if size/sector > 1<<32-1 {
		return fmt.Errorf("%d bytes are more than an MBR can address (2 TiB)", size)
	}
	mbr := make([]byte, sector)
	if _, err := r.base.ReadAt(mbr, 0); err != nil {
		return fmt.Errorf("reading MBR: %w", err)
	}
	putLength(mbr[446+16*(old.Number-1):], old.Start, end)
	r.kept.patches = append(r.kept.patches, patch{0, mbr})
	if spare := size - end; spare > 0 {
		r.kept.regions = append(r.kept.regions, region{r.base.Size() - spare, end, spare})
	}
	return nil
}

func putLength(entry []byte, start, end int64) {
	putCHS(entry[5:], end/sector-1)
	binary.LittleEndian.PutUint32(entry[12:], uint32((end-start)/sector))
}

// growGPT changes the last sector of one entry and writes both headers: the backup goes to the
// new end, with its entries before it (UEFI 2.10, section 5.3.2).
func (r *rebase) growGPT(old Partition, end, size int64) error {
	g, _ := r.base.GPT()
	le := binary.LittleEndian
	entries := bytes.Clone(g.Entries)
	le.PutUint64(entries[(old.Number-1)*g.EntrySize+40:], uint64(end/sector-1))
	r.putGPT(g, entries, size)
	return r.growProtection(old, end, size)
}

// repairGPT writes both headers anew when the first one is damaged: Linux does not look for the other.
func (r *rebase) repairGPT(size int64) {
	if g, ok := r.base.GPT(); ok && !g.Primary && len(r.kept.patches) == 0 {
		r.putGPT(g, g.Entries, size)
	}
}

// putGPT writes entries and both headers for a disk of size bytes.
func (r *rebase) putGPT(g image.GPT, entries []byte, size int64) {
	le := binary.LittleEndian
	last, table := size/sector-1, entrySectors(g)
	primaryAt := int64(2)
	if g.Primary {
		primaryAt = int64(le.Uint64(g.Header[72:]))
	}
	for _, at := range []struct{ own, other, entries int64 }{{1, last, primaryAt}, {last, 1, last - table}} {
		h := bytes.Clone(g.Header)
		le.PutUint64(h[24:], uint64(at.own))
		le.PutUint64(h[32:], uint64(at.other))
		le.PutUint64(h[48:], uint64(last-table-1)) // last usable
		le.PutUint64(h[72:], uint64(at.entries))
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], 0)
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:le.Uint32(h[12:])]))
		r.kept.patches = append(r.kept.patches, patch{at.own * sector, h}, patch{at.entries * sector, entries})
	}
}

// growProtection lets the MBR before a GPT cover the new disk. In a hybrid one the entry of the
// partition that grew is changed, and that of type 0xee is left alone.
func (r *rebase) growProtection(old Partition, end, size int64) error {
	mbr := make([]byte, sector)
	if _, err := r.base.ReadAt(mbr, 0); err != nil {
		return fmt.Errorf("reading MBR: %w", err)
	}
	le := binary.LittleEndian
	others := 0
	for i := range maxMBR {
		e := mbr[446+16*i:][:16]
		if e[4] == 0 || e[4] == 0xee {
			continue
		}
		others++
		if int64(le.Uint32(e[8:]))*sector == old.Start && end/sector <= 1<<32-1 {
			putLength(e, old.Start, end)
		}
	}
	for i := range maxMBR {
		e := mbr[446+16*i:][:16]
		if e[4] == 0xee && others == 0 && le.Uint32(e[8:]) == 1 {
			le.PutUint32(e[12:], uint32(min(size/sector-1, 1<<32-1)))
		}
	}
	r.kept.patches = append(r.kept.patches, patch{0, mbr})
	return nil
}

// writeData writes the parts of p that are not zeros, in pieces of a block.
func writeData(w io.WriterAt, p []byte, at int64) error {
	const block = 4096
	zero := make([]byte, block)
	for start := 0; start < len(p); {
		end := start
		for end < len(p) && !bytes.Equal(p[end:min(end+block, len(p))], zero[:min(block, len(p)-end)]) {
			end = min(end+block, len(p))
		}
		if end > start {
			if _, err := w.WriteAt(p[start:end], at+int64(start)); err != nil {
				return fmt.Errorf("copying base image: %w", err)
			}
		}
		start = end + block
	}
	return nil
}
