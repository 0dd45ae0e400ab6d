package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

// checksummer computes crc32c over metadata; its table is the processor's instruction.
type checksummer struct{ table *crc32.Table }

func newChecksummer() checksummer { return checksummer{crc32.MakeTable(crc32.Castagnoli)} }

// update continues a checksum as the kernel counts it: without inverting at start and end.
func (c checksummer) update(crc uint32, p []byte) uint32 {
	return ^crc32.Update(^crc, c.table, p)
}

// fsSeed starts every checksum of a file system, page "checksums".
func (c checksummer) fsSeed(uuid []byte) uint32 { return c.update(^uint32(0), uuid) }

// inodeSeed starts the checksums of what belongs to one inode.
func (c checksummer) inodeSeed(fsSeed, ino, generation uint32) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], ino)
	binary.LittleEndian.PutUint32(b[4:], generation)
	return c.update(fsSeed, b[:])
}

// inode returns the checksum of a raw inode; its two checksum fields count as zero.
func (c checksummer) inode(seed uint32, raw []byte) uint32 {
	var zero [2]byte
	crc := c.update(seed, raw[:0x7C])
	crc = c.update(crc, zero[:])
	if len(raw) <= 128 {
		return c.update(crc, raw[0x7E:])
	}
	crc = c.update(crc, raw[0x7E:0x82])
	if binary.LittleEndian.Uint16(raw[0x80:]) >= 4 {
		crc = c.update(crc, zero[:])
		return c.update(crc, raw[0x84:])
	}
	return c.update(crc, raw[0x82:])
}

// descriptor returns the checksum of a group descriptor, whose field bg_checksum counts as zero.
func (c checksummer) descriptor(seed uint32, group int, desc []byte) uint16 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(group))
	crc := c.update(seed, b[:])
	crc = c.update(crc, desc[:0x1E])
	crc = c.update(crc, []byte{0, 0})
	return uint16(c.update(crc, desc[0x20:]))
}

// descriptor16 is the checksum of uninit_bg: crc16 over UUID, group number and descriptor
// without its field bg_checksum.
func descriptor16(uuid []byte, group int, desc []byte) uint16 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(group))
	crc := crc16(0xFFFF, uuid)
	crc = crc16(crc, b[:])
	crc = crc16(crc, desc[:0x1E])
	return crc16(crc, desc[0x20:])
}

// crc16 is CRC-16/ARC without a final step, as the kernel's lib/crc16.
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc ^= uint16(b)
		for range 8 {
			crc = crc>>1 ^ 0xA001*(crc&1)
		}
	}
	return crc
}
