package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/edgebake/edgebake/builder/tree"
)

const indexSystem = 7

// xattrs returns all attributes of an inode, sorted by name.
func (w *walk) xattrs(in inode) ([]tree.Xattr, error) {
	attrs, err := w.bodyAttrs(in)
	if err != nil {
		return nil, err
	}
	if in.attrsAt != 0 {
		more, err := w.blockAttrs(in)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, more...)
	}
	var out []tree.Xattr
	for _, a := range attrs {
		if a.index == indexSystem && a.name == "data" {
			continue // the contents of an inode with inline_data
		}
		x, err := a.user()
		if err != nil {
			return nil, fmt.Errorf("inode %d: %w", in.number, err)
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b tree.Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// user returns the attribute as user space sees it.
func (a attr) user() (tree.Xattr, error) {
	prefixes := xattrPrefixes()
	if int(a.index) >= len(prefixes) || prefixes[a.index] == "" {
		return tree.Xattr{}, fmt.Errorf("attribute %q has the unknown name index %d", a.name, a.index)
	}
	x := tree.Xattr{Name: prefixes[a.index] + a.name, Value: a.value}
	if x.Name != aclAccess && x.Name != aclDefault {
		return x, nil
	}
	v, err := unpackACL(a.value)
	if err != nil {
		return x, fmt.Errorf("attribute %s: %w", x.Name, err)
	}
	x.Value = v
	return x, nil
}

func (w *walk) bodyAttrs(in inode) ([]attr, error) {
	if len(in.body) < 8 || binary.LittleEndian.Uint32(in.body) != xattrMagic {
		return nil, nil
	}
	b := in.body[4:]
	return w.attrs(in, b, b)
}

func (w *walk) blockAttrs(in inode) ([]attr, error) {
	b := make([]byte, w.fs.bs)
	if err := w.fs.readBlock(in.attrsAt, b); err != nil {
		return nil, err
	}
	if magic := binary.LittleEndian.Uint32(b); magic != xattrMagic {
		return nil, fmt.Errorf("the attribute block %d of inode %d has the magic number %#x", in.attrsAt, in.number, magic)
	}
	return w.attrs(in, b[32:], b)
}

// attrs reads entries from b; the offsets of their values count from the start of values.
func (w *walk) attrs(in inode, b, values []byte) (out []attr, err error) {
	le := binary.LittleEndian
	for len(b) >= 16 && le.Uint32(b) != 0 {
		end := 16 + int(b[0])
		offset, size := int64(le.Uint16(b[2:])), int64(le.Uint32(b[8:]))
		a := attr{index: b[1]}
		if end > len(b) {
			return nil, fmt.Errorf("an attribute of inode %d has a name of %d bytes, and %d are left", in.number, b[0], len(b)-16)
		}
		a.name = string(b[16:end])
		switch holder := le.Uint32(b[4:]); {
		case holder != 0:
			a.value, err = w.valueInode(holder, size)
		case size > int64(len(values)) || offset > int64(len(values))-size:
			err = fmt.Errorf("attribute %q of inode %d has %d bytes at %d", a.name, in.number, size, offset)
		default:
			a.value = slices.Clone(values[offset : offset+size])
		}
		if err != nil {
			return nil, err
		}
		if err := w.take(attrCost + len(a.name) + len(a.value)); err != nil {
			return nil, err
		}
		out = append(out, a)
		b = b[min((end+3)&^3, len(b)):]
	}
	return out, nil
}

// valueInode reads a value that has an inode of its own (feature ea_inode).
func (w *walk) valueInode(ino uint32, size int64) ([]byte, error) {
	raw, err := w.rawInode(ino)
	if err != nil {
		return nil, err
	}
	// A value is never inline: following one that is could come back here without end.
	flags := binary.LittleEndian.Uint32(raw[0x20:])
	if size > maxXattrValue || flags&flagEAInode == 0 || flags&flagInlineData != 0 {
		return nil, fmt.Errorf("inode %d holds no attribute of %d bytes", ino, size)
	}
	in, err := w.inode(ino)
	if err != nil {
		return nil, err
	}
	return w.bytes(in, size)
}
