package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/edgebake/edgebake/builder/tree"
)

// node is one inode of the plan. There is one for each file: what the tree has, or what follows from it, is not kept here.
type node struct {
	ino    uint32
	mode   uint16
	flags  uint32
	links  uint32
	entry  int32 // see plan.entry; -1 for the inodes that are not in the tree
	size   int64
	blocks int64 // of the disk, with its metadata
	runs   []run
	root   []byte // i_block, when it is decided and cannot be made from the rest
	index  []extentBlock
	attrs  *nodeAttrs // nil without any
	dir    *directory
}

// nodeAttrs are the extended attributes of an inode.
type nodeAttrs struct {
	body  []byte // in the inode
	block []byte // without checksum; nil without one
	at    int64
}

// plan is a tree with inode numbers (prepare) and then with blocks (layout).
type plan struct {
	o      Options
	tree   tree.Tree
	more   []tree.Entry // that the tree lacks
	nodes  []*node      // in the order of their inode numbers, from 11 on
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
	p := &plan{o: o, tree: t, more: missing(t, o), dirs: map[string]*node{}}
	targets := map[string]*node{} // of hard links
	for i := range p.entries() {
		if e := p.entry(i); e.Type == tree.Hardlink {
			targets[e.Link] = nil
		}
	}
	for i := range p.entries() {
		e := p.entry(i)
		if e.Type == tree.Hardlink {
			continue
		}
		n, err := p.newNode(i, e)
		if err != nil {
			return nil, fmt.Errorf("laying out ext4: %s: %w", e.Path, err)
		}
		if _, ok := targets[e.Path]; ok {
			targets[e.Path] = n
		}
	}
	if err := p.link(targets); err != nil {
		return nil, err
	}
	p.number()
	return p, p.closeDirs()
}

// missing returns a lost+found, and a root, if the tree has none.
func missing(t tree.Tree, o Options) (es []tree.Entry) {
	if t.Len() == 0 {
		es = append(es, tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755, MTime: o.Time})
	}
	if _, ok := t.Lookup(lostFound); !ok {
		es = append(es, tree.Entry{Path: lostFound, Type: tree.Dir, Mode: 0o700, MTime: o.Time})
	}
	return es
}

func (p *plan) entries() int { return p.tree.Len() + len(p.more) }

// entry returns entry i of the tree, or of those that it lacks, or a zero one.
func (p *plan) entry(i int) tree.Entry {
	switch {
	case i < 0:
		return tree.Entry{}
	case i < p.tree.Len():
		return p.tree.At(i)
	}
	return p.more[i-p.tree.Len()]
}

// entryOf returns what n was made from.
func (p *plan) entryOf(n *node) tree.Entry { return p.entry(int(n.entry)) }

const (
	lostFound       = "lost+found"
	lostFoundBlocks = 4 // as mke2fs: e2fsck can use them without allocating
)

func (p *plan) newNode(i int, e tree.Entry) (*node, error) {
	n := &node{entry: int32(i), links: 1}
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
	if body != nil || attrs != nil {
		n.attrs = &nodeAttrs{body: body, block: attrs}
	}
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
	typ := modeOf(e.Type)
	if typ == 0 {
		return fmt.Errorf("a %s cannot be stored", e.Type)
	}
	n.mode = typ | uint16(e.Mode&0o7777)
	switch e.Type {
	case tree.Dir:
		n.flags, n.links = flagExtents, 2
		n.dir = &directory{csum: o.Checksums == MetadataCsum, seed: o.HashSeed}
	case tree.File:
		n.flags, n.size = flagExtents, e.Content.Size
		return checkContent(e.Content)
	case tree.Symlink:
		return n.setSymlink(e.Link)
	}
	return nil
}

// modeOf is the type of an inode, or 0.
func modeOf(t tree.Type) uint16 {
	switch t {
	case tree.File:
		return modeFile
	case tree.Dir:
		return modeDir
	case tree.Symlink:
		return modeSymlink
	case tree.Fifo:
		return modeFifo
	case tree.Socket:
		return modeSocket
	case tree.CharDevice:
		return modeChar
	case tree.BlockDevice:
		return modeBlock
	}
	return 0
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
	if len(target) >= fastSymlink {
		n.flags = flagExtents
	}
	return nil
}

// data returns the blocks of n that are no holes, merged and in order.
func (p *plan) data(n *node) []span {
	switch {
	case n.flags&flagExtents == 0:
		return nil
	case n.mode&modeType == modeFile && n.entry >= 0:
		return dataBlocks(p.entryOf(n).Content)
	}
	return []span{{0, ceilDiv(n.size, blockSize)}}
}

// root returns the i_block of n: the root of its extents, a device's numbers, or the target of a link.
func (p *plan) root(n *node) []byte {
	switch e := p.entryOf(n); {
	case n.root != nil:
		return n.root
	case n.flags&flagExtents != 0:
		return extentNode(n.runs, 0, 60, rootExtents)
	case e.Type == tree.CharDevice || e.Type == tree.BlockDevice:
		return encodeDevice(e.Major, e.Minor)
	default:
		return []byte(e.Link)
	}
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
func (p *plan) link(targets map[string]*node) error {
	rest := p.nodes // in the order of the entries
	for i := range p.entries() {
		e, n := p.entry(i), (*node)(nil)
		if e.Type == tree.Hardlink {
			n = targets[e.Link]
			n.links++
		} else {
			n, rest = rest[0], rest[1:]
		}
		if e.Path == "." {
			continue
		}
		name, parent := path.Base(e.Path), p.dirs[path.Dir(e.Path)]
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
			return fmt.Errorf("laying out ext4: %s: %w", p.entryOf(n).Path, err)
		}
		if n.dir.indexed() {
			n.flags |= flagIndex
		}
		n.size = blocks * blockSize
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
		p.log = &node{ino: journalIno, mode: modeFile | 0o600, flags: flagExtents, links: 1, size: geo.journal * blockSize, entry: -1}
		p.allocate(p.log, a)
	}
	for _, dirs := range []bool{true, false} { // directories together: walking the tree reads few places
		for _, n := range p.nodes {
			if (n.dir != nil) == dirs {
				p.allocate(n, a)
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

func (p *plan) allocate(n *node, a *allocator) {
	n.runs, n.index, n.root = nil, nil, nil
	n.blocks = 0
	for _, s := range p.data(n) {
		n.runs = a.runs(n.runs, s.start, s.end-s.start)
		n.blocks += s.end - s.start
	}
	if n.attrs != nil && n.attrs.block != nil {
		n.attrs.at = a.one()
		n.blocks++
	}
	if len(n.runs) > rootExtents {
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
