package fat

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// commit writes what was noted, in the order that Change promises.
func (c *change) commit() error {
	if len(c.links) == 0 && len(c.freed) == 0 && bytes.Equal(c.dir.raw[:len(c.dir.before)], c.dir.before) {
		return nil
	}
	for _, step := range []func() error{c.writeData, c.writeLinks, c.joinRoot, c.writeRoot, c.releaseOld, c.writeInfo} {
		if err := step(); err != nil {
			return err
		}
		if err := c.d.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) write(b []byte, at int64) error {
	_, err := c.d.WriteAt(b, c.base+at)
	return err
}

// writeData fills new clusters, those of the root directory too.
func (c *change) writeData() error {
	for i, n := range c.dir.added {
		at := int64(len(c.dir.clusters)-len(c.dir.added)+i) * c.clusterSize()
		c.data[n] = c.dir.raw[at:][:c.clusterSize()]
	}
	for _, n := range slices.Sorted(maps.Keys(c.data)) {
		if err := c.write(c.data[n], c.fs.clusterOffset(n)); err != nil {
			return err
		}
	}
	return nil
}

// writeLinks marks the new clusters as used: they form chains that nobody refers to yet.
func (c *change) writeLinks() error { return c.changeFAT(c.links) }

// joinRoot appends new clusters to the root directory.
func (c *change) joinRoot() error {
	links := map[int64]uint32{}
	old := len(c.dir.clusters) - len(c.dir.added)
	for i, n := range c.dir.added {
		links[c.dir.clusters[old+i-1]] = uint32(n)
	}
	return c.changeFAT(links)
}

// writeRoot writes the sectors of the root directory that changed, the last one first: what is appended is
// invisible until the sector with the end marker comes.
func (c *change) writeRoot() error {
	for at := int64(len(c.dir.before)) - sectorSize; at >= 0; at -= sectorSize {
		now := c.dir.raw[at:][:sectorSize]
		if bytes.Equal(now, c.dir.before[at:][:sectorSize]) {
			continue
		}
		if err := c.write(now, c.dirOffset(at)); err != nil {
			return err
		}
	}
	return nil
}

// releaseOld gives up the clusters of what was replaced, and overwrites them.
func (c *change) releaseOld() error {
	links := map[int64]uint32{}
	for _, n := range c.freed {
		links[n] = 0
	}
	if err := c.changeFAT(links); err != nil {
		return err
	}
	zeros := make([]byte, c.clusterSize())
	for _, n := range c.freed {
		if err := c.write(zeros, c.fs.clusterOffset(n)); err != nil {
			return err
		}
	}
	return nil
}

// changeFAT changes entries in all copies of the FAT, sector by sector.
func (c *change) changeFAT(links map[int64]uint32) error {
	sectors := map[int64]bool{}
	for n, v := range links {
		c.setEntry(n, v)
		sectors[n*int64(c.fs.info.Bits)/8/sectorSize] = true
	}
	for i := range c.bpb.fats {
		for _, s := range slices.Sorted(maps.Keys(sectors)) {
			if err := c.write(c.fat[s*sectorSize:][:sectorSize], c.fs.fatStart+(i*c.bpb.fatSectors+s)*sectorSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInfo counts free clusters anew in the FSInfo sector, if there is one with a count.
func (c *change) writeInfo() error {
	const unknown = 0xffffffff
	le, at := binary.LittleEndian, c.bpb.info*sectorSize
	if !c.bpb.is32 || c.bpb.info == 0 || c.bpb.info >= c.bpb.reserved {
		return nil
	}
	b := make([]byte, sectorSize)
	if _, err := c.d.ReadAt(b, c.base+at); err != nil {
		return err
	}
	if string(b[:4]) != "RRaA" || string(b[484:488]) != "rrAa" || le.Uint32(b[488:]) == unknown {
		return nil
	}
	le.PutUint32(b[488:], uint32(c.free+int64(len(c.freed))))
	if len(c.links) > 0 {
		le.PutUint32(b[492:], uint32(slices.Max(slices.Collect(maps.Keys(c.links)))))
	}
	return c.write(b, at)
}
