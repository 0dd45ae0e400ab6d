package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

const (
	bodyRoom      = inodeSize - 128 - extraISize - 4 // behind the magic number in an inode
	attrBlockRoom = blockSize - 32                   // behind the header of a block
	aclAccess     = "system.posix_acl_access"
	aclDefault    = "system.posix_acl_default"
)

// xattrPrefixes are the name indexes, page "attributes"; longer prefixes first.
func xattrPrefixes() []string {
	return []string{"", "user.", aclAccess, aclDefault, "trusted.", "", "security.", "system."}
}

// attr is an attribute in its form on the disk.
type attr struct {
	index byte
	name  string
	value []byte
}

func (a attr) size() int { return 16 + (len(a.name)+3)&^3 + (len(a.value)+3)&^3 }

// encodeXattrs returns the attributes for the inode and, if they do not all fit there, for a
// block of their own; nil where there are none.
func encodeXattrs(xs []tree.Xattr) (body, block []byte, err error) {
	var in, out []attr
	free, rest := bodyRoom-4, attrBlockRoom-4
	for _, x := range xs {
		a, err := newAttr(x)
		if err != nil {
			return nil, nil, err
		}
		if a.size() <= free {
			in, free = append(in, a), free-a.size()
			continue
		}
		if rest -= a.size(); rest < 0 {
			return nil, nil, fmt.Errorf("storing attribute %s: all attributes need %d bytes more than an inode and a block hold", x.Name, -rest)
		}
		out = append(out, a)
	}
	if len(in) > 0 {
		body = make([]byte, 4+bodyRoom)
		binary.LittleEndian.PutUint32(body, xattrMagic)
		putAttrs(body[4:], in, 0)
	}
	return body, attrBlock(out), nil
}

func newAttr(x tree.Xattr) (attr, error) {
	for i, prefix := range xattrPrefixes() {
		if prefix == "" || !strings.HasPrefix(x.Name, prefix) {
			continue
		}
		a := attr{byte(i), x.Name[len(prefix):], x.Value}
		if a.name == "" != (prefix == aclAccess || prefix == aclDefault) || len(a.name) > 255 {
			return attr{}, fmt.Errorf("storing attribute %q: not a valid name", x.Name)
		}
		if a.name == "" {
			acl, err := packACL(x.Value)
			if err != nil {
				return attr{}, fmt.Errorf("storing attribute %s: %w", x.Name, err)
			}
			a.value = acl
		}
		return a, nil
	}
	return attr{}, fmt.Errorf("storing attribute %q: ext4 knows those of user, trusted, security and system", x.Name)
}

// attrBlock is the block for attrs with its hash but without its checksum.
func attrBlock(attrs []attr) []byte {
	if len(attrs) == 0 {
		return nil
	}
	b := make([]byte, blockSize)
	le := binary.LittleEndian
	le.PutUint32(b, xattrMagic)
	le.PutUint32(b[4:], 1) // references
	le.PutUint32(b[8:], 1) // blocks
	slices.SortStableFunc(attrs, func(a, b attr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	le.PutUint32(b[12:], putAttrs(b[32:], attrs, 32))
	return b
}

// putAttrs writes entries from the start of b and values from its end; offsets count from base
// bytes before b. It returns the hash over all entries.
func putAttrs(b []byte, attrs []attr, base int) (hash uint32) {
	le := binary.LittleEndian
	at, end := 0, len(b)
	for _, a := range attrs {
		end -= (len(a.value) + 3) &^ 3
		copy(b[end:], a.value)
		e := b[at:]
		e[0], e[1] = byte(len(a.name)), a.index
		if len(a.value) > 0 {
			le.PutUint16(e[2:], uint16(end+base))
		}
		le.PutUint32(e[8:], uint32(len(a.value)))
		h := attrHash(a)
		le.PutUint32(e[12:], h)
		copy(e[16:], a.name)
		at += 16 + (len(a.name)+3)&^3
		hash = hash<<16 ^ hash>>16 ^ h
	}
	return hash
}

// attrHash is e_hash over name and value (fs/ext4/xattr.c, ext4_xattr_hash_entry).
func attrHash(a attr) (h uint32) {
	for i := range len(a.name) {
		h = h<<5 ^ h>>27 ^ uint32(a.name[i])
	}
	v := append(bytes.Clone(a.value), make([]byte, -len(a.value)&3)...)
	for ; len(v) > 0; v = v[4:] {
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(v)
	}
	return h
}

// ACLs: user space sees version 2 with an id in every entry, the disk has version 1 with ids only
// for named users and groups (fs/ext4/acl.h).
const (
	aclUserVersion = 2
	aclDiskVersion = 1
	aclNamedUser   = 2
	aclNamedGroup  = 8
)

func aclHasID(tag uint16) bool { return tag == aclNamedUser || tag == aclNamedGroup }

func packACL(v []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(v) < 4 || (len(v)-4)%8 != 0 || le.Uint32(v) != aclUserVersion {
		return nil, fmt.Errorf("its %d bytes are no access control list of version 2", len(v))
	}
	out := le.AppendUint32(nil, aclDiskVersion)
	for v = v[4:]; len(v) > 0; v = v[8:] {
		out = append(out, v[:4]...)
		if aclHasID(le.Uint16(v)) {
			out = append(out, v[4:8]...)
		}
	}
	return out, nil
}

func unpackACL(v []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(v) < 4 || le.Uint32(v) != aclDiskVersion {
		return nil, fmt.Errorf("its %d bytes are no access control list of version 1", len(v))
	}
	out := le.AppendUint32(nil, aclUserVersion)
	for v = v[4:]; len(v) > 0; {
		if len(v) < 4 || aclHasID(le.Uint16(v)) && len(v) < 8 {
			return nil, fmt.Errorf("its last entry is cut off")
		}
		out = append(out, v[:4]...)
		id, n := uint32(0xFFFFFFFF), 4
		if aclHasID(le.Uint16(v)) {
			id, n = le.Uint32(v[4:]), 8
		}
		out, v = le.AppendUint32(out, id), v[n:]
	}
	return out, nil
}
