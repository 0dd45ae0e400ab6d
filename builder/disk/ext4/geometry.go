package ext4

import (
	"fmt"
	"slices"
)

// span is a range of blocks [start, end).
type span struct{ start, end int64 }

// geometry is everything about the layout that does not depend on the tree.
type geometry struct {
	blocks        int64
	groups        int
	inodesGroup   int // inodes per group
	tableBlocks   int64
	descBlocks    int64
	reservedDescs int64 // blocks kept behind the descriptors for resizing
	journal       int64 // blocks

	blockBitmap, inodeBitmap, inodeTable []int64 // by group
	meta                                 []span  // all of the above and the superblocks, sorted
}

const (
	maxBlocks       = 1 << 32 // resize_inode holds 32-bit addresses
	maxInodesGroup  = 8 * blockSize
	minTailBlocks   = 50 // mke2fs drops a last group with fewer usable blocks
	defaultPerInode = 16384
)

// newGeometry decides the layout of o.Size bytes with mke2fs's rules.
func newGeometry(o Options) (*geometry, error) {
	g := &geometry{blocks: o.Size / blockSize}
	if g.blocks >= maxBlocks {
		return nil, fmt.Errorf("laying out ext4: %d bytes are more than 16 TiB, which is the limit of this writer", o.Size)
	}
	for {
		g.size(o)
		tail := g.blocks % blocksPerGroup
		if g.groups == 0 || tail == 0 || tail >= g.lastGroupOverhead()+minTailBlocks {
			break
		}
		g.blocks -= tail
	}
	if g.groups == 0 {
		return nil, &TooSmallError{Need: o.Size + blockSize, Have: o.Size}
	}
	g.journal = journalBlocks(g.blocks, o.JournalSize)
	return g, g.place()
}

// size computes the counts for g.blocks.
func (g *geometry) size(o Options) {
	g.groups = int(ceilDiv(g.blocks, blocksPerGroup))
	if g.groups == 0 {
		return
	}
	perInode := o.BytesPerInode
	if perInode <= 0 {
		perInode = defaultPerInode
	}
	inodes := ceilDiv(g.blocks*blockSize/perInode, int64(g.groups))
	if o.InodesPerGroup > 0 {
		inodes = int64(o.InodesPerGroup)
	}
	inodes = ceilDiv(max(inodes, inodesPerBlock), inodesPerBlock) * inodesPerBlock
	g.inodesGroup = int(min(inodes, maxInodesGroup))
	g.tableBlocks = int64(g.inodesGroup / inodesPerBlock)
	g.descBlocks = ceilDiv(int64(g.groups), descsPerBlock)
	limit := min(g.blocks*1024, maxBlocks-1)
	if o.MaxResize > 0 {
		limit = min(o.MaxResize/blockSize, maxBlocks-1)
	}
	want := ceilDiv(ceilDiv(limit, blocksPerGroup), descsPerBlock) - g.descBlocks
	g.reservedDescs = min(max(want, 0), addrsPerBlock)
}

func (g *geometry) lastGroupOverhead() int64 {
	n := 2 + g.tableBlocks
	if hasSuper(g.groups - 1) {
		n += g.superBlocks()
	}
	return n
}

// superBlocks is the length of a superblock with its descriptors and their reserve.
func (g *geometry) superBlocks() int64 { return 1 + g.descBlocks + g.reservedDescs }

// hasSuper says whether a group has a (copy of the) superblock, page "blockgroup": sparse_super
// keeps them in groups 0, 1 and the powers of 3, 5 and 7.
func hasSuper(group int) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// place puts the bitmaps and inode tables of each flex group at its start, around superblocks.
func (g *geometry) place() error {
	for first := 0; first < g.groups; first += flexGroups {
		at := int64(first) * blocksPerGroup
		last := min(first+flexGroups, g.groups)
		for range last - first {
			g.blockBitmap = append(g.blockBitmap, g.claim(&at, 1))
		}
		for range last - first {
			g.inodeBitmap = append(g.inodeBitmap, g.claim(&at, 1))
		}
		for range last - first {
			g.inodeTable = append(g.inodeTable, g.claim(&at, g.tableBlocks))
		}
		if at > g.blocks {
			return &TooSmallError{Need: at * blockSize, Have: g.blocks * blockSize}
		}
	}
	g.collectMeta()
	return nil
}

// claim returns n contiguous blocks at or after at that touch no superblock.
func (g *geometry) claim(at *int64, n int64) int64 {
	for _, b := range []int64{*at, *at + n - 1} {
		group := b / blocksPerGroup
		start := group * blocksPerGroup
		end := start + g.superBlocks()
		if hasSuper(int(group)) && *at < end && *at+n > start {
			*at = end
		}
	}
	got := *at
	*at += n
	return got
}

func (g *geometry) collectMeta() {
	for i := range g.groups {
		if hasSuper(i) {
			start := int64(i) * blocksPerGroup
			g.meta = append(g.meta, span{start, start + g.superBlocks()})
		}
		g.meta = append(g.meta, span{g.blockBitmap[i], g.blockBitmap[i] + 1},
			span{g.inodeBitmap[i], g.inodeBitmap[i] + 1},
			span{g.inodeTable[i], g.inodeTable[i] + g.tableBlocks})
	}
	slices.SortFunc(g.meta, func(a, b span) int { return int(a.start - b.start) })
	merged := g.meta[:0]
	for _, s := range g.meta {
		if n := len(merged); n > 0 && merged[n-1].end == s.start {
			merged[n-1].end = s.end
			continue
		}
		merged = append(merged, s)
	}
	g.meta = merged
}

func (g *geometry) inodes() int64 { return int64(g.groups) * int64(g.inodesGroup) }

// journalBlocks is mke2fs's rule for the size of a journal (ext2fs_default_journal_size).
func journalBlocks(blocks, size int64) int64 {
	if size < 0 {
		return 0
	}
	if size > 0 {
		return max(size/blockSize, 1024) // jbd2 refuses fewer blocks
	}
	steps := []struct{ below, journal int64 }{
		{2048, 0}, {32768, 1024}, {256 << 10, 4096}, {512 << 10, 8192}, {4096 << 10, 16384},
		{8192 << 10, 32768}, {16384 << 10, 65536}, {32768 << 10, 131072},
	}
	for _, s := range steps {
		if blocks < s.below {
			return s.journal
		}
	}
	return 262144
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// allocator hands out the blocks between the metadata in ascending order. Past the end of the
// file system it goes on, so that a layout that does not fit still says how much it needs.
type allocator struct {
	meta []span
	next int64
}

// run is n blocks of a file from block logical on, at block physical of the disk.
type run struct {
	logical, physical int64
	n                 int64
}

func (a *allocator) one() int64 { return a.runs(nil, 0, 1)[0].physical }

// runs appends runs for n blocks to rs, each at most one extent long.
func (a *allocator) runs(rs []run, logical, n int64) []run {
	for n > 0 {
		for len(a.meta) > 0 && a.next >= a.meta[0].start {
			a.next, a.meta = max(a.next, a.meta[0].end), a.meta[1:]
		}
		take := min(n, maxExtentBlocks)
		if len(a.meta) > 0 {
			take = min(take, a.meta[0].start-a.next)
		}
		rs = append(rs, run{logical, a.next, take})
		a.next, logical, n = a.next+take, logical+take, n-take
	}
	return rs
}
