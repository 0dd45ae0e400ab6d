package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

const (
	sector = 512
	// maxEntries bounds a GPT's table: 128 is what everybody writes, and a hostile header can
	// announce 4 billion.
	maxEntries   = 1024
	maxEntrySize = 4096
	// firstUsable is the least sector of a partition of a GPT: the MBR and the header are before it.
	firstUsable = 2
)

// table is what a partition table says.
type table struct {
	kind       string // mbr, gpt or none
	id         string
	partitions []Partition
	gpt        GPT
	warnings   []string
}

// GPT is a GUID partition table as it is on the disk.
type GPT struct {
	// Header is its sector, Entries all entries of EntrySize bytes.
	Header, Entries []byte
	EntrySize       int
	// Primary says that it is the one behind the MBR, and not the backup.
	Primary bool
}

// readTable finds a GPT, its backup, or an MBR; none of them is the table "none".
func readTable(r io.ReaderAt, size int64) (table, error) {
	var first [2 * sector]byte
	if size < int64(len(first)) {
		return table{}, fmt.Errorf("reading partition table: the file has %d bytes: it is no disk image, or it was cut short", size)
	}
	if n, err := r.ReadAt(first[:], 0); n < len(first) {
		return table{}, fmt.Errorf("reading partition table: %w", err)
	}
	if first[510] != 0x55 || first[511] != 0xaa {
		return table{kind: "none"}, nil
	}
	if protects(first[:sector]) {
		return findGPT(r, size, first[:sector])
	}
	return readMBR(first[:sector], size), nil
}

// protects says whether an MBR stands before a GPT: one of its entries has type 0xee. In a hybrid
// MBR it need not be the first.
func protects(b []byte) bool {
	for i := range 4 {
		if b[446+16*i+4] == 0xee {
			return true
		}
	}
	return false
}

// findGPT reads the primary GPT, or the backup at the end when the primary is damaged.
func findGPT(r io.ReaderAt, size int64, mbr []byte) (table, error) {
	t, fault := readGPT(r, size, 1)
	last := size/sector - 1
	if fault != nil {
		var err error
		if t, err = readGPT(r, size, last); err != nil {
			return table{}, fmt.Errorf("%w (and the backup at the end: %w)", fault, err)
		}
		t.warnings = append(t.warnings, fmt.Sprintf("the primary partition table is damaged (%v); its backup at the end of the image is used: sgdisk -e repairs it", fault))
	} else {
		t.checkBackup(r, size)
	}
	for i := range 4 {
		if kind := mbr[446+16*i+4]; kind != 0 && kind != 0xee {
			t.warnings = append(t.warnings, fmt.Sprintf("the MBR is a hybrid: its entry %d has type 0x%02x; the GPT is used", i+1, kind))
		}
	}
	return t, nil
}

// checkBackup looks at the backup where the primary header says it is. It is not at the end of an
// image that was enlarged, and that is no fault.
func (t *table) checkBackup(r io.ReaderAt, size int64) {
	at := binary.LittleEndian.Uint64(t.gpt.Header[32:])
	last := uint64(size/sector - 1)
	if at > last {
		t.warnings = append(t.warnings, fmt.Sprintf("the backup of the partition table should be in sector %d and the image has %d: is it cut off?", at, last+1))
		return
	}
	if _, err := readGPT(r, size, int64(at)); err != nil {
		t.warnings = append(t.warnings, fmt.Sprintf("the backup of the partition table is damaged: %v", err))
		return
	}
	if at != last {
		t.warnings = append(t.warnings, fmt.Sprintf("the backup of the partition table is in sector %d and not in the last one, %d: the image was enlarged", at, last))
	}
}

// readMBR takes an MBR only for one when all of its entries make sense: a FAT's boot sector has
// the same signature.
func readMBR(b []byte, size int64) table {
	le := binary.LittleEndian
	t := table{kind: "mbr", id: fmt.Sprintf("%08x", le.Uint32(b[440:]))}
	for i := range 4 {
		e := b[446+16*i:][:16]
		start, length := int64(le.Uint32(e[8:]))*sector, int64(le.Uint32(e[12:]))*sector
		if e[4] == 0 || length == 0 { // what has no sectors is no partition for the kernel either
			continue
		}
		if e[0]&0x7f != 0 || start == 0 || start > size || length > size-start {
			return table{kind: "none"}
		}
		t.partitions = append(t.partitions, Partition{
			Number: i + 1, Start: start, Size: length, Bootable: e[0] == 0x80, Type: mbrType(e[4]),
			PartUUID: fmt.Sprintf("%s-%02x", t.id, i+1),
		})
	}
	if len(t.partitions) == 0 {
		return table{kind: "none"}
	}
	return t
}

func mbrType(code byte) string {
	switch code {
	case 0x83:
		return "linux"
	case 0xef:
		return "esp"
	case 0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e:
		return "fat"
	}
	return fmt.Sprintf("0x%02x", code)
}

// readGPT reads the header in a sector and the entries it names (UEFI 2.10, section 5.3).
func readGPT(r io.ReaderAt, size, lba int64) (table, error) {
	le := binary.LittleEndian
	h := make([]byte, sector)
	if n, err := r.ReadAt(h, lba*sector); n < sector {
		return table{}, fmt.Errorf("reading GPT header in sector %d: %w", lba, err)
	}
	length := le.Uint32(h[12:])
	if !bytes.HasPrefix(h, []byte("EFI PART")) || length < 92 || length > sector {
		return table{}, fmt.Errorf("reading GPT header in sector %d: it has no signature or a wrong length", lba)
	}
	want := le.Uint32(h[16:])
	le.PutUint32(h[16:], 0)
	if got := crc32.ChecksumIEEE(h[:length]); got != want {
		return table{}, fmt.Errorf("reading GPT header in sector %d: its checksum is %08x and the header says %08x", lba, got, want)
	}
	at, count, each := int64(le.Uint64(h[72:])), int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:]))
	if count > maxEntries || each < 128 || each > maxEntrySize || at < 2 || at > size/sector {
		return table{}, fmt.Errorf("reading GPT: %d entries of %d bytes in sector %d are out of range", count, each, at)
	}
	entries := make([]byte, count*each)
	if n, err := r.ReadAt(entries, at*sector); n < len(entries) {
		return table{}, fmt.Errorf("reading GPT entries in sector %d: %w", at, err)
	}
	if got, want := crc32.ChecksumIEEE(entries), le.Uint32(h[88:]); got != want {
		return table{}, fmt.Errorf("reading GPT entries: their checksum is %08x and the header says %08x", got, want)
	}
	le.PutUint32(h[16:], want)
	t := table{kind: "gpt", id: guid(h[56:72]), gpt: GPT{Header: h, Entries: entries, EntrySize: int(each), Primary: lba == 1}}
	return gptPartitions(t, entries, each, size)
}

func gptPartitions(t table, entries []byte, each, size int64) (table, error) {
	le := binary.LittleEndian
	for i := int64(0); i*each < int64(len(entries)); i++ {
		e := entries[i*each:][:each]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if first < firstUsable || first > last || last >= uint64(size/sector) {
			return t, fmt.Errorf("reading GPT: partition %d from sector %d to %d is not inside of the disk (%d sectors)", i+1, first, last, size/sector)
		}
		t.partitions = append(t.partitions, Partition{
			Number: int(i + 1), Start: int64(first) * sector, Size: int64(last-first+1) * sector,
			Type: gptType(guid(e[:16])), Name: utf16Name(e[56:128]), PartUUID: guid(e[16:32]),
			Bootable: e[48]&4 != 0, // legacy BIOS bootable
		})
	}
	return t, nil
}

func gptType(id string) string {
	switch id {
	case "0fc63daf-8483-4772-8e79-3d69d8477de4", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "b921b045-1df0-41c3-af44-4c6f280d3fae":
		return "linux"
	case "c12a7328-f81f-11d2-ba4b-00a0c93ec93b":
		return "esp"
	case "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7":
		return "fat"
	case "21686148-6449-6e6f-744e-656564454649":
		return "bios-boot"
	}
	return id
}

// guid writes the mixed-endian GUID of a GPT as people do.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func utf16Name(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
