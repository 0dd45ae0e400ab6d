// Package ext4 writes and reads ext4 file systems as data, without mounting them.
//
// Write lays out a tree.Tree as a file system with 4 KiB blocks: a plan decides where every block
// goes, then the blocks are emitted in order. The same tree and Options give the same bytes.
// Open and Tree turn a file system back into a tree whose contents point into the image.
//
// Nouns: a group is 32768 blocks with its own bitmaps and inode table; a flex group is sixteen
// groups whose metadata lies together; a run is a piece of a file, contiguous on the disk; the
// inode body is the part of a 256-byte inode behind its fields, used for extended attributes.
//
// The features written are those that e2fsprogs 1.44 and GRUB 2.02 know: has_journal, ext_attr,
// resize_inode, dir_index, filetype, extent, 64bit, flex_bg, sparse_super, large_file, huge_file,
// dir_nlink, extra_isize and metadata_csum or uninit_bg. The reader also takes block maps (ext2,
// ext3), inline_data, metadata_csum_seed, orphan_file, meta_bg, large_dir and ea_inode.
//
// The source for the format is the kernel's Documentation/filesystems/ext4, cited by the name of
// its page ("inodes", "directory", ...); the source for the journal is its page "journal".
package ext4

import (
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// Checksums is the way metadata is protected.
type Checksums int

const (
	MetadataCsum Checksums = iota // crc32c over all metadata
	UninitBG                      // crc16 over group descriptors only
	NoChecksums                   // found by the reader only
)

func (c Checksums) String() string {
	switch c {
	case MetadataCsum:
		return "metadata_csum"
	case UninitBG:
		return "uninit_bg"
	}
	return "none"
}

// Options say how a file system is laid out. The zero value of each field but Size is a default.
type Options struct {
	Size            int64     // bytes; rounded down to whole blocks
	Label           string    // at most 16 bytes
	UUID            [16]byte  // also the seed of all checksums
	HashSeed        [16]byte  // seed of directory hashes
	Time            tree.Time // creation, last write and last check, and creation of inodes
	Checksums       Checksums // MetadataCsum or UninitBG
	BytesPerInode   int64     // 0: 16384
	JournalSize     int64     // bytes; 0: mke2fs's rule for Size; negative: no journal
	ReservedPercent float64   // blocks kept for root; 0: 5, as mke2fs; negative: none
	MaxResize       int64     // bytes up to which descriptors are reserved; 0: 1024 times Size
	InodesPerGroup  int       // 0: from BytesPerInode; otherwise rounded up to whole blocks
	Super           *Super    // nil: mke2fs's settings
	// NoDelayedAllocation adds nodelalloc to the default mount options: data gets to disk with the
	// transaction that makes it visible, so a power cut leaves no empty files behind.
	NoDelayedAllocation bool
}

// Super holds the settings of a superblock that a file system keeps when it is written anew: those
// that people make with tune2fs. Field names are of the page "super".
type Super struct {
	MountOptions  uint32 // s_default_mount_opts
	Errors        uint16 // s_errors
	MaxMounts     uint16 // s_max_mnt_count
	CheckInterval uint32 // s_checkinterval
	MountText     string // s_mount_opts, at most 63 bytes
}

// mountNoDelalloc is EXT4_DEFM_NODELALLOC.
const mountNoDelalloc = 0x0800

func defaultSuper() *Super {
	return &Super{MountOptions: 0xC, Errors: 1, MaxMounts: 0xFFFF} // user_xattr and acl; continue; no limit
}

// TooSmallError says that a tree does not fit. Need is what MinSize returns.
type TooSmallError struct{ Need, Have int64 }

func (e *TooSmallError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("laying out ext4: the tree needs %d bytes (%d MiB) but the file system has %d, %d too few: raise the size of this partition (or of the disk) in the profile by at least %d MiB",
		e.Need, (e.Need+mib-1)/mib, e.Have, e.Need-e.Have, (e.Need-e.Have+mib-1)/mib)
}

const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize // one bitmap block holds one group
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	extraISize     = 32 // inode fields beyond the first 128 bytes, up to i_projid
	descSize       = 64
	descsPerBlock  = blockSize / descSize
	addrsPerBlock  = blockSize / 4
	flexGroups     = 16
	logFlexGroups  = 4

	rootIno      = 2
	resizeIno    = 7
	journalIno   = 8
	firstIno     = 11 // lost+found in a new file system
	maxLinks     = 65000
	maxNameBytes = 255
)

// Features, page "super".
const (
	compatHasJournal  = 0x4
	compatExtAttr     = 0x8
	compatResizeInode = 0x10
	compatDirIndex    = 0x20

	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatMetaBG     = 0x10
	incompatExtents    = 0x40
	incompat64bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargeDir   = 0x4000
	incompatInlineData = 0x8000

	roSparseSuper  = 0x1
	roLargeFile    = 0x2
	roHugeFile     = 0x8
	roGDTCsum      = 0x10
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roBigalloc     = 0x200
	roMetadataCsum = 0x400
)

// Inode flags and types, page "inodes".
const (
	flagIndex      = 0x1000
	flagHugeFile   = 0x40000
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInlineData = 0x10000000

	modeFifo    = 0x1000
	modeChar    = 0x2000
	modeDir     = 0x4000
	modeBlock   = 0x6000
	modeFile    = 0x8000
	modeSymlink = 0xA000
	modeSocket  = 0xC000
	modeType    = 0xF000
)

const (
	superMagic  = 0xEF53
	extentMagic = 0xF30A
	xattrMagic  = 0xEA020000
)
