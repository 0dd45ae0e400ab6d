package cloudinit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// ISO 9660 (ECMA-119) with Joliet, for a few small files. It is written here because go-diskfs 1.9.4
// fills Joliet subdirectories with ISO names (a config drive has some), writes the owner and change
// time of its working files into Rock Ridge fields, and reads the files from a directory of the host, where
// a killed process would leave the token.
const (
	isoBlock = 2048
	// The layout: descriptors from sector 16 on (6.2.1), path tables, directories, files.
	isoPrimary, isoJoliet, isoEnd = 16, 17, 18
	isoTables                     = 19 // little and big endian, primary; the same for Joliet
	isoDirs                       = 23
)

// isoDir is a directory; its number in the path table is its index plus one. Each is one sector.
type isoDir struct {
	path    string // "" is the root
	parent  int
	entries []isoEntry
}

// isoEntry is a file or directory in a directory.
type isoEntry struct {
	name    string
	dir     int    // index of the directory, or -1
	content []byte // of a file
	sector  uint32 // of a file's content
}

// isoImage makes an image with files by path. Names have letters, digits, "-", "_" and ".".
func isoImage(label string, files map[string][]byte) ([]byte, error) {
	dirs := isoTree(files)
	size := isoPlace(dirs)
	image := make([]byte, int(size)*isoBlock)
	for k, names := range []isoNames{{}, {joliet: true}} {
		table := isoTables + 2*uint32(k)
		at := isoDirs + uint32(k*len(dirs))
		for i := range dirs {
			records := names.directory(dirs, i, at)
			if len(records) > isoBlock {
				return nil, fmt.Errorf("making ISO image %s: the directory %q needs %d bytes, and has %d", label, dirs[i].path, len(records), isoBlock)
			}
			copy(image[(int(at)+i)*isoBlock:], records)
		}
		little, big := names.table(dirs, at, binary.LittleEndian), names.table(dirs, at, binary.BigEndian)
		copy(image[table*isoBlock:], little)
		copy(image[(table+1)*isoBlock:], big)
		copy(image[(isoPrimary+k)*isoBlock:], names.descriptor(label, size, len(little), table, at))
	}
	copy(image[isoEnd*isoBlock:], "\xffCD001\x01")
	for _, d := range dirs {
		for _, e := range d.entries {
			copy(image[int(e.sector)*isoBlock:], e.content)
		}
	}
	return image, nil
}

// isoTree sorts files into directories: parents before their children, and names in order, as the path
// table wants them (9.4, 6.9.1).
func isoTree(files map[string][]byte) []isoDir {
	dirs := []isoDir{{}}
	for i := 0; i < len(dirs); i++ {
		seen := map[string]bool{}
		prefix := strings.TrimPrefix(dirs[i].path+"/", "/")
		for _, name := range slices.Sorted(maps.Keys(files)) {
			rest, inside := strings.CutPrefix(name, prefix)
			first, _, deeper := strings.Cut(rest, "/")
			if !inside || seen[first] {
				continue
			}
			seen[first] = true
			if !deeper {
				dirs[i].entries = append(dirs[i].entries, isoEntry{name: first, dir: -1, content: files[name]})
				continue
			}
			dirs[i].entries = append(dirs[i].entries, isoEntry{name: first, dir: len(dirs)})
			dirs = append(dirs, isoDir{path: path.Join(dirs[i].path, first), parent: i})
		}
	}
	return dirs
}

// isoPlace gives each file its sectors and returns the size of the image in sectors.
func isoPlace(dirs []isoDir) uint32 {
	next := uint32(isoDirs + 2*len(dirs))
	for i := range dirs {
		for j := range dirs[i].entries {
			e := &dirs[i].entries[j]
			e.sector = next
			next += uint32((len(e.content) + isoBlock - 1) / isoBlock)
		}
	}
	return next
}

// isoNames is one of the two trees of an image: ISO's own names, or Joliet's in UCS-2.
type isoNames struct{ joliet bool }

func (n isoNames) encode(s string) []byte {
	if !n.joliet {
		return []byte(s)
	}
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, unit)
	}
	return b
}

// name is an entry's identifier. Joliet's are the names themselves; ISO's have capitals, digits, "_" and,
// for files, a dot and a version (7.5.1).
func (n isoNames) name(e isoEntry) []byte {
	if n.joliet {
		return n.encode(e.name)
	}
	upper := strings.ReplaceAll(strings.ToUpper(e.name), "-", "_")
	if e.dir < 0 && !strings.Contains(upper, ".") {
		upper += "."
	}
	if e.dir < 0 {
		upper += ";1"
	}
	return []byte(upper)
}

// directory renders the records of dirs[i]; the directories begin at sector at.
func (n isoNames) directory(dirs []isoDir, i int, at uint32) []byte {
	const isDir = 2
	b := slices.Concat(
		isoRecord([]byte{0}, at+uint32(i), isoBlock, isDir), // itself
		isoRecord([]byte{1}, at+uint32(dirs[i].parent), isoBlock, isDir))
	for _, e := range dirs[i].entries {
		if e.dir >= 0 {
			b = append(b, isoRecord(n.name(e), at+uint32(e.dir), isoBlock, isDir)...)
		} else {
			b = append(b, isoRecord(n.name(e), e.sector, uint32(len(e.content)), 0)...)
		}
	}
	return b
}

// isoRecord is a directory record (9.1), dated 1 January 1980.
func isoRecord(name []byte, sector, size uint32, flags byte) []byte {
	b := []byte{0, 0}
	b = both32(b, sector)
	b = both32(b, size)
	b = append(b, 80, 1, 1, 0, 0, 0, 0, flags, 0, 0)
	b = both16(b, 1)
	b = append(append(b, byte(len(name))), name...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

func both32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, v), v)
}

func both16(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v), v)
}

// table is the path table (9.4).
func (n isoNames) table(dirs []isoDir, at uint32, order binary.AppendByteOrder) []byte {
	var b []byte
	for i, d := range dirs {
		name := []byte{0}
		if i > 0 {
			name = n.name(isoEntry{name: path.Base(d.path), dir: i})
		}
		b = order.AppendUint32(append(b, byte(len(name)), 0), at+uint32(i))
		b = append(order.AppendUint16(b, uint16(d.parent+1)), name...)
		if len(name)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// descriptor is the primary or supplementary volume descriptor (8.4, 8.5).
func (n isoNames) descriptor(label string, size uint32, tableSize int, table, root uint32) []byte {
	text := func(s string, width int) []byte {
		b, space := n.encode(s), n.encode(" ")
		return append(b, bytes.Repeat(space, width/len(space))...)[:width:width]
	}
	escapes := make([]byte, 32)
	if n.joliet {
		copy(escapes, "%/E") // UCS-2, level 3
	}
	kind := byte(1)
	if n.joliet {
		kind = 2
	}
	b := append([]byte{kind}, "CD001\x01\x00"...)
	b = slices.Concat(b, text("", 32), text(label, 32), make([]byte, 8))
	b = both32(b, size)
	b = append(b, escapes...)
	b = both16(both16(both16(b, 1), 1), isoBlock)
	b = both32(b, uint32(tableSize))
	b = binary.LittleEndian.AppendUint64(b, uint64(table))
	b = append(binary.BigEndian.AppendUint32(b, table+1), 0, 0, 0, 0)
	b = append(b, isoRecord([]byte{0}, root, isoBlock, 2)...)
	b = append(b, text("", 128*4)...) // volume set, publisher, preparer, application
	for range 3 {
		b = append(b, text("", 37)...) // copyright, abstract, bibliography
	}
	b = append(b, strings.Repeat(strings.Repeat("0", 16)+"\x00", 4)...) // four dates, not specified
	return append(b, 1)
}
