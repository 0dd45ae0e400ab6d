package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// inode is what is read of an inode.
type inode struct {
	number   uint32
	mode     uint16
	links    uint16
	flags    uint32
	uid, gid uint32
	size     int64
	mtime    tree.Time
	block    [60]byte
	attrsAt  int64
	body     []byte // from i_extra_isize's end on
	more     []byte // inline data behind the 60 bytes
}

// rawInode returns the bytes of an inode from a piece of its table.
func (w *walk) rawInode(ino uint32) ([]byte, error) {
	f := w.fs
	if ino < 1 || int64(ino) > f.groups*f.perGroup {
		return nil, fmt.Errorf("inode %d of %d", ino, f.groups*f.perGroup)
	}
	group, index := int64(ino-1)/f.perGroup, int64(ino-1)%f.perGroup
	offset := index * f.inodeLen
	start := f.tables[group]*f.bs + offset/chunkBytes*chunkBytes
	chunk, ok := w.chunks[start]
	if !ok {
		rest := f.perGroup*f.inodeLen - offset/chunkBytes*chunkBytes
		chunk = make([]byte, min(chunkBytes, rest))
		if _, err := f.r.ReadAt(chunk, start); err != nil {
			return nil, fmt.Errorf("reading inode table: %w", err)
		}
		if len(w.chunks) >= maxChunks {
			clear(w.chunks)
		}
		w.chunks[start] = chunk
	}
	return chunk[offset%chunkBytes:][:f.inodeLen], nil
}

func (w *walk) inode(ino uint32) (inode, error) {
	b, err := w.rawInode(ino)
	if err != nil {
		return inode{}, err
	}
	if err := w.checkInode(ino, b); err != nil {
		return inode{}, err
	}
	le := binary.LittleEndian
	in := inode{number: ino, mode: le.Uint16(b), links: le.Uint16(b[0x1A:]), flags: le.Uint32(b[0x20:]), size: int64(le.Uint32(b[0x4:])),
		uid: uint32(le.Uint16(b[2:])) | uint32(le.Uint16(b[0x78:]))<<16, gid: uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16,
		attrsAt: int64(le.Uint32(b[0x68:])) | int64(le.Uint16(b[0x76:]))<<32}
	if in.mode&modeType == modeFile || w.fs.incompat&incompatLargeDir != 0 {
		in.size |= int64(le.Uint32(b[0x6C:])) << 32
	}
	if in.size < 0 || in.size > w.fs.bs<<32 {
		return inode{}, fmt.Errorf("inode %d has %d bytes, more than a file can have", ino, uint64(in.size))
	}
	copy(in.block[:], b[0x28:])
	return w.large(in, b)
}

// large reads the fields beyond the first 128 bytes.
func (w *walk) large(in inode, b []byte) (inode, error) {
	var extra []byte
	if len(b) > 128 {
		n := int(binary.LittleEndian.Uint16(b[0x80:]))
		if n%4 != 0 || 128+n > len(b) {
			return inode{}, fmt.Errorf("inode %d has %d bytes of further fields", in.number, n)
		}
		if n >= 0x8C-0x80 {
			extra = b[0x88:]
		}
		in.body = b[128+n:]
	}
	in.mtime = getTime(b[0x10:], extra)
	if in.flags&flagInlineData == 0 {
		return in, nil
	}
	attrs, err := w.bodyAttrs(in)
	for _, a := range attrs {
		if a.index == indexSystem && a.name == "data" {
			in.more = a.value
		}
	}
	return in, err
}

func (w *walk) checkInode(ino uint32, b []byte) error {
	if w.fs.roCompat&roMetadataCsum == 0 {
		return nil
	}
	le := binary.LittleEndian
	got := w.fs.sum.inode(w.fs.sum.inodeSeed(w.fs.seed, ino, le.Uint32(b[0x64:])), b)
	want, mask := uint32(le.Uint16(b[0x7C:])), uint32(0xFFFF)
	if len(b) > 128 && le.Uint16(b[0x80:]) >= 4 {
		want, mask = want|uint32(le.Uint16(b[0x82:]))<<16, ^uint32(0)
	}
	if got&mask != want {
		return fmt.Errorf("the checksum of inode %d is %#x but says %#x", ino, got&mask, want)
	}
	return nil
}

// inline returns the bytes of a file that is in its inode.
func (in inode) inline() ([]byte, error) {
	b := append(bytes.Clone(in.block[:]), in.more...)
	if in.size > int64(len(b)) {
		return nil, fmt.Errorf("inode %d has %d bytes but holds %d", in.number, in.size, len(b))
	}
	return b[:in.size], nil
}

// entry turns an inode into an entry without a path.
func (w *walk) entry(in inode) (tree.Entry, error) {
	e := tree.Entry{Mode: uint32(in.mode & 0o7777), UID: in.uid, GID: in.gid, MTime: in.mtime}
	var err error
	switch in.mode & modeType {
	case modeFile:
		e.Type = tree.File
		e.Content, err = w.content(in)
	case modeDir:
		e.Type = tree.Dir
	case modeSymlink:
		e.Type = tree.Symlink
		e.Link, err = w.symlink(in)
	case modeFifo:
		e.Type = tree.Fifo
	case modeSocket:
		e.Type = tree.Socket
	case modeChar:
		e.Type = tree.CharDevice
		e.Major, e.Minor = decodeDevice(in.block[:])
	case modeBlock:
		e.Type = tree.BlockDevice
		e.Major, e.Minor = decodeDevice(in.block[:])
	default:
		return e, fmt.Errorf("inode %d has the mode %#o, which is no type of file", in.number, in.mode)
	}
	if err != nil {
		return e, err
	}
	e.Xattrs, err = w.xattrs(in)
	return e, err
}

// symlink returns the target: in the inode if it is short and has no block of its own.
func (w *walk) symlink(in inode) (string, error) {
	if in.size > w.fs.bs {
		return "", fmt.Errorf("inode %d is a symbolic link of %d bytes", in.number, in.size)
	}
	if in.size < fastSymlink && in.flags&(flagExtents|flagInlineData) == 0 {
		return string(in.block[:in.size]), nil
	}
	b, err := w.bytes(in, in.size)
	return string(b), err
}
