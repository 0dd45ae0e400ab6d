package ext4

import "encoding/binary"

// superblock encodes the superblock copy of a group, page "super"; free counts come from groups.
func (w *writer) superblock(group int) []byte {
	le, b, g, o := binary.LittleEndian, make([]byte, 1024), w.geo, w.o
	put64 := func(lo, hi int, v int64) {
		le.PutUint32(b[lo:], uint32(v))
		le.PutUint32(b[hi:], uint32(v>>32))
	}
	le.PutUint32(b[0x0:], uint32(g.inodes()))
	put64(0x4, 0x150, g.blocks)
	put64(0x8, 0x154, reservedBlocks(g.blocks, o.ReservedPercent))
	put64(0xC, 0x158, w.freeBlocks)
	le.PutUint32(b[0x10:], uint32(g.inodes()-w.usedInodes()))
	le.PutUint32(b[0x18:], 2) // 1024 << 2 bytes in a block
	le.PutUint32(b[0x1C:], 2) // and in a cluster
	le.PutUint32(b[0x20:], blocksPerGroup)
	le.PutUint32(b[0x24:], blocksPerGroup)
	le.PutUint32(b[0x28:], uint32(g.inodesGroup))
	for _, at := range []struct{ lo, hi int }{{0x30, 0x274}, {0x40, 0x277}, {0x108, 0x276}} { // written, checked, made
		le.PutUint32(b[at.lo:], uint32(o.Time.Sec))
		b[at.hi] = byte(o.Time.Sec >> 32)
	}
	le.PutUint16(b[0x38:], superMagic)
	le.PutUint16(b[0x3A:], 1) // clean
	le.PutUint32(b[0x4C:], 1) // dynamic revision
	le.PutUint32(b[0x54:], firstIno)
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint16(b[0x5A:], uint16(group))
	w.putFeatures(b)
	o.Super.put(b)
	o.putMountOptions(b)
	copy(b[0x68:], o.UUID[:])
	copy(b[0x78:], o.Label)
	le.PutUint16(b[0xCE:], uint16(g.reservedDescs))
	copy(b[0xEC:], o.HashSeed[:])
	b[0xFC] = hashHalfMD4
	le.PutUint16(b[0xFE:], descSize)
	le.PutUint16(b[0x15C:], extraISize)
	le.PutUint16(b[0x15E:], extraISize)
	le.PutUint32(b[0x160:], 1) // hashes of signed characters
	b[0x174] = logFlexGroups
	w.putJournalBackup(b)
	if o.Checksums == MetadataCsum {
		b[0x175] = 1 // crc32c
		le.PutUint32(b[0x3FC:], w.sum.update(^uint32(0), b[:0x3FC]))
	}
	return b
}

func (s *Super) put(b []byte) {
	le := binary.LittleEndian
	if s == nil {
		s = defaultSuper()
	}
	le.PutUint16(b[0x36:], s.MaxMounts)
	le.PutUint16(b[0x3C:], s.Errors)
	le.PutUint32(b[0x44:], s.CheckInterval)
	le.PutUint32(b[0x100:], s.MountOptions)
	copy(b[0x200:0x23F], s.MountText)
}

// putMountOptions adds those that are asked for to those of the settings.
func (o Options) putMountOptions(b []byte) {
	if o.NoDelayedAllocation {
		le := binary.LittleEndian
		le.PutUint32(b[0x100:], le.Uint32(b[0x100:])|mountNoDelalloc)
	}
}

func (w *writer) putFeatures(b []byte) {
	le := binary.LittleEndian
	compat := uint32(compatExtAttr | compatResizeInode | compatDirIndex)
	if w.log != nil {
		compat |= compatHasJournal
	}
	sums := uint32(roMetadataCsum)
	if w.o.Checksums == UninitBG {
		sums = roGDTCsum
	}
	le.PutUint32(b[0x5C:], compat)
	le.PutUint32(b[0x60:], incompatFiletype|incompatExtents|incompat64bit|incompatFlexBG)
	le.PutUint32(b[0x64:], roSparseSuper|roLargeFile|roHugeFile|roDirNlink|roExtraIsize|sums)
}

// putJournalBackup copies the journal's i_block and size, from which e2fsck can restore inode 8.
func (w *writer) putJournalBackup(b []byte) {
	if w.log == nil {
		return
	}
	le := binary.LittleEndian
	le.PutUint32(b[0xE0:], journalIno)
	b[0xFD] = 1
	copy(b[0x10C:], w.root(w.log))
	le.PutUint32(b[0x10C+60:], uint32(w.log.size>>32))
	le.PutUint32(b[0x10C+64:], uint32(w.log.size))
}

func reservedBlocks(blocks int64, percent float64) int64 {
	if percent < 0 {
		return 0
	}
	if percent == 0 {
		percent = 5
	}
	return int64(float64(blocks) * min(percent, 50) / 100)
}

// journalSuper is the superblock of an empty journal, page "journal"; it is big-endian.
func (w *writer) journalSuper() []byte {
	b, be := make([]byte, blockSize), binary.BigEndian
	be.PutUint32(b, jbd2Magic)
	be.PutUint32(b[4:], jbd2SuperV2)
	be.PutUint32(b[12:], blockSize)
	be.PutUint32(b[16:], uint32(w.log.size/blockSize))
	be.PutUint32(b[20:], 1) // first block of the log
	be.PutUint32(b[24:], 1) // first sequence number; start 0 says that it is empty
	copy(b[0x30:], w.o.UUID[:])
	be.PutUint32(b[0x40:], 1) // one user
	return b
}

const (
	jbd2Magic   = 0xC03B3998
	jbd2SuperV1 = 3
	jbd2SuperV2 = 4
)
