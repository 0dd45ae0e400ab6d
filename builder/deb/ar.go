package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
	// maxMembers bounds the members of an ar archive; a package has three, a signed one a few more.
	maxMembers = 64
)

// arMember is one member of an ar archive.
type arMember struct {
	name string
	data *io.SectionReader
}

// readAr lists the members of the ar archive r of size bytes. Names are short ones, as in packages:
// padded with blanks, with or without the "/" that other systems put behind them.
func readAr(r io.ReaderAt, size int64) ([]arMember, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading ar magic: %w", err)
	}
	if string(magic) != arMagic {
		return nil, fmt.Errorf("reading ar magic: %q instead of %q; this is no .deb", magic, arMagic)
	}
	var members []arMember
	for off := int64(len(arMagic)); off < size; {
		m, err := readArMember(r, off, size)
		if err != nil {
			return nil, fmt.Errorf("reading ar member %d at offset %d: %w", len(members)+1, off, err)
		}
		if members = append(members, m); len(members) > maxMembers {
			return nil, fmt.Errorf("reading ar archive: more than the allowed %d members", maxMembers)
		}
		off += arHeader + m.data.Size() + m.data.Size()%2
	}
	return members, nil
}

func readArMember(r io.ReaderAt, off, size int64) (arMember, error) {
	var head [arHeader]byte
	if size-off < arHeader {
		return arMember{}, fmt.Errorf("%d bytes left, a header has %d", size-off, arHeader)
	}
	if n, err := r.ReadAt(head[:], off); n < arHeader {
		return arMember{}, err
	}
	if string(head[58:]) != "`\n" {
		return arMember{}, fmt.Errorf("the header ends in %q instead of \"`\\n\"", head[58:])
	}
	name := strings.TrimSuffix(strings.TrimRight(string(head[:16]), " "), "/")
	length, err := strconv.ParseUint(strings.TrimRight(string(head[48:58]), " "), 10, 62)
	if err != nil {
		return arMember{}, fmt.Errorf("%s: size %q is no number", name, head[48:58])
	}
	if int64(length) > size-off-arHeader {
		return arMember{}, fmt.Errorf("%s: %d bytes, but only %d are left; the file is cut short",
			name, length, size-off-arHeader)
	}
	return arMember{name: name, data: io.NewSectionReader(r, off+arHeader, int64(length))}, nil
}
