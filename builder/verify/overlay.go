package verify

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Patch replaces Length bytes at Offset of a disk by those of Data, from its own offset 0 on.
type Patch struct {
	Offset, Length int64
	Data           io.ReaderAt
}

// The geometry of an overlay, as QEMU's own default.
const (
	clusterBits  = 16
	clusterSize  = 1 << clusterBits
	l2Entries    = clusterSize / 8 // one L2 table maps 512 MiB
	refsPerBlock = clusterSize / 2 // 16-bit reference counts
	headerLength = 104
	copied       = 1 << 63 // in table entries: the reference count is one
	formatRaw    = 0xe2792aca
)

// Overlay writes a qcow2 file (version 3, 64 KiB clusters) at path whose unallocated clusters are
// those of the raw file backing, which QEMU then only reads. size is the virtual size in bytes; it
// may be larger than the backing file and is at least as large. Clusters that patches touch are
// allocated. Patches may not overlap. Format: qemu/docs/interop/qcow2.txt.
func Overlay(ctx context.Context, path, backing string, size int64, patches []Patch) error {
	backing, err := filepath.Abs(backing)
	if err != nil {
		return fmt.Errorf("making overlay %s: %w", path, err)
	}
	base, err := os.Open(backing)
	if err != nil {
		return fmt.Errorf("making overlay %s: %w", path, err)
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return fmt.Errorf("making overlay %s: %w", path, err)
	}
	patches = slices.SortedFunc(slices.Values(patches), func(a, b Patch) int { return cmp.Compare(a.Offset, b.Offset) })
	if err := checkPatches(patches, max(size, info.Size())); err != nil {
		return fmt.Errorf("making overlay %s: %w", path, err)
	}
	o := overlay{ctx: ctx, base: base, backing: backing, size: max(size, info.Size()), patches: patches}
	o.plan()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making overlay %s: %w", path, err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(o.write(w), w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("making overlay %s: %w", path, err)
	}
	return nil
}

func checkPatches(sorted []Patch, size int64) error {
	end := int64(0)
	for _, p := range sorted {
		if p.Offset < end || p.Length < 0 || p.Offset > size-p.Length {
			return fmt.Errorf("a patch covers bytes %d to %d, but bytes from %d to %d are free", p.Offset, p.Offset+p.Length, end, size)
		}
		end = p.Offset + p.Length
	}
	return nil
}

// overlay is the plan of a file: header, reference count table and blocks, L1 table, L2 tables,
// data, each in whole clusters and in this order, so that it is written in one pass.
type overlay struct {
	ctx     context.Context
	base    io.ReaderAt
	backing string
	size    int64
	patches []Patch

	guest     []int64 // indices of the guest clusters that are allocated, ascending
	l2        []int64 // indices of the L2 tables that exist, ascending
	l1Entries int64
	refTable  int64 // clusters
	refBlocks int64 // clusters
	l1        int64 // clusters
	total     int64 // clusters of the file
}

func (o *overlay) plan() {
	for _, p := range o.patches {
		for c := p.Offset / clusterSize; c*clusterSize < p.Offset+p.Length; c++ {
			if len(o.guest) == 0 || o.guest[len(o.guest)-1] != c {
				o.guest = append(o.guest, c)
			}
		}
	}
	for _, c := range o.guest {
		if len(o.l2) == 0 || o.l2[len(o.l2)-1] != c/l2Entries {
			o.l2 = append(o.l2, c/l2Entries)
		}
	}
	o.l1Entries = max(1, ceil(ceil(o.size, clusterSize), l2Entries))
	o.l1 = ceil(o.l1Entries*8, clusterSize)
	rest := 1 + o.l1 + int64(len(o.l2)) + int64(len(o.guest))
	for { // the counts count themselves
		o.total = rest + o.refTable + o.refBlocks
		blocks := ceil(o.total, refsPerBlock)
		table := ceil(blocks*8, clusterSize)
		if blocks == o.refBlocks && table == o.refTable {
			return
		}
		o.refBlocks, o.refTable = blocks, table
	}
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

func (o *overlay) firstL2() int64   { return 1 + o.refTable + o.refBlocks + o.l1 }
func (o *overlay) firstData() int64 { return o.firstL2() + int64(len(o.l2)) }

func (o *overlay) write(w io.Writer) error {
	steps := []func(io.Writer) error{o.header, o.refCounts, o.tables, o.data}
	for _, step := range steps {
		if err := step(w); err != nil {
			return err
		}
	}
	return nil
}

func (o *overlay) header(w io.Writer) error {
	b := make([]byte, clusterSize)
	be := binary.BigEndian
	extensions := headerLength + 16 + 8 // the backing format, padded, and the end
	if extensions+len(o.backing) > 1023 {
		return fmt.Errorf("the backing file's path is %d bytes long, qcow2 has room for %d: %s", len(o.backing), 1023-extensions, o.backing)
	}
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint64(b[8:], uint64(extensions))
	be.PutUint32(b[16:], uint32(len(o.backing)))
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(o.size))
	be.PutUint32(b[36:], uint32(o.l1Entries))
	be.PutUint64(b[40:], uint64(1+o.refTable+o.refBlocks)*clusterSize)
	be.PutUint64(b[48:], clusterSize)
	be.PutUint32(b[56:], uint32(o.refTable))
	be.PutUint32(b[96:], 4) // reference counts of 2^4 bits
	be.PutUint32(b[100:], headerLength)
	be.PutUint32(b[headerLength:], formatRaw)
	be.PutUint32(b[headerLength+4:], 3)
	copy(b[headerLength+8:], "raw")
	copy(b[extensions:], o.backing)
	_, err := w.Write(b)
	return err
}

func (o *overlay) refCounts(w io.Writer) error {
	table := make([]byte, o.refTable*clusterSize)
	for i := range o.refBlocks {
		binary.BigEndian.PutUint64(table[i*8:], uint64(1+o.refTable+i)*clusterSize)
	}
	counts := make([]byte, o.refBlocks*clusterSize)
	for i := range o.total {
		binary.BigEndian.PutUint16(counts[i*2:], 1)
	}
	_, err := w.Write(append(table, counts...))
	return err
}

func (o *overlay) tables(w io.Writer) error {
	l1 := make([]byte, o.l1*clusterSize)
	for i, index := range o.l2 {
		binary.BigEndian.PutUint64(l1[index*8:], uint64(o.firstL2()+int64(i))*clusterSize|copied)
	}
	if _, err := w.Write(l1); err != nil {
		return err
	}
	next := 0
	for _, index := range o.l2 {
		l2 := make([]byte, clusterSize)
		for ; next < len(o.guest) && o.guest[next]/l2Entries == index; next++ {
			host := uint64(o.firstData()+int64(next)) * clusterSize
			binary.BigEndian.PutUint64(l2[o.guest[next]%l2Entries*8:], host|copied)
		}
		if _, err := w.Write(l2); err != nil {
			return err
		}
	}
	return nil
}

func (o *overlay) data(w io.Writer) error {
	b := make([]byte, clusterSize)
	for _, c := range o.guest {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		clear(b)
		if err := readFull(o.base, b, c*clusterSize); err != nil {
			return err
		}
		if err := o.apply(b, c*clusterSize); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// apply lays the patches that touch the cluster b at offset at over it.
func (o *overlay) apply(b []byte, at int64) error {
	for len(o.patches) > 0 && o.patches[0].Offset+o.patches[0].Length <= at {
		o.patches = o.patches[1:] // clusters come in order: done with it
	}
	for _, p := range o.patches {
		from, to := max(p.Offset, at), min(p.Offset+p.Length, at+int64(len(b)))
		if p.Offset >= at+int64(len(b)) {
			break
		}
		if from < to {
			if err := readFull(p.Data, b[from-at:to-at], from-p.Offset); err != nil {
				return err
			}
		}
	}
	return nil
}

// readFull reads len(b) bytes at offset; what lies behind the end stays as it is.
func readFull(r io.ReaderAt, b []byte, offset int64) error {
	_, err := r.ReadAt(b, offset)
	if err == io.EOF {
		return nil
	}
	return err
}
