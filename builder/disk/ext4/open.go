package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/edgebake/edgebake/builder/tree"
)

// FS is a file system opened for reading. It holds no lock on the image, which must not change.
type FS struct {
	r         io.ReaderAt
	raw       []byte // superblock
	bs        int64
	blocks    int64
	inodeLen  int64
	perGroup  int64 // inodes
	groupSize int64 // blocks
	first     int64 // first data block
	groups    int64
	descLen   int64
	compat    uint32
	incompat  uint32
	roCompat  uint32
	sum       checksummer
	seed      uint32
	tables    []int64 // inode table of each group
}

// Info describes a file system.
type Info struct {
	Label                string
	UUID                 [16]byte
	BlockSize            int64
	Blocks, FreeBlocks   int64
	Inodes, FreeInodes   int64
	ReservedBlocks       int64
	Features             []string // as dumpe2fs names them, in the order of their bits
	Checksums            Checksums
	State                string // "clean", "not clean", "needs recovery" or "errors"
	LastWrite            tree.Time
	HashSeed             [16]byte
	ReservedDescriptors  int // blocks kept for growing online
	InodeSize, DescBytes int
}

// NeedsRecoveryError says that changes are still in the journal: the file system was not
// unmounted. Reading it would give an old or mixed state.
type NeedsRecoveryError struct{ Label string }

func (e *NeedsRecoveryError) Error() string {
	return fmt.Sprintf("reading ext4 %q: its journal holds changes that were not carried out: unmount it cleanly, or run e2fsck on it", e.Label)
}

// Limits against images made to hurt.
const (
	maxGroups     = 1 << 20   // 128 TiB of 4 KiB blocks
	maxPath       = 16 << 10  // bytes; four times PATH_MAX
	maxXattrValue = 64 << 10  // XATTR_SIZE_MAX of the kernel
	maxTreeDepth  = 5         // of extents, EXT4_MAX_EXTENT_DEPTH
	chunkBytes    = 256 << 10 // inode tables are read in pieces of this size
	maxChunks     = 64        // of them kept

	// maxTree bounds the memory of a tree: its entries, paths, extents, links and attributes. A file costs about 300
	// bytes, so 400,000 files fit: more than a desktop with all of TeX has. Inodes may share the blocks of their extents and
	// attributes, so that a small image could ask for any amount. With what reading needs besides, it is at most 512 MiB.
	maxTree = 128 << 20

	// What is counted for maxTree besides the lengths of strings.
	entryCost = 152    // a tree.Entry
	nameCost  = 24     // a name
	attrCost  = 40     // a tree.Xattr
	runCost   = 2 * 32 // a tree.Extent and another one for the hole before it
)

// take counts n bytes of memory for the tree.
func (w *walk) take(n int) error {
	if w.memory += n; w.memory > maxTree {
		return fmt.Errorf("its names, extents and attributes take more than %d MiB of memory: it has far more files than a system has, or was made to exhaust whoever reads it; take another image", maxTree>>20)
	}
	return nil
}

// Open reads the superblock and the group descriptors of a file system of size bytes.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	f := &FS{r: r, raw: make([]byte, 1024), sum: newChecksummer()}
	if _, err := r.ReadAt(f.raw, 1024); err != nil {
		return nil, fmt.Errorf("reading ext4 superblock: %w", err)
	}
	if err := f.parseSuper(size); err != nil {
		return nil, fmt.Errorf("reading ext4 superblock: %w", err)
	}
	if err := f.readDescriptors(); err != nil {
		return nil, fmt.Errorf("reading ext4 group descriptors: %w", err)
	}
	if err := f.checkJournal(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *FS) u16(at int) int64 { return int64(binary.LittleEndian.Uint16(f.raw[at:])) }
func (f *FS) u32(at int) int64 { return int64(binary.LittleEndian.Uint32(f.raw[at:])) }

// u64 joins a low and a high half; the high one counts only with the feature 64bit.
func (f *FS) u64(lo, hi int) int64 {
	if f.incompat&incompat64bit == 0 {
		return f.u32(lo)
	}
	return f.u32(lo) | f.u32(hi)<<32
}

func (f *FS) parseSuper(size int64) error {
	if f.u16(0x38) != superMagic {
		return fmt.Errorf("magic number %#x instead of %#x: no ext2, ext3 or ext4", f.u16(0x38), superMagic)
	}
	f.inodeLen, f.descLen = 128, 32
	if f.u32(0x4C) > 0 { // revision 1
		f.inodeLen = f.u16(0x58)
		f.compat, f.incompat, f.roCompat = uint32(f.u32(0x5C)), uint32(f.u32(0x60)), uint32(f.u32(0x64))
	}
	if err := f.checkFeatures(); err != nil {
		return err
	}
	if f.incompat&incompat64bit != 0 {
		f.descLen = f.u16(0xFE)
	}
	f.groupSize, f.perGroup, f.first = f.u32(0x20), f.u32(0x28), f.u32(0x14)
	f.bs, f.blocks = 1024<<min(f.u32(0x18), 16), f.u64(0x4, 0x150)
	if err := f.checkGeometry(size); err != nil {
		return err
	}
	return f.checkSuperSum()
}

func (f *FS) checkFeatures() error {
	known := uint32(incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents | incompat64bit | incompatMMP |
		incompatFlexBG | incompatEAInode | incompatCsumSeed | incompatLargeDir | incompatInlineData)
	if bad := f.incompat &^ known; bad != 0 {
		return fmt.Errorf("it needs the feature %s, which is not supported", featureNames(incompatNames(), bad)[0])
	}
	if f.roCompat&roBigalloc != 0 {
		return fmt.Errorf("it needs the feature bigalloc, which is not supported")
	}
	return nil
}

func (f *FS) checkGeometry(size int64) error {
	pow2 := func(n, low, high int64) bool { return n >= low && n <= high && n&(n-1) == 0 }
	switch {
	case !pow2(f.bs, 1024, 65536):
		return fmt.Errorf("blocks of %d bytes", f.bs)
	case !pow2(f.inodeLen, 128, f.bs):
		return fmt.Errorf("inodes of %d bytes", f.inodeLen)
	case !pow2(f.descLen, 32, min(1024, f.bs)) || f.incompat&incompat64bit != 0 && f.descLen < 64:
		return fmt.Errorf("group descriptors of %d bytes", f.descLen)
	case f.groupSize < 8 || f.groupSize > 8*f.bs || f.perGroup < 1 || f.perGroup > 8*f.bs:
		return fmt.Errorf("groups of %d blocks and %d inodes", f.groupSize, f.perGroup)
	case f.blocks < 1 || f.blocks > size/f.bs:
		return fmt.Errorf("it has %d blocks of %d bytes but its image only %d bytes", f.blocks, f.bs, size)
	case f.first > 1 || f.first >= f.blocks:
		return fmt.Errorf("its first data block is %d", f.first)
	}
	f.groups = ceilDiv(f.blocks-f.first, f.groupSize)
	if f.groups > maxGroups {
		return fmt.Errorf("%d groups, at most %d are read", f.groups, maxGroups)
	}
	return nil
}

func (f *FS) checkSuperSum() error {
	if f.roCompat&roMetadataCsum == 0 {
		return nil
	}
	f.seed = f.sum.fsSeed(f.raw[0x68:0x78])
	if f.incompat&incompatCsumSeed != 0 {
		f.seed = uint32(f.u32(0x270))
	}
	if got, want := f.sum.update(^uint32(0), f.raw[:0x3FC]), uint32(f.u32(0x3FC)); got != want {
		return fmt.Errorf("its checksum is %#08x but says %#08x", got, want)
	}
	return nil
}

// readDescriptors reads the place of each group's inode table and checks the descriptors' sums.
func (f *FS) readDescriptors() error {
	perBlock := f.bs / f.descLen
	b := make([]byte, f.bs)
	tableBlocks := ceilDiv(f.perGroup*f.inodeLen, f.bs)
	for g := range f.groups {
		if g%perBlock == 0 {
			if err := f.readBlock(f.descBlock(g/perBlock), b); err != nil {
				return err
			}
		}
		d := b[g%perBlock*f.descLen:][:f.descLen]
		if err := f.checkDescriptor(int(g), d); err != nil {
			return err
		}
		table := int64(binary.LittleEndian.Uint32(d[8:]))
		if f.descLen >= 64 {
			table |= int64(binary.LittleEndian.Uint32(d[0x28:])) << 32
		}
		if table < 1 || table > f.blocks-tableBlocks {
			return fmt.Errorf("the inode table of group %d is at block %d of %d", g, table, f.blocks)
		}
		f.tables = append(f.tables, table)
	}
	return nil
}

// descBlock is where block i of the descriptors lies, page "blockgroup", "Meta Block Groups".
func (f *FS) descBlock(i int64) int64 {
	if f.incompat&incompatMetaBG == 0 || i < f.u32(0x104) {
		return f.first + 1 + i
	}
	group := i * (f.bs / f.descLen)
	at := f.first + group*f.groupSize
	if f.roCompat&roSparseSuper == 0 || hasSuper(int(group)) {
		at++
	}
	return at
}

func (f *FS) checkDescriptor(group int, d []byte) error {
	var got uint16
	switch {
	case f.roCompat&roMetadataCsum != 0:
		got = f.sum.descriptor(f.seed, group, d)
	case f.roCompat&roGDTCsum != 0:
		got = descriptor16(f.raw[0x68:0x78], group, d)
	default:
		return nil
	}
	if want := binary.LittleEndian.Uint16(d[0x1E:]); got != want {
		return fmt.Errorf("the checksum of group %d is %#04x but says %#04x", group, got, want)
	}
	return nil
}

// readBlock fills b from block at on.
func (f *FS) readBlock(at int64, b []byte) error {
	if at < 0 || at > f.blocks-ceilDiv(int64(len(b)), f.bs) {
		return fmt.Errorf("block %d is beyond the end (%d blocks)", at, f.blocks)
	}
	if _, err := f.r.ReadAt(b, at*f.bs); err != nil {
		return fmt.Errorf("reading block %d: %w", at, err)
	}
	return nil
}

// checkJournal refuses a file system whose journal is not empty.
func (f *FS) checkJournal() error {
	if f.incompat&incompatRecover == 0 {
		return nil
	}
	needs := &NeedsRecoveryError{Label: f.label()}
	if f.compat&compatHasJournal == 0 || f.u32(0xE0) == 0 {
		return needs // the journal is elsewhere
	}
	w := f.newWalk("", 0)
	in, err := w.inode(uint32(f.u32(0xE0)))
	if err != nil {
		return fmt.Errorf("reading ext4 journal: %w", err)
	}
	b, err := w.bytes(in, 1024)
	if err != nil {
		return fmt.Errorf("reading ext4 journal: %w", err)
	}
	be := binary.BigEndian
	if typ := be.Uint32(b[4:]); be.Uint32(b) != jbd2Magic || typ != jbd2SuperV1 && typ != jbd2SuperV2 || be.Uint32(b[28:]) != 0 {
		return needs
	}
	return nil
}

func (f *FS) label() string {
	label, _, _ := bytes.Cut(f.raw[0x78:0x88], []byte{0})
	return string(label)
}

// Info returns what the superblock says.
func (f *FS) Info() Info {
	i := Info{Label: f.label(), BlockSize: f.bs, Blocks: f.blocks, FreeBlocks: f.u64(0xC, 0x158), ReservedBlocks: f.u64(0x8, 0x154),
		Inodes: f.u32(0x0), FreeInodes: f.u32(0x10), Features: f.features(), Checksums: NoChecksums, State: f.state(),
		LastWrite: tree.Time{Sec: f.u32(0x30) | int64(f.raw[0x274])<<32}, ReservedDescriptors: int(f.u16(0xCE)),
		InodeSize: int(f.inodeLen), DescBytes: int(f.descLen)}
	copy(i.UUID[:], f.raw[0x68:])
	copy(i.HashSeed[:], f.raw[0xEC:])
	switch {
	case f.roCompat&roMetadataCsum != 0:
		i.Checksums = MetadataCsum
	case f.roCompat&roGDTCsum != 0:
		i.Checksums = UninitBG
	}
	return i
}

func (f *FS) state() string {
	switch {
	case f.incompat&incompatRecover != 0:
		return "needs recovery"
	case f.u16(0x3A)&2 != 0:
		return "errors"
	case f.u16(0x3A)&1 == 0:
		return "not clean"
	}
	return "clean"
}

func (f *FS) features() []string {
	out := featureNames(compatNames(), f.compat)
	out = append(out, featureNames(incompatNames(), f.incompat)...)
	return append(out, featureNames(roCompatNames(), f.roCompat)...)
}

// The names of the feature bits, from bit 0 on, as e2fsprogs spells them.
func compatNames() []string {
	return []string{"dir_prealloc", "imagic_inodes", "has_journal", "ext_attr", "resize_inode", "dir_index", "lazy_bg", "", "snapshot_bitmap",
		"sparse_super2", "fast_commit", "stable_inodes", "orphan_file"}
}

func incompatNames() []string {
	return []string{"compression", "filetype", "needs_recovery", "journal_dev", "meta_bg", "", "extent", "64bit", "mmp", "flex_bg", "ea_inode", "",
		"dirdata", "metadata_csum_seed", "large_dir", "inline_data", "encrypt", "casefold"}
}

func roCompatNames() []string {
	return []string{"sparse_super", "large_file", "", "huge_file", "uninit_bg", "dir_nlink", "extra_isize", "snapshot", "quota", "bigalloc",
		"metadata_csum", "replica", "read-only", "project", "shared_blocks", "verity", "orphan_present"}
}

func featureNames(names []string, bits uint32) (out []string) {
	for i := range 32 {
		switch {
		case bits&(1<<i) == 0:
		case i < len(names) && names[i] != "":
			out = append(out, names[i])
		default:
			out = append(out, fmt.Sprintf("bit %d", i))
		}
	}
	return out
}
