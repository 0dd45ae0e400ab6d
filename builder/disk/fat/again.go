package fat

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// Again returns the Options with which Write makes this volume anew with other contents in size
// bytes, 0 for the size that it has. Everything before the first FAT stays.
func (f *FS) Again(size int64, now tree.Time) (Options, error) {
	o := Options{Size: size, Label: f.info.Label, VolumeID: f.info.VolumeID, ClusterSize: f.info.ClusterSize, Time: now}
	if size == 0 {
		o.Size = f.info.Size
	}
	if f.info.Bits == 12 || f.sector != sectorSize {
		return o, fmt.Errorf("writing FAT %q anew: FAT%d with sectors of %d bytes is only read; FAT16 and FAT32 with 512 are written", o.Label, f.info.Bits, f.sector)
	}
	o.Reserved = make([]byte, f.fatStart)
	if _, err := f.r.ReadAt(o.Reserved, 0); err != nil {
		return o, fmt.Errorf("reading FAT %q: %w", o.Label, err)
	}
	return o, nil
}

// bpb is the geometry in a BIOS parameter block, in sectors.
type bpb struct {
	sectors, perCluster, reserved, fats, fatSectors, rootSlots int64
	is32                                                       bool
	info, backup                                               int64 // FAT32
}

func readBPB(b []byte) (bpb, error) {
	le := binary.LittleEndian
	if len(b) < sectorSize {
		return bpb{}, errors.New("writing FAT anew: there is no boot sector to keep")
	}
	p := bpb{
		sectors: int64(le.Uint16(b[19:])), perCluster: int64(b[13]), reserved: int64(le.Uint16(b[14:])),
		fats: int64(b[16]), fatSectors: int64(le.Uint16(b[22:])), rootSlots: int64(le.Uint16(b[17:])),
	}
	if p.sectors == 0 {
		p.sectors = int64(le.Uint32(b[32:]))
	}
	if p.fatSectors == 0 {
		p.is32, p.fatSectors = true, int64(le.Uint32(b[36:]))
		p.info, p.backup = int64(le.Uint16(b[48:])), int64(le.Uint16(b[50:]))
	}
	if p.perCluster == 0 || p.fats == 0 || p.reserved*sectorSize != int64(len(b)) {
		return p, fmt.Errorf("writing FAT anew: %d reserved sectors are kept and its boot sector says %d", len(b)/sectorSize, p.reserved)
	}
	return p, nil
}

// layoutAgain takes the geometry of the volume that is replaced, and only fits the FATs when its
// size changes.
func (o Options) layoutAgain(rootSlots int64) (geometry, error) {
	b, err := readBPB(o.Reserved)
	if err != nil {
		return geometry{}, err
	}
	g := geometry{
		bits: 16, sectors: o.Size / sectorSize, perCluster: b.perCluster, reserved: b.reserved, fats: b.fats,
		fatSectors: b.fatSectors, rootSlotCount: b.rootSlots, rootSectors: ceil(b.rootSlots*entrySize, sectorSize),
	}
	if b.is32 {
		g.bits = 32
	}
	if g.sectors != b.sectors {
		g.fit()
	}
	entries := g.fatSectors*sectorSize*8/int64(g.bits) - 2
	g.clusters = min((g.sectors-g.dataStart())/g.perCluster, entries)
	switch {
	case !b.is32 && rootSlots > b.rootSlots:
		return g, fmt.Errorf("writing FAT %q: its root directory has room for %d entries and %d are needed: put files into directories", o.Label, b.rootSlots, rootSlots)
	case !b.is32 && g.clusters >= minClusters32, g.clusters > maxClusters32:
		return g, fmt.Errorf("writing FAT %q: %d bytes are too large for FAT%d with clusters of %d bytes", o.Label, o.Size, g.bits, g.clusterSize())
	}
	return g, nil
}

// writeReserved writes what was kept, with the numbers that depend on size and contents.
func (v *volume) writeReserved() error {
	b := append([]byte(nil), v.o.Reserved...)
	p, err := readBPB(b)
	if err != nil {
		return err
	}
	v.patchBoot(b, p)
	if p.is32 {
		v.patchInfo(b, p.info)
		if at := p.backup * sectorSize; at > 0 && at+sectorSize <= int64(len(b)) && b[at+510] == 0x55 {
			v.patchBoot(b[at:], p)
			v.patchInfo(b, p.backup+p.info)
		}
	}
	_, err = v.w.WriteAt(b, 0)
	return err
}

const dirty = 1 // of the byte behind the drive number: the volume was not unmounted

func (v *volume) patchBoot(b []byte, p bpb) {
	le := binary.LittleEndian
	state := b[37:]
	if p.is32 {
		state = b[65:]
		le.PutUint32(b[36:], uint32(v.g.fatSectors))
		le.PutUint32(b[44:], uint32(v.p.root.first))
	} else {
		le.PutUint16(b[22:], uint16(v.g.fatSectors))
	}
	state[0] &^= dirty
	if v.g.sectors == p.sectors {
		return
	}
	le.PutUint16(b[19:], 0)
	le.PutUint32(b[32:], uint32(v.g.sectors))
}

// patchInfo counts free clusters anew, if there is an FSInfo sector.
func (v *volume) patchInfo(b []byte, sector int64) {
	at := sector * sectorSize
	if sector == 0 || at+sectorSize > int64(len(b)) || string(b[at:at+4]) != "RRaA" {
		return
	}
	copy(b[at+488:at+496], v.infoSector()[488:496])
}
