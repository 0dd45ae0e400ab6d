package ext4

import (
	"encoding/binary"

	"github.com/edgebake/edgebake/builder/tree"
)

// encodeInode returns the 256 bytes of an inode, page "inodes".
func (w *writer) encodeInode(n *node) []byte {
	b, le := make([]byte, inodeSize), binary.LittleEndian
	e := w.entryOf(n)
	sectors := n.blocks * (blockSize / 512)
	le.PutUint16(b[0x0:], n.mode)
	le.PutUint16(b[0x2:], uint16(e.UID))
	le.PutUint32(b[0x4:], uint32(n.size))
	le.PutUint16(b[0x18:], uint16(e.GID))
	le.PutUint16(b[0x1A:], uint16(n.links))
	flags := n.flags
	if sectors >= 1<<48 {
		flags, sectors = flags|flagHugeFile, n.blocks
	}
	le.PutUint32(b[0x1C:], uint32(sectors))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	le.PutUint32(b[0x20:], flags)
	copy(b[0x28:0x64], w.root(n))
	le.PutUint32(b[0x6C:], uint32(n.size>>32))
	le.PutUint16(b[0x78:], uint16(e.UID>>16))
	le.PutUint16(b[0x7A:], uint16(e.GID>>16))
	le.PutUint16(b[0x80:], extraISize)
	w.putTimes(b, e)
	if n.attrs != nil {
		le.PutUint32(b[0x68:], uint32(n.attrs.at))
		le.PutUint16(b[0x76:], uint16(n.attrs.at>>32))
		copy(b[128+extraISize:], n.attrs.body)
	}
	if w.o.Checksums == MetadataCsum {
		crc := w.sum.inode(w.sum.inodeSeed(w.seed, n.ino, 0), b)
		le.PutUint16(b[0x7C:], uint16(crc))
		le.PutUint16(b[0x82:], uint16(crc>>16))
	}
	return b
}

// putTimes sets access, change and modification time to the entry's and creation to Options.Time.
func (w *writer) putTimes(b []byte, e tree.Entry) {
	mtime := e.MTime
	if e.Path == "" {
		mtime = w.o.Time
	}
	putTime(b[0x8:], b[0x8C:], mtime)
	putTime(b[0xC:], b[0x84:], mtime)
	putTime(b[0x10:], b[0x88:], mtime)
	putTime(b[0x90:], b[0x94:], w.o.Time)
}

// putTime stores the 34-bit seconds and the nanoseconds of t; times outside 1901 to 2446 become
// the nearest that can be stored.
func putTime(lo, extra []byte, t tree.Time) {
	const first, last = -1 << 31, 3<<32 + 1<<31 - 1
	sec := min(max(t.Sec, first), last)
	epoch := uint32((sec-int64(int32(sec)))>>32) & 3
	binary.LittleEndian.PutUint32(lo, uint32(sec))
	binary.LittleEndian.PutUint32(extra, t.Nsec<<2|epoch)
}

func getTime(lo, extra []byte) tree.Time {
	sec := int64(int32(binary.LittleEndian.Uint32(lo)))
	if extra == nil {
		return tree.Time{Sec: sec}
	}
	x := binary.LittleEndian.Uint32(extra)
	nsec := x >> 2
	if nsec >= 1e9 {
		nsec = 0
	}
	return tree.Time{Sec: sec + int64(x&3)<<32, Nsec: nsec}
}

// encodeDevice returns the i_block of a device: 8 bit each in the first word, else 12 and 20 bit
// in the second (the kernel's old_encode_dev and new_encode_dev).
func encodeDevice(major, minor uint32) []byte {
	b := make([]byte, 60)
	if major < 256 && minor < 256 {
		binary.LittleEndian.PutUint32(b, major<<8|minor)
		return b
	}
	binary.LittleEndian.PutUint32(b[4:], minor&0xFF|major<<8|minor&^0xFF<<12)
	return b
}

func decodeDevice(b []byte) (major, minor uint32) {
	if old := binary.LittleEndian.Uint32(b); old != 0 {
		return old >> 8 & 0xFF, old & 0xFF
	}
	dev := binary.LittleEndian.Uint32(b[4:])
	return dev >> 8 & 0xFFF, dev&0xFF | dev>>12&0xFFF00
}
