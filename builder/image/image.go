// Package image opens raw disk images and reads what is inside, without mounting.
//
// An Image is a file with a partition table (MBR, GPT, or a single file system without a table).
// A Partition is one entry with what its file system says about itself. A Root is the running
// system's view: the root file system with the others mounted as its /etc/fstab says.
//
// Subset: 512-byte sectors, primary MBR partitions, ext4 and FAT. Images come from strangers: every
// count is bounded by a constant or by the size of the file. go-diskfs is not used for reading
// tables because its GPT reader (1.9.4) allocates what the header announces, up to 2^64 bytes.
package image

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/tree"
)

// Partition is one partition of an Image. Places and sizes are in bytes.
type Partition struct {
	Number int   `json:"number"`
	Start  int64 `json:"start"`
	Size   int64 `json:"size"`
	// Type is linux, esp, fat or bios-boot; for others the table's code: 0x82, or a GUID.
	Type string `json:"type"`
	// Name of the partition, GPT only.
	Name     string `json:"name,omitempty"`
	Bootable bool   `json:"bootable,omitempty"`
	PartUUID string `json:"partUUID,omitempty"`
	// FS is ext4, vfat, or empty when it is neither.
	FS    string `json:"fs,omitempty"`
	Label string `json:"label,omitempty"`
	// UUID of the file system; a FAT's is its serial, 1234-ABCD.
	UUID string `json:"uuid,omitempty"`
}

// Image is an open image. It is safe for concurrent use.
type Image struct {
	r      io.ReaderAt
	size   int64
	table  table
	blob   cas.Digest
	reader *tree.Reader
	close  func() error
	mu     sync.Mutex
	trees  map[int]tree.Tree
}

// Open opens the raw image at path. The caller closes it.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening image: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd) // a block device has no size in its Stat
	if err == nil {
		var img *Image
		if img, err = New(f, size, cas.Of([]byte("image "+path))); err == nil {
			img.close = f.Close
			return img, nil
		}
	}
	_ = f.Close() // opened for reading only
	return nil, fmt.Errorf("opening image %s: %w", path, err)
}

// New reads the partition table of size bytes at r; contents of its files refer to blob.
func New(r io.ReaderAt, size int64, blob cas.Digest) (*Image, error) {
	t, err := readTable(r, size)
	if err != nil {
		return nil, err
	}
	img := &Image{r: r, size: size, table: t, blob: blob, reader: tree.NewReader(nil), trees: map[int]tree.Tree{}, close: func() error { return nil }}
	img.reader.Add(blob, r)
	if t.kind == "none" {
		img.table.partitions = []Partition{{Number: 1, Size: size}}
	}
	for i := range img.table.partitions {
		img.probe(&img.table.partitions[i])
	}
	if t.kind == "none" && img.table.partitions[0].FS == "" {
		return nil, errors.New("reading partition table: there is none, and no ext4 or FAT at the beginning either: is this a raw image?")
	}
	return img, nil
}

// Close closes the file.
func (img *Image) Close() error { return img.close() }

// Size returns the size of the image in bytes.
func (img *Image) Size() int64 { return img.size }

// Table returns mbr, gpt or none.
func (img *Image) Table() string { return img.table.kind }

// ID returns the disk's identifier: eight digits or a GUID.
func (img *Image) ID() string { return img.table.id }

// GPT returns the table itself; ok is false when the image has another one.
func (img *Image) GPT() (g GPT, ok bool) { return img.table.gpt, img.table.kind == "gpt" }

// Warnings say what is unusual about the partition table, a sentence each: a backup that had to
// be used, or is missing.
func (img *Image) Warnings() []string { return append([]string(nil), img.table.warnings...) }

// ReadAt reads bytes of the whole image.
func (img *Image) ReadAt(p []byte, off int64) (int, error) { return img.r.ReadAt(p, off) }

// Partitions lists the partitions by number.
func (img *Image) Partitions() []Partition {
	return append([]Partition(nil), img.table.partitions...)
}

// Reader opens contents of the trees that Tree and Root return.
func (img *Image) Reader() *tree.Reader { return img.reader }

// Section reads one partition.
func (img *Image) Section(p Partition) *io.SectionReader { return img.section(p) }

func (img *Image) section(p Partition) *io.SectionReader {
	return io.NewSectionReader(img.r, p.Start, p.Size)
}

const (
	superblock = 1024 // of ext4, bytes from the beginning
	superMagic = 0xef53
)

// probe finds what file system is in p.
func (img *Image) probe(p *Partition) {
	var b [superblock]byte
	s := img.section(*p)
	if n, _ := s.ReadAt(b[:], superblock); n == len(b) && binary.LittleEndian.Uint16(b[56:]) == superMagic {
		u := b[104:120]
		p.FS = "ext4"
		p.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
		p.Label, _, _ = strings.Cut(string(b[120:136]), "\x00")
		return
	}
	if f, err := fat.Open(s, p.Size); err == nil {
		info := f.Info()
		p.FS, p.Label = "vfat", info.Label
		p.UUID = fmt.Sprintf("%04X-%04X", info.VolumeID>>16, info.VolumeID&0xffff)
	}
}

// Tree reads all names of a partition, once.
func (img *Image) Tree(ctx context.Context, number int) (tree.Tree, error) {
	img.mu.Lock()
	defer img.mu.Unlock()
	if t, ok := img.trees[number]; ok {
		return t, nil
	}
	p, ok := img.find(func(p Partition) bool { return p.Number == number })
	if !ok {
		return tree.Tree{}, fmt.Errorf("reading partition %d: the image has none of that number", number)
	}
	t, err := img.readTree(ctx, p)
	if err != nil {
		return tree.Tree{}, fmt.Errorf("reading partition %d: %w", number, err)
	}
	img.trees[number] = t
	return t, nil
}

func (img *Image) readTree(ctx context.Context, p Partition) (tree.Tree, error) {
	switch p.FS {
	case "ext4":
		f, err := ext4.Open(img.section(p), p.Size)
		if err == nil {
			err = f.Intact()
		}
		if err != nil {
			return tree.Tree{}, err
		}
		return f.Tree(ctx, img.blob, p.Start)
	case "vfat":
		f, err := fat.Open(img.section(p), p.Size)
		if err != nil {
			return tree.Tree{}, err
		}
		return f.Tree(ctx, img.blob, p.Start)
	}
	return tree.Tree{}, fmt.Errorf("it holds neither ext4 nor FAT (type %s)", p.Type)
}

func (img *Image) find(is func(Partition) bool) (Partition, bool) {
	for _, p := range img.table.partitions {
		if is(p) {
			return p, true
		}
	}
	return Partition{}, false
}
