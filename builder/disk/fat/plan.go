package fat

import (
	"fmt"
	"path"

	"github.com/edgebake/edgebake/builder/tree"
)

// item is a file or directory with its place in the volume.
type item struct {
	entry    tree.Entry
	name     string
	short    shortName
	long     bool
	parent   *item
	children []*item
	slots    int64 // of a directory: entries it needs
	first    int64 // first cluster; 0 is none
	count    int64 // clusters
}

func (it *item) isDir() bool { return it.entry.Type == tree.Dir }

// plan is a tree that is ready to be laid out: items in the order of their clusters, the root
// first, all directories before all files.
type plan struct {
	label string
	root  *item
	dirs  []*item
	files []*item
}

func newPlan(t tree.Tree, o Options, clusterSize int64) (*plan, error) {
	p := &plan{label: o.Label, root: &item{entry: tree.Entry{Path: ".", Type: tree.Dir, MTime: o.Time}}}
	p.dirs = []*item{p.root}
	byPath := map[string]*item{".": p.root}
	for i := range t.Len() {
		e := t.At(i)
		if e.Path == "." {
			continue
		}
		it, err := newItem(t, e)
		if err != nil {
			return nil, fmt.Errorf("writing FAT %q: %s: %w", o.Label, e.Path, err)
		}
		it.parent = byPath[path.Dir(e.Path)]
		it.parent.children = append(it.parent.children, it)
		if it.isDir() {
			byPath[e.Path] = it
			p.dirs = append(p.dirs, it)
		} else {
			it.count = ceil(it.entry.Content.Size, clusterSize)
			p.files = append(p.files, it)
		}
	}
	return p, p.nameAll(clusterSize)
}

func newItem(t tree.Tree, e tree.Entry) (*item, error) {
	if e.Type == tree.Hardlink {
		file, _ := t.Lookup(e.Link)
		file.Path = e.Path
		e = file
	}
	if e.Type != tree.File && e.Type != tree.Dir {
		return nil, fmt.Errorf("FAT can't hold a %s", e.Type)
	}
	if e.Content.Size > maxFileSize {
		return nil, fmt.Errorf("%d bytes are more than the 4 GiB of a FAT file", e.Content.Size)
	}
	return &item{entry: e, name: path.Base(e.Path)}, checkName(path.Base(e.Path))
}

// nameAll gives short names and with them the sizes of directories.
func (p *plan) nameAll(clusterSize int64) error {
	for _, d := range p.dirs {
		names := make([]string, len(d.children))
		seen := make(map[string]string, len(d.children))
		for i, c := range d.children {
			names[i] = c.name
			if other, ok := seen[fold(c.name)]; ok {
				return fmt.Errorf("writing FAT %q: %s and %s differ only in case, and FAT can't tell them apart: rename one",
					p.label, path.Join(d.entry.Path, other), c.entry.Path)
			}
			seen[fold(c.name)] = c.name
		}
		short, long := shortNames(names)
		d.slots = 2 // "." and "..", or the label in the root
		for i, c := range d.children {
			c.short, c.long = short[i], long[i]
			d.slots += slots(c.name, c.long)
		}
		d.count = ceil(d.slots*entrySize, clusterSize)
		if d.slots*entrySize > maxDirSize {
			return fmt.Errorf("writing FAT %q: directory %s has %d entries: FAT allows %d", p.label, d.entry.Path, d.slots, maxDirSize/entrySize)
		}
	}
	return nil
}

const maxDirSize = 2 << 20 // specification, section 6: 65536 entries

// clusters returns how many clusters are needed; the root of a FAT16 is not among them.
func (p *plan) clusters(bits int) int64 {
	var n int64
	for _, list := range [][]*item{p.dirs, p.files} {
		for _, it := range list {
			n += it.count
		}
	}
	if bits == 16 {
		n -= p.root.count
	}
	return n
}

// place gives each item its clusters, one after the other.
func (p *plan) place(g geometry) error {
	if need := p.clusters(g.bits); need > g.clusters {
		return &TooSmallError{Label: p.label, Need: p.need(g), Have: g.sectors * sectorSize}
	}
	next := int64(2)
	if g.bits == 16 {
		p.root.count = 0
	}
	for _, list := range [][]*item{p.dirs, p.files} {
		for _, it := range list {
			if it.count > 0 {
				it.first, next = next, next+it.count
			}
		}
	}
	return nil
}

// need is how large a volume of this kind has to be.
func (p *plan) need(g geometry) int64 {
	have := g.sectors * sectorSize
	return max(p.minSize(g.clusterSize()), have+(p.clusters(g.bits)-g.clusters)*g.clusterSize())
}

// minSize returns the smallest volume with these clusters.
func (p *plan) minSize(clusterSize int64) int64 {
	g := geometry{bits: 16, reserved: reserved16, fats: usualFATs, perCluster: clusterSize / sectorSize}
	g.rootSectors = roundUp(max(p.root.slots, minRootSlots)*entrySize, sectorSize) / sectorSize
	g.clusters = max(p.clusters(16), minClusters16)
	if g.clusters >= minClusters32-1 {
		g = geometry{bits: 32, reserved: reserved32, fats: usualFATs, perCluster: clusterSize / sectorSize}
		g.clusters = max(p.clusters(32), minClusters32)
	}
	g.fatSectors = ceil((g.clusters+2)*int64(g.bits)/8, sectorSize)
	return (g.dataStart() + g.clusters*g.perCluster) * sectorSize
}
