// Package fat writes and reads FAT16 and FAT32 file systems with VFAT long names; it also reads
// FAT12.
//
// A Volume in this package is a file system of Options.Size bytes in 512-byte sectors. A cluster
// is the unit of its data area; an allocation is the contiguous run of clusters that a file or
// directory gets. A long name is the UTF-16 name in extra directory entries; a short name is the
// upper-case 8.3 name that every entry has.
//
// Subset: files and directories. Links, devices and whiteouts are refused by path (a hard link
// becomes a second file); owners, modes and extended attributes are not kept, and times have two
// seconds' precision in UTC, from 1980 to 2107. What is read gets root as owner and mode 0755, as
// the Linux driver presents it.
//
// go-diskfs 1.9.4 is not used for this, although it has fat16 and fat32 packages: fat32.Create
// chooses the cluster size by the volume's size alone (4 KiB above 260 MB) and takes no such
// parameter; its volume serial is either taken from the clock or zero, never given; and it is
// filled by one open, write and close per file, each of which searches the FAT again. The
// Raspberry Pi's boot volume needs 512-byte clusters at any size, a lower-case label, and a
// serial that the lock decides.
//
// Sources: Microsoft, "FAT32 File System Specification" 1.03; dosfstools 4.2 for geometry.
package fat

import (
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// Options describe a volume. Equal Options and trees give equal bytes.
type Options struct {
	// Size of the volume in bytes; what is over a multiple of 512 is not used.
	Size int64
	// Label of up to 11 ASCII characters, kept in the case it has; "NO NAME" when empty.
	Label string
	// VolumeID is the serial number: DEAD-BEEF is 0xDEADBEEF.
	VolumeID uint32
	// ClusterSize in bytes, a power of two from 512 to 32768; 0 chooses by Size.
	ClusterSize int
	// Time of the volume label's entry and of the root directory.
	Time tree.Time
	// Reserved are the sectors before the first FAT of a volume that this one replaces: boot code,
	// OEM name, serial number, geometry and the number of FATs stay as they are there; only
	// what depends on size and contents is changed. VolumeID and ClusterSize are then not used.
	Reserved []byte
}

// TooSmallError says that a tree does not fit into a volume.
type TooSmallError struct {
	Label      string
	Need, Have int64 // bytes of the whole volume
}

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("writing FAT %q: the tree needs %d bytes and the volume has %d: enlarge it by %d bytes", e.Label, e.Need, e.Have, e.Need-e.Have)
}

const (
	sectorSize   = 512
	usualFATs    = 2
	entrySize    = 32
	minRootSlots = 512 // entries of a FAT16 root directory, unless it needs more

	minClusters16 = 4085  // fewer clusters mean FAT12
	minClusters32 = 65525 // fewer clusters mean FAT16
	maxClusters32 = 0x0ffffff5
	maxFileSize   = 1<<32 - 1

	reserved32   = 32 // sectors before the first FAT, as dosfstools has it
	reserved16   = 4
	infoSector   = 1
	backupSector = 6

	smallVolume = 260 << 20 // up to here the default cluster is one sector, as in Windows
)

// geometry is where the parts of a volume are, in sectors.
type geometry struct {
	bits          int // 16 or 32
	sectors       int64
	perCluster    int64
	reserved      int64
	fats          int64
	fatSectors    int64
	rootSectors   int64 // FAT16 only
	clusters      int64
	rootSlotCount int64
}

func (g geometry) clusterSize() int64 { return g.perCluster * sectorSize }
func (g geometry) rootStart() int64   { return g.reserved + g.fats*g.fatSectors }
func (g geometry) dataStart() int64   { return g.rootStart() + g.rootSectors }

// offset returns the byte at which cluster n begins; the first one is number 2.
func (g geometry) offset(n int64) int64 {
	return (g.dataStart() + (n-2)*g.perCluster) * sectorSize
}

func (o Options) clusterSize() (int64, error) {
	c := int64(o.ClusterSize)
	if o.Reserved != nil {
		b, err := readBPB(o.Reserved)
		return b.perCluster * sectorSize, err
	}
	switch {
	case c == 0 && o.Size <= smallVolume:
		return sectorSize, nil
	case c == 0:
		return 4096, nil
	case c < sectorSize || c > 32768 || c&(c-1) != 0:
		return 0, fmt.Errorf("laying out FAT %q: cluster size %d is no power of two from 512 to 32768", o.Label, c)
	}
	return c, nil
}

// Bits returns 16 or 32, the kind of FAT that Write makes with these options.
func Bits(o Options) (int, error) {
	g, err := o.layout(minRootSlots)
	return g.bits, err
}

// layout finds the geometry; rootSlots is what a FAT16 root directory must hold.
func (o Options) layout(rootSlots int64) (geometry, error) {
	size, err := o.clusterSize()
	if err != nil {
		return geometry{}, err
	}
	if o.Reserved != nil {
		return o.layoutAgain(rootSlots)
	}
	if o.Size/sectorSize > 1<<32-1 {
		return geometry{}, fmt.Errorf("laying out FAT %q: %d bytes are more than 2 TiB", o.Label, o.Size)
	}
	g := geometry{bits: 32, sectors: o.Size / sectorSize, perCluster: size / sectorSize, reserved: reserved32, fats: usualFATs}
	g.fit()
	if g.clusters > maxClusters32 {
		return g, fmt.Errorf("laying out FAT %q: %d clusters are too many: use larger clusters than %d bytes", o.Label, g.clusters, size)
	}
	if g.clusters >= minClusters32 {
		return g, nil
	}
	g.bits, g.reserved = 16, reserved16
	g.rootSlotCount = roundUp(max(rootSlots, minRootSlots), sectorSize/entrySize)
	g.rootSectors = g.rootSlotCount * entrySize / sectorSize
	g.fit()
	if g.clusters >= minClusters32 { // just at the border: the surplus stays unused
		g.clusters = minClusters32 - 1
		g.sectors = g.dataStart() + g.clusters*g.perCluster
	}
	if g.clusters < minClusters16 {
		need := (g.dataStart() + minClusters16*g.perCluster + 2*sectorSize) * sectorSize
		return g, &TooSmallError{Label: o.Label, Need: need, Have: o.Size}
	}
	return g, nil
}

// fit chooses the smallest FAT that maps all clusters behind it. It begins just below what the
// equation of clusters and entries gives and needs a few steps of one sector.
func (g *geometry) fit() {
	entry := int64(g.bits) / 8
	space := max(0, g.sectors-g.reserved-g.rootSectors)
	g.fatSectors = max(1, space*entry/(g.perCluster*sectorSize+g.fats*entry)-1)
	for {
		g.clusters = max(0, (g.sectors-g.dataStart())/g.perCluster)
		if ceil((g.clusters+2)*entry, sectorSize) <= g.fatSectors {
			return
		}
		g.fatSectors++
	}
}

func ceil(n, unit int64) int64    { return (n + unit - 1) / unit }
func roundUp(n, unit int64) int64 { return ceil(n, unit) * unit }

// MinSize returns the smallest size, in bytes, of a volume that holds t. Options.Size is only
// used to choose the cluster size when that is not given.
func MinSize(t tree.Tree, o Options) (int64, error) {
	size, err := o.clusterSize()
	if err != nil {
		return 0, err
	}
	p, err := newPlan(t, o, size)
	if err != nil {
		return 0, err
	}
	return p.minSize(size), nil
}
