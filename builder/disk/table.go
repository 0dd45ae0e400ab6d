package disk

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/edgebake/edgebake/builder/disk/fat"
)

// kind is a partition's type in both tables.
type kind struct {
	mbr byte
	gpt gpt.Type
}

func (p Plan) typeOf(part Partition) (kind, error) {
	switch part.Type {
	case Linux:
		return kind{0x83, gpt.LinuxFilesystem}, nil
	case ESP:
		return kind{0xef, gpt.EFISystemPartition}, nil
	case FAT:
		k := kind{0x0c, gpt.MicrosoftBasicData}
		if bits, err := fat.Bits(fatOptions(part)); err == nil && bits == 16 {
			k.mbr = 0x0e
		}
		return k, nil
	case BIOSBoot:
		if p.Table == GPT {
			return kind{gpt: gpt.BIOSBoot}, nil
		}
	}
	return kind{}, fmt.Errorf("planning disk: partition %d (%s) has type %q, which %s does not know: use linux, esp, fat, or bios-boot (gpt only)", part.Number, part.Label, part.Type, p.Table)
}

func (p Plan) writeTable(f *os.File) error {
	if p.Table == GPT {
		return p.writeGPT(f)
	}
	b, err := p.mbr()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("writing MBR: %w", err)
	}
	return nil
}

func (p Plan) mbr() ([]byte, error) {
	b := make([]byte, sector)
	binary.LittleEndian.PutUint32(b[440:], p.DiskID)
	for _, part := range p.Partitions {
		k, err := p.typeOf(part)
		if err != nil {
			return nil, err
		}
		e := b[446+16*(part.Number-1):]
		if part.Bootable {
			e[0] = 0x80
		}
		e[4] = k.mbr
		first, count := part.Start/sector, part.Size/sector
		putCHS(e[1:], first)
		putCHS(e[5:], first+count-1)
		binary.LittleEndian.PutUint32(e[8:], uint32(first))
		binary.LittleEndian.PutUint32(e[12:], uint32(count))
	}
	b[510], b[511] = 0x55, 0xaa
	return b, nil
}

// putCHS writes a sector's cylinder, head and sector for 255 heads and 63 sectors, or the largest
// one there is: nobody reads it, and sfdisk --verify warns about anything else.
func putCHS(b []byte, lba int64) {
	c, h, s := lba/(255*63), lba/63%255, lba%63+1
	if c > 1023 {
		c, h, s = 1023, 254, 63
	}
	b[0], b[1], b[2] = byte(h), byte(s)|byte(c>>8<<6), byte(c)
}

func (p Plan) writeGPT(f *os.File) error {
	t := gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, GUID: FormatUUID(p.DiskGUID)}
	for _, part := range p.Partitions {
		k, err := p.typeOf(part)
		if err != nil {
			return err
		}
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: part.Number, Type: k.gpt, Name: part.Name, GUID: FormatUUID(part.PartUUID),
			Start: uint64(part.Start / sector), End: uint64((part.Start+part.Size)/sector - 1), Size: uint64(part.Size),
		})
	}
	w := &noting{File: f}
	if err := t.Write(w, p.Size); err != nil {
		return fmt.Errorf("writing GPT: %w", cmp.Or(w.fault, err))
	}
	return nil
}

// noting keeps the fault of a write, of which go-diskfs only hands on the text: what to do depends on it. Whoever wants
// the image on the disk syncs all of it, so the parts of the table need not wait for that one by one.
type noting struct {
	*os.File
	fault error
}

func (n *noting) WriteAt(p []byte, at int64) (int, error) {
	done, err := n.File.WriteAt(p, at)
	if err != nil {
		n.fault = err
	}
	return done, err
}

func (n *noting) Sync() error { return nil }
