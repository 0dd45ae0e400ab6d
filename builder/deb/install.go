package deb

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Installation is a file system in which packages lie unpacked but not configured, exactly as
// "dpkg --unpack" leaves it: configuration files end in .dpkg-new, the database says
// "install ok unpacked". The maintainer scripts have not run.
type Installation struct {
	Tree tree.Tree
	// Preinsts are the packages that have a preinst, in the order of unpacking.
	Preinsts []Preinst
}

// Preinst is a script that dpkg would have run before unpacking its package.
type Preinst struct {
	Package, Arch, Version string
	// Qualified is the name of the package's files in dpkg's info directory.
	Qualified string
	// PreDepends are the plain names of the packages that must be configured first.
	PreDepends []string
}

// mergedUsr are the directories that are links into /usr, by architecture
// (debootstrap's setup_merged_usr).
func mergedUsr(arch string) []string {
	if arch == "amd64" {
		return []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
	}
	return []string{"bin", "sbin", "lib"}
}

// Install lays packages over each other in the given order, with a merged /usr.
// epoch is the time of generated files. Two packages with one file are an error that names both,
// unless one says that it replaces the other.
func Install(packages []Extracted, src *tree.Reader, arch string, epoch tree.Time) (Installation, error) {
	in := &installer{entries: map[string]owned{}, arch: arch, epoch: epoch, triggers: map[string][]string{}}
	in.skeleton()
	for _, p := range packages {
		if err := in.add(p, src); err != nil {
			return Installation{}, err
		}
	}
	in.database()
	entries := make([]tree.Entry, 0, len(in.entries))
	for _, p := range slices.Sorted(maps.Keys(in.entries)) {
		entries = append(entries, in.entries[p].Entry)
	}
	t, err := tree.Take(entries)
	if err != nil {
		return Installation{}, fmt.Errorf("laying packages over each other: %w", err)
	}
	return Installation{Tree: t, Preinsts: in.preinsts}, nil
}

type owned struct {
	tree.Entry
	owner int // index into installer.packages; -1 is the skeleton
	shown string
}

type installer struct {
	arch     string
	epoch    tree.Time
	entries  map[string]owned
	packages []*installed
	preinsts []Preinst
	triggers map[string][]string // explicit trigger name, or "File", to lines
}

// installed is one package with what its database entry needs.
type installed struct {
	Extracted
	name, version, arch, qualified string
	control                        Stanza
	replaces                       []Alternatives
	conffiles                      []string
	list                           []string // as dpkg lists them: "/.", "/usr", "/usr/bin/x"
	links                          []string // at the list's end: dpkg makes symbolic links last (lib/dpkg/tarfn.c, tar_extractor)
	lost                           map[string]bool
}

func (in *installer) skeleton() {
	in.put(tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755, MTime: in.epoch}, -1)
	in.put(tree.Entry{Path: "usr", Type: tree.Dir, Mode: 0o755, MTime: in.epoch}, -1)
	for _, d := range mergedUsr(in.arch) {
		in.put(tree.Entry{Path: "usr/" + d, Type: tree.Dir, Mode: 0o755, MTime: in.epoch}, -1)
		in.put(tree.Entry{Path: d, Type: tree.Symlink, Mode: 0o777, Link: "usr/" + d, MTime: in.epoch}, -1)
	}
}

func (in *installer) put(e tree.Entry, owner int) {
	in.entries[e.Path] = owned{Entry: e, owner: owner}
}

func (in *installer) add(x Extracted, src *tree.Reader) error {
	p, err := newInstalled(x)
	if err != nil {
		return err
	}
	in.packages = append(in.packages, p)
	files, err := x.Tree(src)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", p.name, err)
	}
	for i := range files.Len() {
		if err := in.addFile(p, files.At(i)); err != nil {
			return err
		}
	}
	p.list = append(p.list, p.links...)
	if err := p.sumFiles(files, src); err != nil {
		return fmt.Errorf("unpacking %s: %w", p.name, err)
	}
	if err := in.addTriggers(p); err != nil {
		return err
	}
	if _, ok := x.Member("preinst"); ok {
		in.preinsts = append(in.preinsts, p.preinst())
	}
	return nil
}

// checkKind allows what dpkg allows but for devices: set-id programs are how sudo and mount work, and lint wants each
// to be a package's. A device belongs to devtmpfs, and outside of /dev it is a way around permissions (Policy, 10.6).
func (p *installed) checkKind(e tree.Entry) error {
	if (e.Type == tree.CharDevice || e.Type == tree.BlockDevice) && !strings.HasPrefix(e.Path, "dev/") {
		return fmt.Errorf("unpacking %s %s: /%s is a %s (%d:%d) outside of /dev; it is refused: take the package from elsewhere, or leave it out of the profile",
			p.name, p.version, e.Path, e.Type, e.Major, e.Minor)
	}
	return nil
}

func (in *installer) addFile(p *installed, e tree.Entry) error {
	if err := p.checkKind(e); err != nil {
		return err
	}
	shown := "/" + e.Path
	if e.Path == "." {
		shown = "/."
	}
	if e.Type == tree.Symlink {
		p.links = append(p.links, shown)
	} else {
		p.list = append(p.list, shown)
	}
	e.Path = in.resolve(e.Path)
	if e.Type == tree.Hardlink {
		e.Link = p.unpackedName(in.resolve(e.Link), "/"+e.Link)
	}
	me := len(in.packages) - 1
	if old, ok := in.entries[e.Path]; ok {
		keep, err := in.collide(old, e, p, shown)
		if keep || err != nil {
			return err
		}
	}
	e.Path = p.unpackedName(e.Path, shown)
	in.entries[e.Path] = owned{Entry: e, owner: me, shown: shown}
	return nil
}

// unpackedName is the name under which dpkg leaves a file until its package is configured.
func (p *installed) unpackedName(at, shown string) string {
	if slices.Contains(p.conffiles, shown) {
		return at + ".dpkg-new"
	}
	return at
}

// collide decides what happens to a name that exists: keep is true when the old entry stays.
// dpkg leaves existing directories, and links to directories, as they are (dpkg
// src/main/archives.c, tarobject).
func (in *installer) collide(old owned, e tree.Entry, p *installed, shown string) (keep bool, err error) {
	if e.Type == tree.Dir {
		if old.Type == tree.Dir || old.Type == tree.Symlink {
			return true, nil
		}
	}
	if old.owner < 0 {
		return true, nil
	}
	other := in.packages[old.owner]
	switch {
	case old.Type == tree.Symlink && e.Type == tree.Symlink && old.Link == e.Link && old.owner == len(in.packages)-1:
		return true, nil
	case p.replacesPackage(other):
		other.lost[old.shown] = true
		return false, nil
	case other.replacesPackage(p):
		p.lost[shown] = true
		return true, nil
	}
	return false, fmt.Errorf("unpacking %s %s: %s is also in %s %s, and neither says that it replaces the other",
		p.name, p.version, shown, other.name, other.version)
}

// resolve follows the links among a path's parents (and a merged directory itself), as the
// kernel would when dpkg unpacks there.
func (in *installer) resolve(p string) string {
	if p == "." {
		return p
	}
	const maxLinks = 40 // the kernel's MAXSYMLINKS
	rest, at := strings.Split(p, "/"), ""
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		e, ok := in.entries[next]
		last := len(rest) == 1
		if ok && e.Type == tree.Symlink && links < maxLinks && (!last || e.owner < 0) {
			links++
			target := e.Link
			if !strings.HasPrefix(target, "/") {
				target = path.Join("/", at, target)
			}
			rest = append(strings.Split(strings.TrimPrefix(path.Clean(target), "/"), "/"), rest[1:]...)
			at = ""
			continue
		}
		at, rest = next, rest[1:]
	}
	return at
}
