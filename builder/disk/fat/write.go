package fat

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/edgebake/edgebake/builder/tree"
)

// Write makes a volume that holds t. w must read as zeros (a fresh sparse file): only what is
// not zero is written. Contents come from src. Faults: *TooSmallError, and names or types that
// FAT can't hold.
func Write(ctx context.Context, w io.WriterAt, t tree.Tree, src *tree.Reader, o Options) error {
	if err := checkLabel(o.Label); err != nil {
		return err
	}
	size, err := o.clusterSize()
	if err != nil {
		return err
	}
	p, err := newPlan(t, o, size)
	if err != nil {
		return err
	}
	g, err := o.layout(p.root.slots)
	if err != nil {
		return err
	}
	if err := p.place(g); err != nil {
		return err
	}
	v := volume{w: w, g: g, o: o, p: p}
	for _, step := range []func() error{v.writeBoot, v.writeFATs, v.writeDirs} {
		if err := step(); err != nil {
			return fmt.Errorf("writing FAT %q: %w", o.Label, err)
		}
	}
	return v.writeFiles(ctx, src)
}

func checkLabel(label string) error {
	if len(label) > len(shortName{}) {
		return fmt.Errorf("writing FAT: label %q has %d characters: FAT allows 11", label, len(label))
	}
	for _, c := range []byte(label) {
		if c < 0x20 || c > 0x7e || strings.IndexByte(`"*+,./:;<=>?[\]|`, c) >= 0 {
			return fmt.Errorf("writing FAT: label %q holds %q, which FAT forbids", label, c)
		}
	}
	return nil
}

type volume struct {
	w io.WriterAt
	g geometry
	o Options
	p *plan
}

func (v *volume) label() []byte {
	name := v.o.Label
	if name == "" {
		name = "NO NAME"
	}
	return fmt.Appendf(nil, "%-11s", name)
}

// bootSector is the BIOS parameter block. Its code is one endless loop: BIOS never starts it.
func (v *volume) bootSector() []byte {
	b, le, g := make([]byte, sectorSize), binary.LittleEndian, v.g
	copy(b, "\xeb\x58\x90mkfs.fat")
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(g.perCluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = byte(g.fats)
	le.PutUint16(b[17:], uint16(g.rootSlotCount))
	b[21] = fixedDisk
	le.PutUint16(b[24:], 32)
	le.PutUint16(b[26:], 16)
	if g.bits == 16 && g.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(g.sectors))
	} else {
		le.PutUint32(b[32:], uint32(g.sectors))
	}
	ext := b[36:] // drive number, signature, serial, label, type
	if g.bits == 16 {
		b[1] = 0x3c
		le.PutUint16(b[22:], uint16(g.fatSectors))
	} else {
		le.PutUint32(b[36:], uint32(g.fatSectors))
		le.PutUint32(b[44:], uint32(v.p.root.first))
		le.PutUint16(b[48:], infoSector)
		le.PutUint16(b[50:], backupSector)
		ext = b[64:]
	}
	ext[0], ext[2] = 0x80, 0x29
	le.PutUint32(ext[3:], v.o.VolumeID)
	copy(ext[7:], v.label())
	copy(ext[18:], fmt.Sprintf("FAT%d   ", g.bits))
	copy(ext[26:], "\xeb\xfe")
	copy(b[510:], "\x55\xaa")
	return b
}

func (v *volume) infoSector() []byte {
	b, le := make([]byte, sectorSize), binary.LittleEndian
	used := v.p.clusters(v.g.bits)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(v.g.clusters-used))
	le.PutUint32(b[492:], uint32(used+1)) // the last cluster in use
	copy(b[508:], "\x00\x00\x55\xaa")
	return b
}

func (v *volume) writeBoot() error {
	if v.o.Reserved != nil {
		return v.writeReserved()
	}
	boot := v.bootSector()
	if _, err := v.w.WriteAt(boot, 0); err != nil || v.g.bits == 16 {
		return err
	}
	both := append(boot, v.infoSector()...)
	if _, err := v.w.WriteAt(both, 0); err != nil {
		return err
	}
	_, err := v.w.WriteAt(both, backupSector*sectorSize)
	return err
}

const fixedDisk = 0xf8

func (v *volume) media() byte {
	if v.o.Reserved != nil {
		return v.o.Reserved[21]
	}
	return fixedDisk
}

// writeFATs writes all copies: every allocation is one run of clusters in ascending order.
func (v *volume) writeFATs() error {
	for i := range v.g.fats {
		at := (v.g.reserved + i*v.g.fatSectors) * sectorSize
		buf := bufio.NewWriterSize(io.NewOffsetWriter(v.w, at), 64<<10)
		v.fatEntry(buf, 0x0fffff00|uint32(v.media()))
		v.fatEntry(buf, 0x0fffffff)
		for _, list := range [][]*item{v.p.dirs, v.p.files} {
			for _, it := range list {
				for n := int64(1); n < it.count; n++ {
					v.fatEntry(buf, uint32(it.first+n))
				}
				if it.count > 0 {
					v.fatEntry(buf, 0x0fffffff)
				}
			}
		}
		if err := buf.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) fatEntry(w *bufio.Writer, value uint32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], value)
	if v.g.bits == 16 {
		binary.LittleEndian.PutUint16(b[:], uint16(value))
	}
	_, _ = w.Write(b[:v.g.bits/8]) // bufio keeps the fault for Flush
}

func (v *volume) writeDirs() error {
	for _, d := range v.p.dirs {
		at := v.g.rootStart() * sectorSize
		if d.first != 0 {
			at = v.g.offset(d.first)
		}
		if _, err := v.w.WriteAt(v.directory(d), at); err != nil {
			return err
		}
	}
	return nil
}

const (
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLong      = 0x0f
	lastLong      = 0x40
)

func (v *volume) directory(d *item) []byte {
	var b []byte
	if d.parent == nil {
		if v.o.Label != "" {
			b = appendShort(b, shortName(v.label()), attrVolume, v.o.Time, 0, 0)
		}
	} else {
		b = appendShort(b, pad(".", ""), attrDirectory, d.entry.MTime, d.first, 0)
		up := d.parent.first
		if d.parent.parent == nil {
			up = 0 // the root is cluster 0 here, whatever its number
		}
		b = appendShort(b, pad("..", ""), attrDirectory, d.parent.entry.MTime, up, 0)
	}
	for _, c := range d.children {
		if c.long {
			b = appendLong(b, c.name, c.short.checksum())
		}
		attr, size := byte(attrArchive), c.entry.Content.Size
		if c.isDir() {
			attr, size = attrDirectory, 0
		}
		b = appendShort(b, c.short, attr, c.entry.MTime, c.first, size)
	}
	return b
}

func appendShort(b []byte, name shortName, attr byte, t tree.Time, first, size int64) []byte {
	le := binary.LittleEndian
	var e [entrySize]byte
	copy(e[:], name[:])
	e[11] = attr
	date, clock := stamp(t)
	for _, at := range []int{14, 22} { // created, written
		le.PutUint16(e[at:], clock)
		le.PutUint16(e[at+2:], date)
	}
	le.PutUint16(e[18:], date) // read
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], uint32(size))
	return append(b, e[:]...)
}

// appendLong writes the entries of a long name, the last part first.
func appendLong(b []byte, name string, sum byte) []byte {
	units := utf16.Encode([]rune(name))
	n := int(ceil(int64(len(units)), unitsPerSlot))
	if len(units) < n*unitsPerSlot {
		units = append(units, 0)
	}
	for len(units) < n*unitsPerSlot {
		units = append(units, 0xffff)
	}
	for i := n; i > 0; i-- {
		var e [entrySize]byte
		e[0], e[11], e[13] = byte(i), attrLong, sum
		if i == n {
			e[0] |= lastLong
		}
		for k, at := range unitOffsets() {
			binary.LittleEndian.PutUint16(e[at:], units[(i-1)*unitsPerSlot+k])
		}
		b = append(b, e[:]...)
	}
	return b
}

// unitOffsets are the places of a long name's characters in an entry.
func unitOffsets() [unitsPerSlot]int {
	return [unitsPerSlot]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
}

// stamp converts to FAT's date and time in UTC; what is out of range becomes its end.
func stamp(t tree.Time) (date, clock uint16) {
	const first, last = 315532800, 4354819198 // 1980-01-01, 2107-12-31T23:59:58
	u := time.Unix(min(max(t.Sec, first), last), 0).UTC()
	date = uint16((u.Year()-1980)<<9 | int(u.Month())<<5 | u.Day())
	clock = uint16(u.Hour()<<11 | u.Minute()<<5 | u.Second()/2)
	return date, clock
}

func (v *volume) writeFiles(ctx context.Context, src *tree.Reader) error {
	buf := make([]byte, 256<<10)
	for _, it := range v.p.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if it.count == 0 {
			continue
		}
		r, err := src.Open(it.entry.Content)
		if err != nil {
			return fmt.Errorf("writing FAT %q: %s: %w", v.o.Label, it.entry.Path, err)
		}
		out := io.NewOffsetWriter(v.w, v.g.offset(it.first))
		n, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{io.LimitReader(r, it.entry.Content.Size)}, buf)
		if err == nil && n != it.entry.Content.Size {
			err = fmt.Errorf("%d bytes came and %d were announced", n, it.entry.Content.Size)
		}
		if err != nil {
			return fmt.Errorf("writing FAT %q: %s: %w", v.o.Label, it.entry.Path, err)
		}
	}
	return nil
}
