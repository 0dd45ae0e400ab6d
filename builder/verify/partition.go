package verify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	sectorSize = 512
	// maxGPTTable bounds the partition entries read; the usual table has 16 KiB.
	maxGPTTable = 1 << 20
)

// findFAT returns the first FAT partition of an image with an MBR or a GPT: the one that firmware
// boots from. Only primary partitions count, as they do for the firmware.
func findFAT(r io.ReaderAt, size int64) (region, error) {
	var b [2 * sectorSize]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return region{}, fmt.Errorf("reading partition table: %w", err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return region{}, errors.New("reading partition table: the first sector has no signature; is it a raw disk image?")
	}
	var found []region
	var err error
	if bytes.HasPrefix(b[sectorSize:], []byte("EFI PART")) {
		found, err = gptFATs(r, b[sectorSize:])
	} else {
		found = mbrFATs(b[:sectorSize])
	}
	if err != nil {
		return region{}, err
	}
	for _, p := range found {
		if p.offset > 0 && p.size > 0 && p.offset < size && p.size <= size-p.offset {
			return p, nil
		}
	}
	return region{}, errors.New("reading partition table: there is no FAT partition to boot from")
}

func mbrFATs(b []byte) (found []region) {
	types := []byte{0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef}
	for e := range slices.Chunk(b[446:510], 16) {
		if slices.Contains(types, e[4]) {
			found = append(found, region{
				offset: int64(binary.LittleEndian.Uint32(e[8:])) * sectorSize,
				size:   int64(binary.LittleEndian.Uint32(e[12:])) * sectorSize,
			})
		}
	}
	return found
}

func gptFATs(r io.ReaderAt, header []byte) (found []region, err error) {
	le := binary.LittleEndian
	at, count, size := le.Uint64(header[72:]), uint64(le.Uint32(header[80:])), uint64(le.Uint32(header[84:]))
	if size < 128 || size > 4096 || count*size > maxGPTTable || at > 1<<40 {
		return nil, fmt.Errorf("reading GPT: %d entries of %d bytes at sector %d are not a partition table", count, size, at)
	}
	table := make([]byte, count*size)
	if _, err := r.ReadAt(table, int64(at)*sectorSize); err != nil {
		return nil, fmt.Errorf("reading GPT: %w", err)
	}
	types := [][]byte{ // EFI system partition, Microsoft basic data; the first three fields are little-endian
		{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b},
		{0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7},
	}
	for e := range slices.Chunk(table, int(size)) {
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		known := slices.ContainsFunc(types, func(t []byte) bool { return bytes.Equal(t, e[:16]) })
		if known && first < 1<<40 && last >= first && last < 1<<40 {
			found = append(found, region{offset: int64(first) * sectorSize, size: int64(last-first+1) * sectorSize})
		}
	}
	return found, nil
}
