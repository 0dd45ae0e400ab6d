package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/edgebake/edgebake/builder/tree"
)

// node is one inode of the plan.
type node struct {
	ino     uint32
	mode    uint16
	flags   uint32
	links   uint32
	size    int64
	entry   tree.Entry // a zero entry for the inodes that are not in the tree
	blocks  int64      // of the disk, with its metadata
	runs    []run
	root    []byte // i_block, when it is decided
	index   []extentBlock
	body    []byte // extended attributes in the inode
	attrs   []byte // extended attribute block, without checksum
	attrsAt int64
	data    []span // blocks of the file that are no holes
	dir     *directory
}

// plan is a tree with inode numbers (prepare) and then with blocks (layout).
type plan struct {
	o      Options
	nodes  []*node // in the order of their inode numbers, from 11 on
	dirs   map[string]*node
	geo    *geometry
	end    int64 // first block that is not allocated
	resize *node
	log    *node
}

// prepare numbers inodes and decides everything that does not depend on the size.
func prepare(t tree.Tree, o Options) (*plan, error) {
	if len(o.Label) > 16 {
		return nil, fmt.Errorf("laying out ext4: label %q has %d bytes, at most 16 are possible", o.Label, len(o.Label))
	}
	p := &plan{o: o, dirs: map[string]*node{}}
	byPath := map[string]*node{}
	for _, e := range withLostFound(t, o) {
		if e.Type == tree.Hardlink {
			continue
		}
		n, err := p.newNode(e)
		if err != nil {
			return nil, fmt.Errorf("laying out ext4: %s: %w", e.Path, err)
		}
		byPath[e.Path] = n
	}
	if err := p.link(t, o, byPath); err != nil {
		return nil, err
	}
	p.number()
	return p, p.closeDirs()
}

// withLostFound returns the entries with a lost+found, and a root, if they were missing.
func withLostFound(t tree.Tree, o Options) []tree.Entry {
	es := t.Entries()
	if len(es) == 0 {
		es = append(es, tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755, MTime: o.Time})
	}
	if _, ok := t.Lookup(lostFound); !ok {
		es = append(es, tree.Entry{Path: lostFound, Type: tree.Dir, Mode: 0o700, MTime: o.Time})
	}
	return es
}

const (
	lostFound       = "lost+found"
	lostFoundBlocks = 4 // as mke2fs: e2fsck can use them without allocating
)

func (p *plan) newNode(e tree.Entry) (*node, error) {
	n := &node{entry: e, links: 1}
	if e.Path == lostFound && e.Type != tree.Dir {
		return nil, fmt.Errorf("it is a %s; e2fsck needs a directory of this name", e.Type)
	}
	if err := n.setType(e, p.o); err != nil {
		return nil, err
	}
	body, attrs, err := encodeXattrs(e.Xattrs)
	if err != nil {
		return nil, err
	}
	n.body, n.attrs = body, attrs
	switch e.Path {
	case ".":
		n.ino = rootIno
	case lostFound:
		n.ino = firstIno
	}
	if n.dir != nil {
		p.dirs[e.Path] = n
	}
	p.nodes = append(p.nodes, n)
	return n, nil
}

func (n *node) setType(e tree.Entry, o Options) error {
	types := map[tree.Type]uint16{tree.File: modeFile, tree.Dir: modeDir, tree.Symlink: modeSymlink, tree.Fifo: modeFifo,
		tree.Socket: modeSocket, tree.CharDevice: modeChar, tree.BlockDevice: modeBlock}
	typ, ok := types[e.Type]
	if !ok {
		return fmt.Errorf("a %s cannot be stored", e.Type)
	}
	n.mode = typ | uint16(e.Mode&0o7777)
	switch e.Type {
	case tree.Dir:
		n.flags, n.links = flagExtents, 2
		n.dir = &directory{csum: o.Checksums == MetadataCsum, seed: o.HashSeed}
	case tree.File:
		n.flags, n.size = flagExtents, e.Content.Size
		n.data = dataBlocks(e.Content)
		return checkContent(e.Content)
	case tree.Symlink:
		return n.setSymlink(e.Link)
	case tree.CharDevice, tree.BlockDevice:
		n.root = encodeDevice(e.Major, e.Minor)
	}
	return nil
}

const (
	fastSymlink   = 60 // targets below this length are in the inode
	maxSymlink    = blockSize - 1
	maxFileBlocks = 1<<32 - 1
)

func checkContent(c tree.Content) error {
	if ceilDiv(c.Size, blockSize) > maxFileBlocks {
		return fmt.Errorf("%d bytes are more than ext4 can hold in one file", c.Size)
	}
	size := int64(len(c.Inline))
	for _, e := range c.Extents {
		if e.Length < 0 || c.Inline != nil {
			return fmt.Errorf("its content has an extent of %d bytes, or both bytes and extents", e.Length)
		}
		size += e.Length
	}
	if size != c.Size {
		return fmt.Errorf("its content has %d bytes but says %d", size, c.Size)
	}
	return nil
}

func (n *node) setSymlink(target string) error {
	if target == "" || len(target) > maxSymlink {
		return fmt.Errorf("a symbolic link of %d bytes cannot be stored (1 to %d)", len(target), maxSymlink)
	}
	n.size = int64(len(target))
	if len(target) < fastSymlink {
		n.root = append([]byte(target), make([]byte, 60-len(target))...)
		return nil
	}
	n.flags, n.data = flagExtents, []span{{0, 1}}
	return nil
}

// dataBlocks returns the blocks of a file that hold bytes of a blob, merged and in order.
func dataBlocks(c tree.Content) []span {
	if c.Inline != nil {
		if len(c.Inline) == 0 {
			return nil
		}
		return []span{{0, ceilDiv(int64(len(c.Inline)), blockSize)}}
	}
	var out []span
	var at int64
	for _, e := range c.Extents {
		s := span{at / blockSize, ceilDiv(at+e.Length, blockSize)}
		at += e.Length
		if e.Blob == "" || e.Length == 0 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].end >= s.start {
			out[n-1].end = s.end
			continue
		}
		out = append(out, s)
	}
	return out
}

// link counts links and collects the names of each directory.
func (p *plan) link(t tree.Tree, o Options, byPath map[string]*node) error {
	for _, e := range withLostFound(t, o) {
		if e.Path == "." {
			continue
		}
		n, name := byPath[e.Path], path.Base(e.Path)
		parent := p.dirs[path.Dir(e.Path)]
		if e.Type == tree.Hardlink {
			n = byPath[e.Link]
			n.links++
		}
		if n.dir != nil {
			n.dir.parent = parent
			parent.links++
		}
		if len(name) > maxNameBytes {
			return fmt.Errorf("laying out ext4: %s: its name has %d bytes, at most %d are possible", e.Path, len(name), maxNameBytes)
		}
		if n.dir == nil && n.links > maxLinks {
			return fmt.Errorf("laying out ext4: %s: more than %d hard links to one file, %s: make some of them copies", e.Path, maxLinks, e.Link)
		}
		parent.dir.names = append(parent.dir.names, dirEntry{name: name, node: n})
	}
	return nil
}

// number gives inode numbers in the order of the tree.
func (p *plan) number() {
	next := uint32(firstIno + 1)
	for _, n := range p.nodes {
		if n.ino == 0 {
			n.ino = next
			next++
		}
		if n.dir != nil && n.links >= maxLinks {
			n.links = 1 // dir_nlink: too many to count
		}
	}
	slices.SortFunc(p.nodes, func(a, b *node) int { return cmp.Compare(a.ino, b.ino) })
}

func (p *plan) closeDirs() error {
	for _, n := range p.nodes {
		if n.dir == nil {
			continue
		}
		least := int64(1)
		if n.ino == firstIno {
			least = lostFoundBlocks
		}
		blocks, err := n.dir.arrange(least)
		if err != nil {
			return fmt.Errorf("laying out ext4: %s: %w", n.entry.Path, err)
		}
		if n.dir.indexed() {
			n.flags |= flagIndex
		}
		n.size, n.data = blocks*blockSize, []span{{0, blocks}}
	}
	return nil
}

// layout gives every node its blocks in a file system of o.Size bytes.
func (p *plan) layout() error {
	geo, err := newGeometry(p.o)
	if err != nil {
		return err
	}
	p.geo = geo
	a := &allocator{meta: geo.meta}
	p.resize = planResize(geo, a)
	p.log = nil
	if geo.journal > 0 {
		p.log = &node{ino: journalIno, mode: modeFile | 0o600, flags: flagExtents, links: 1, size: geo.journal * blockSize,
			data: []span{{0, geo.journal}}}
		p.log.allocate(a)
	}
	for _, dirs := range []bool{true, false} { // directories together: walking the tree reads few places
		for _, n := range p.nodes {
			if (n.dir != nil) == dirs {
				n.allocate(a)
			}
		}
	}
	p.end = a.next
	return p.fits()
}

// fits compares what was allocated with what there is.
func (p *plan) fits() error {
	have := p.geo.blocks * blockSize
	if p.end > p.geo.blocks {
		return &TooSmallError{Need: p.end * blockSize, Have: have}
	}
	if used := p.usedInodes(); used > p.geo.inodes() {
		perInode := cmp.Or(max(p.o.BytesPerInode, 0), defaultPerInode)
		return &TooSmallError{Need: max(used*perInode, have+blockSize), Have: have}
	}
	return nil
}

func (n *node) allocate(a *allocator) {
	n.runs, n.index = nil, nil
	n.blocks = 0
	for _, s := range n.data {
		n.runs = a.runs(n.runs, s.start, s.end-s.start)
		n.blocks += s.end - s.start
	}
	if n.attrs != nil {
		n.attrsAt = a.one()
		n.blocks++
	}
	if n.flags&flagExtents != 0 {
		n.root, n.index = extentTree(n.runs, a)
		n.blocks += int64(len(n.index))
	}
}

// MinSize returns the smallest size, in bytes and up to 200 KiB more, at which Write can store t
// with o; o.Size is not used. Journal and descriptors grow with the size, so it tries until it fits.
func MinSize(t tree.Tree, o Options) (int64, error) {
	p, err := prepare(t, o)
	if err != nil {
		return 0, err
	}
	return p.minSize()
}

func (p *plan) minSize() (int64, error) {
	saved := p.o.Size
	defer func() { p.o.Size = saved }()
	p.o.Size = 64 * blockSize
	for {
		err := p.layout()
		if err == nil {
			return p.o.Size, nil
		}
		var small *TooSmallError
		if !errors.As(err, &small) {
			return 0, err
		}
		if small.Need <= p.o.Size { // the last group was too short to be kept
			small.Need = p.o.Size + minTailBlocks*blockSize
		}
		p.o.Size = small.Need
	}
}
