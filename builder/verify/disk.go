package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Disk is what a machine has left on its disk: an overlay with the image below it. It is for reading,
// and only after the machine has ended.
type Disk struct {
	over, base *os.File
	size       int64
	l1         []uint64
	l2         map[uint64][]uint64 // by their offsets; nil is empty
}

// The bits of an L2 entry (qemu/docs/interop/qcow2.txt).
const (
	offsetBits   = 0x00fffffffffffe00
	zeroBit      = 1
	compressed   = 1 << 62
	mostL1       = 1 << 16 // entries: 32 TiB, far beyond every overlay
	headerLimits = 1024
)

// OpenDisk opens an overlay that Overlay has made and QEMU has written to, and its backing file.
func OpenDisk(path string) (*Disk, error) {
	d := &Disk{l2: map[uint64][]uint64{}}
	if err := d.open(path); err != nil {
		_ = d.Close() // read only
		return nil, fmt.Errorf("opening overlay %s: %w", path, err)
	}
	return d, nil
}

func (d *Disk) open(path string) (err error) {
	if d.over, err = os.Open(path); err != nil {
		return err
	}
	head := make([]byte, headerLimits)
	if _, err := io.ReadFull(d.over, head); err != nil {
		return err
	}
	be := binary.BigEndian
	name, length := be.Uint64(head[8:]), be.Uint32(head[16:])
	entries, table := be.Uint32(head[36:]), int64(be.Uint64(head[40:]))
	if string(head[:4]) != "QFI\xfb" || be.Uint32(head[20:]) != clusterBits || name > headerLimits || name+uint64(length) > headerLimits || entries > mostL1 {
		return errors.New("it is no qcow2 with clusters of 64 KiB and a backing file")
	}
	d.size = int64(be.Uint64(head[24:]))
	if d.l1, err = d.table(table, int(entries)); err != nil {
		return err
	}
	d.base, err = os.Open(string(head[name : name+uint64(length)]))
	return err
}

// table reads big-endian entries.
func (d *Disk) table(at int64, entries int) ([]uint64, error) {
	b := make([]byte, entries*8)
	if _, err := d.over.ReadAt(b, at); err != nil {
		return nil, err
	}
	t := make([]uint64, entries)
	for i := range t {
		t[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return t, nil
}

// Close closes both files.
func (d *Disk) Close() error {
	var errs []error
	for _, f := range []*os.File{d.over, d.base} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Size is the size of the disk as the machine saw it, in bytes.
func (d *Disk) Size() int64 { return d.size }

// entry is the L2 entry of the guest cluster with this index; 0 is one of the backing file.
func (d *Disk) entry(cluster int64) (uint64, error) {
	if cluster/l2Entries >= int64(len(d.l1)) {
		return 0, io.EOF
	}
	at := d.l1[cluster/l2Entries] & offsetBits
	if at == 0 {
		return 0, nil
	}
	l2, ok := d.l2[at]
	if !ok {
		var err error
		if l2, err = d.table(int64(at), l2Entries); err != nil {
			return 0, err
		}
		d.l2[at] = l2
	}
	e := l2[cluster%l2Entries]
	if e&compressed != 0 {
		return 0, fmt.Errorf("cluster %d is compressed, which QEMU does not write to a running machine's overlay", cluster)
	}
	return e &^ copied, nil
}

// ReadAt reads what the machine would read.
func (d *Disk) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < d.size {
		inside := off % clusterSize
		part := p[n:min(len(p), n+int(min(clusterSize-inside, d.size-off)))]
		if err := d.readIn(part, off); err != nil {
			return n, fmt.Errorf("reading overlay at %d: %w", off, err)
		}
		n += len(part)
		off += int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readIn reads a part of one cluster.
func (d *Disk) readIn(p []byte, off int64) error {
	e, err := d.entry(off / clusterSize)
	if err != nil {
		return err
	}
	clear(p)
	switch {
	case e&zeroBit != 0:
		return nil
	case e != 0:
		return readFull(d.over, p, int64(e&offsetBits)+off%clusterSize)
	}
	return readFull(d.base, p, off)
}

// Written calls visit for each cluster that was written, in order; the bytes are visit's until it returns.
func (d *Disk) Written(visit func(off int64, data []byte) error) error {
	data := make([]byte, clusterSize)
	for cluster := range ceil(d.size, clusterSize) {
		e, err := d.entry(cluster)
		if err != nil {
			return err
		}
		if e == 0 || e&zeroBit != 0 {
			continue
		}
		n := min(clusterSize, d.size-cluster*clusterSize)
		if err := d.readIn(data[:n], cluster*clusterSize); err != nil {
			return err
		}
		if err := visit(cluster*clusterSize, data[:n]); err != nil {
			return err
		}
	}
	return nil
}
