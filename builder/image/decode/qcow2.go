package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The header of qcow2 (QEMU, docs/interop/qcow2.txt). All integers are big-endian.
const (
	qcowMagic       = "QFI\xfb"
	qcowHeader2     = 72
	qcowHeader3     = 104
	minClusterBits  = 9
	maxClusterBits  = 21      // 2 MiB, as QEMU
	maxL1           = 4 << 20 // entries, as QEMU (32 MiB)
	maxGuest        = 8 << 20 // clusters of the image: 64 GiB of 8 KiB; keeps the map below 64 MiB
	maxBackingName  = 1023
	maxExtensions   = 64
	entryOffset     = 0x00fffffffffffe00
	entryZero       = 1
	entryCompressed = 1 << 62

	bitDirty       = 1 << 0
	bitCorrupt     = 1 << 1
	bitDataFile    = 1 << 2
	bitCompression = 1 << 3
	bitExtendedL2  = 1 << 4

	extensionDataFile = 0x44415441
)

// BackingFileError says that a qcow2 is not whole: its bytes are in another file as well.
type BackingFileError struct {
	// Kind is "backing file" or "external data file".
	Kind, Name string
}

func (e *BackingFileError) Error() string {
	return fmt.Sprintf("reading qcow2: it needs the %s %q, which is not part of it: make it whole with `qemu-img convert -O qcow2`", e.Kind, e.Name)
}

// qcow is an open qcow2 whose tables were read and checked.
type qcow struct {
	r       io.ReaderAt
	file    int64 // bytes of the file
	version uint32
	bits    uint32
	cluster int64
	size    int64 // of the image
	zstd    bool
	l1At    int64
	l1      []uint64
	guest   []uint64 // L2 entry of each cluster of the image
	use     []byte   // of each cluster of the file: what it was taken for
}

// What a cluster of the file may be taken for. Only compressed data may share one.
const (
	useNothing = iota
	useTable
	useData
	useCompressed
)

func openQCOW2(r io.ReaderAt, file, limit int64) (*qcow, error) {
	q := &qcow{r: r, file: file}
	if err := q.readHeader(limit); err != nil {
		return nil, err
	}
	q.use = make([]byte, (file+q.cluster-1)/q.cluster)
	q.use[0] = useTable
	if err := q.readL1(); err != nil {
		return nil, fmt.Errorf("reading qcow2 tables: %w", err)
	}
	if err := q.readL2(); err != nil {
		return nil, fmt.Errorf("reading qcow2 tables: %w", err)
	}
	return q, nil
}

func (q *qcow) readHeader(limit int64) error {
	h := make([]byte, qcowHeader3+8)
	n, err := q.r.ReadAt(h, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading qcow2 header: %w", err)
	}
	be := binary.BigEndian
	q.version = be.Uint32(h[4:])
	if n < qcowHeader2 || string(h[:4]) != qcowMagic || q.version < 2 || q.version > 3 || q.version == 3 && n < qcowHeader3 {
		return fmt.Errorf("reading qcow2 header: version %d in %d bytes: versions 2 and 3 are read", q.version, n)
	}
	q.bits = be.Uint32(h[20:])
	if q.bits < minClusterBits || q.bits > maxClusterBits {
		return fmt.Errorf("reading qcow2 header: clusters of 2^%d bytes; from 2^%d to 2^%d are possible", q.bits, minClusterBits, maxClusterBits)
	}
	q.cluster = 1 << q.bits
	if err := q.refuse(h); err != nil {
		return err
	}
	size := be.Uint64(h[24:])
	if size > uint64(limit) {
		return &LimitError{Format: QCOW2, Max: limit}
	}
	q.size = int64(size)
	if crypt := be.Uint32(h[32:]); crypt != 0 {
		return fmt.Errorf("reading qcow2 header: the image is encrypted (method %d): decrypt it with qemu-img convert", crypt)
	}
	return q.checkL1(be.Uint64(h[40:]), be.Uint32(h[36:]))
}

// refuse looks at what makes an image unreadable on its own.
func (q *qcow) refuse(h []byte) error {
	be := binary.BigEndian
	if at := be.Uint64(h[8:]); at != 0 {
		return &BackingFileError{"backing file", q.name(at, be.Uint32(h[16:]))}
	}
	if q.version == 2 {
		return nil
	}
	features, length := be.Uint64(h[72:]), int64(be.Uint32(h[100:]))
	if length < qcowHeader3 || length > q.cluster {
		return fmt.Errorf("reading qcow2 header: a length of %d bytes is out of range", length)
	}
	switch known := uint64(bitDirty | bitCorrupt | bitDataFile | bitCompression | bitExtendedL2); {
	case features&bitDataFile != 0:
		return &BackingFileError{"external data file", q.dataFile(length)}
	case features&bitCorrupt != 0:
		return errors.New("reading qcow2 header: the image is marked as corrupt: repair it with `qemu-img check -r all`")
	case features&bitExtendedL2 != 0:
		return errors.New("reading qcow2 header: extended L2 entries are not supported: convert it with `qemu-img convert -O qcow2`")
	case features&^known != 0:
		return fmt.Errorf("reading qcow2 header: unknown incompatible features %#x", features&^known)
	case features&bitCompression == 0:
		return nil
	}
	if length < qcowHeader3+1 || h[104] > 1 {
		return fmt.Errorf("reading qcow2 header: compression %d is not known", h[104])
	}
	q.zstd = h[104] == 1
	return nil
}

func (q *qcow) name(at uint64, length uint32) string {
	b := make([]byte, min(length, maxBackingName))
	n, _ := q.r.ReadAt(b, int64(min(at, uint64(q.file)))) // it is only shown
	return string(b[:n])
}

// dataFile finds the name of an external data file among the header's extensions.
func (q *qcow) dataFile(at int64) string {
	var h [8]byte
	for range maxExtensions {
		if n, _ := q.r.ReadAt(h[:], at); n < len(h) {
			break
		}
		kind, length := binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:])
		if kind == extensionDataFile {
			return q.name(uint64(at)+8, length)
		}
		if kind == 0 {
			break
		}
		at += 8 + (int64(length)+7)/8*8
	}
	return ""
}

// checkL1 wants the table inside of the file, and as long as the image needs it.
func (q *qcow) checkL1(at uint64, entries uint32) error {
	guest := (q.size + q.cluster - 1) / q.cluster
	if guest > maxGuest {
		return fmt.Errorf("reading qcow2 header: %d clusters of %d bytes are more than the %d that are read: convert it to clusters of 64 KiB", guest, q.cluster, maxGuest)
	}
	perL2 := q.cluster / 8
	need := (guest + perL2 - 1) / perL2
	if int64(entries) < need || entries > maxL1 || at%uint64(q.cluster) != 0 || at > uint64(q.file) || int64(at)+int64(entries)*8 > q.file {
		return fmt.Errorf("reading qcow2 header: an L1 table of %d entries at byte %d, of %d that are needed, is not in the file (%d bytes)", entries, at, need, q.file)
	}
	q.l1At, q.l1, q.guest = int64(at), make([]uint64, need), make([]uint64, guest)
	return nil
}

func (q *qcow) readL1() error {
	if len(q.l1) == 0 {
		return nil
	}
	if err := q.take(q.l1At, int64(len(q.l1))*8, useTable); err != nil {
		return fmt.Errorf("L1 table: %w", err)
	}
	return q.readEntries(q.l1At, q.l1)
}

func (q *qcow) readEntries(at int64, out []uint64) error {
	b := make([]byte, len(out)*8)
	if _, err := q.r.ReadAt(b, at); err != nil {
		return fmt.Errorf("at byte %d: %w", at, err)
	}
	for i := range out {
		out[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}

func (q *qcow) readL2() error {
	perL2 := int(q.cluster / 8)
	for i, entry := range q.l1 {
		at := int64(entry & entryOffset)
		if at == 0 {
			continue
		}
		if err := q.take(at, q.cluster, useTable); err != nil {
			return fmt.Errorf("L2 table %d: %w", i, err)
		}
		part := q.guest[i*perL2 : min((i+1)*perL2, len(q.guest))]
		if err := q.readEntries(at, part); err != nil {
			return fmt.Errorf("L2 table %d: %w", i, err)
		}
	}
	for i, entry := range q.guest {
		if err := q.checkEntry(entry); err != nil {
			return fmt.Errorf("cluster %d of the image: %w", i, err)
		}
	}
	return nil
}

func (q *qcow) checkEntry(entry uint64) error {
	at := int64(entry & entryOffset)
	switch {
	case entry&entryCompressed != 0:
		start, length := q.compressed(entry)
		if start >= q.file {
			return fmt.Errorf("compressed data at byte %d: the file has %d", start, q.file)
		}
		return q.take(start, min(length, q.file-start), useCompressed)
	case entry&entryZero != 0 && q.version == 2:
		return errors.New("its entry has the flag for zeros, which version 2 does not know")
	case entry&entryZero != 0 || at == 0:
		return nil
	}
	return q.take(at, min(q.cluster, max(q.file-at, 1)), useData) // the last cluster may be short
}

// compressed returns where the compressed bytes of an entry are; the length is that of the
// sectors they lie in.
func (q *qcow) compressed(entry uint64) (at, length int64) {
	x := 62 - (q.bits - 8)
	at = int64(entry & (1<<x - 1))
	sectors := int64(entry>>x&(1<<(q.bits-8)-1)) + 1
	return at, sectors*512 - at%512
}

// take notes what a part of the file is used for. Every cluster has one use, so tables that
// point at each other, or at themselves, are found here.
func (q *qcow) take(at, length int64, use byte) error {
	if at < 0 || length < 1 || at > q.file-length {
		return fmt.Errorf("%d bytes at byte %d are not in the file (%d bytes)", length, at, q.file)
	}
	if use != useCompressed && at%q.cluster != 0 {
		return fmt.Errorf("it is at byte %d, not at the beginning of a cluster", at)
	}
	for c := at >> q.bits; c <= (at+length-1)>>q.bits; c++ {
		if old := q.use[c]; old != useNothing && (old != use || use != useCompressed) {
			return fmt.Errorf("the cluster at byte %d of the file is used twice: its tables are damaged or loop", c<<q.bits)
		}
		q.use[c] = use
	}
	return nil
}
