package image

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

const tableSectors = 64 // of the disks of these tests

// inside checks that partitions are on the disk.
func inside(t *testing.T, partitions []Partition, size int64) {
	t.Helper()
	for _, p := range partitions {
		if p.Start < sector || p.Size <= 0 || p.Start+p.Size > size {
			t.Errorf("%+v is outside of %d bytes", p, size)
		}
	}
}

// mbrSector is an MBR with partitions of a type, place and length in sectors each.
func mbrSector(entries ...[3]uint32) []byte {
	b := make([]byte, sector)
	binary.LittleEndian.PutUint32(b[440:], 0x1234abcd)
	for i, e := range entries {
		at := b[446+16*i:]
		at[4] = byte(e[0])
		binary.LittleEndian.PutUint32(at[8:], e[1])
		binary.LittleEndian.PutUint32(at[12:], e[2])
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

func FuzzMBR(f *testing.F) {
	f.Add(mbrSector([3]uint32{0x0c, 1, 20}, [3]uint32{0x83, 21, 43}), uint32(tableSectors))
	f.Add(mbrSector([3]uint32{0x05, 1, 63}), uint32(tableSectors))                // an extended one
	f.Add(mbrSector([3]uint32{0x83, 0xffffffff, 0xffffffff}), uint32(0xffffffff)) // beyond 2 TiB
	f.Add(mbrSector([3]uint32{0xee, 1, 63}), uint32(tableSectors))
	f.Add(mbrSector([3]uint32{0x05, 63, 0}), uint32(tableSectors)) // without a sector
	f.Fuzz(func(t *testing.T, b []byte, sectors uint32) {
		if len(b) < sector {
			return
		}
		inside(t, readMBR(b[:sector], int64(sectors)*sector).partitions, int64(sectors)*sector)
	})
}

// gptDisk is a disk with this header, its checksum made right, and entries behind it. Without right checksums
// a fuzzer would never get to the fields.
func gptDisk(header, entries []byte) []byte {
	b := make([]byte, tableSectors*sector)
	copy(b, mbrSector([3]uint32{0xee, 1, tableSectors - 1}))
	h := b[sector : 2*sector]
	copy(h, header)
	copy(h, "EFI PART")
	le := binary.LittleEndian
	copy(b[2*sector:], entries)
	at, length := le.Uint64(h[72:]), int64(le.Uint32(h[80:]))*int64(le.Uint32(h[84:]))
	if at < tableSectors && length > 0 && length <= int64(len(b))-int64(at)*sector {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(b[int64(at)*sector:][:length]))
	}
	le.PutUint32(h[16:], 0)
	if n := le.Uint32(h[12:]); n <= sector {
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:n]))
	}
	return b
}

// gptHeader announces entries in sector 2.
func gptHeader(count, each uint32) []byte {
	h := make([]byte, 92)
	le := binary.LittleEndian
	le.PutUint32(h[8:], 0x10000)
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[32:], tableSectors-1)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], count)
	le.PutUint32(h[84:], each)
	return h
}

func gptEntry(first, last uint64) []byte {
	e := make([]byte, 128)
	copy(e, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4")
	binary.LittleEndian.PutUint64(e[32:], first)
	binary.LittleEndian.PutUint64(e[40:], last)
	copy(e[56:], "r\x00o\x00o\x00t\x00")
	return e
}

func FuzzGPT(f *testing.F) {
	f.Add(gptHeader(4, 128), gptEntry(34, 60))
	f.Add(gptHeader(128, 128), append(gptEntry(34, 40), gptEntry(41, 62)...))
	f.Add(gptHeader(0xffffffff, 0xffffffff), gptEntry(34, 60))
	f.Add(gptHeader(4, 128), gptEntry(60, 34))
	f.Add(gptHeader(4, 128), gptEntry(0, 1<<63))
	f.Add(gptHeader(4, 128), gptEntry(0, 0)) // on the MBR
	f.Add(gptHeader(4, 128), gptEntry(1, 1)) // on the header
	f.Add(gptHeader(0, 128), []byte(nil))
	f.Fuzz(func(t *testing.T, header, entries []byte) {
		b := gptDisk(header, entries)
		got, err := readTable(bytes.NewReader(b), int64(len(b)))
		if err == nil && got.kind == "gpt" && len(got.gpt.Entries) > maxEntries*maxEntrySize {
			t.Errorf("%d bytes of entries", len(got.gpt.Entries))
		}
		inside(t, got.partitions, int64(len(b)))
	})
}

// TestGPTSeeds: the seeds with right checksums get through to the partitions.
func TestGPTSeeds(t *testing.T) {
	b := gptDisk(gptHeader(4, 128), gptEntry(34, 60))
	got, err := readTable(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(got.partitions) != 1 || got.partitions[0].Name != "root" || got.partitions[0].Type != "linux" {
		t.Errorf("%+v, %v", got.partitions, err)
	}
}
