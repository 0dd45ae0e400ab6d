package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// checkPackages looks at dpkg's database and at what a bake or an interrupted apt leaves behind.
func checkPackages(s *system) []Finding {
	var found []Finding
	for _, name := range sortedKeys(s.debs) {
		p := s.debs[name]
		state := p.status[strings.LastIndexByte(p.status, ' ')+1:]
		if !word([]string{"installed", "config-files", "not-installed"}, state) {
			found = append(found, fault("/"+statusFile, "run dpkg --configure -a", "package %s is %s", name, state))
		}
	}
	if e, err := s.root.Lookup("usr/sbin/policy-rc.d"); err == nil && e.Type != tree.Dir {
		found = append(found, fault("/"+e.Path, "remove it", "it keeps packages from starting their services, also on the node"))
	}
	for _, e := range s.list("var/lib/dpkg/updates") {
		found = append(found, fault("/"+e.Path, "run dpkg --configure -a", "dpkg was interrupted here"))
	}
	for e := range s.below("etc") {
		if strings.HasSuffix(e.Path, ".dpkg-new") || strings.HasSuffix(e.Path, ".dpkg-tmp") {
			found = append(found, fault("/"+e.Path, "configure the package that it belongs to", "a configuration file was unpacked, but never put in its place"))
		}
	}
	for _, p := range []string{"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock", "etc/.pwd.lock"} {
		if s.exists(p) && !s.booted {
			found = append(found, caution("/"+p, "remove it", "a lock file was left over"))
		}
	}
	for _, e := range s.list("var/cache/apt/archives") {
		if path.Ext(e.Path) == ".deb" {
			found = append(found, caution("/"+e.Path, "run apt-get clean", "a downloaded package is still there, %d KiB", s.inode(e).Content.Size>>10))
		}
	}
	return found
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

const (
	worldWritable = 0o002
	sticky        = 0o1000
	setID         = 0o6000
)

// checkPermissions leaves out FATs, which have no permissions of their own, and container images,
// whose files only their containers see.
func checkPermissions(s *system) []Finding {
	var found []Finding
	var special []tree.Entry
	for i := range s.root.Tree.Len() {
		e := s.root.Tree.At(i)
		if s.onFAT(e.Path) || within(e.Path, imagesDir) || within(e.Path, "var/lib/containers") {
			continue
		}
		switch {
		case e.Type == tree.File && e.Mode&worldWritable != 0:
			found = append(found, fault("/"+e.Path, "chmod o-w", "every user may change this file (mode %04o)", e.Mode))
		case e.Type == tree.Dir && e.Mode&worldWritable != 0 && e.Mode&sticky == 0:
			found = append(found, fault("/"+e.Path, "chmod +t, or chmod o-w", "every user may remove others' files in this directory (mode %04o)", e.Mode))
		case e.Type == tree.File && e.Mode&setID != 0 && e.Mode&0o111 != 0:
			special = append(special, e)
		}
	}
	return append(found, s.checkSetID(special)...)
}

func (s *system) onFAT(p string) bool {
	for _, f := range s.fats {
		if f.dir != "" && within(p, f.dir) {
			return true
		}
	}
	return false
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// checkSetID asks dpkg's lists which package a program with special rights came from.
func (s *system) checkSetID(special []tree.Entry) []Finding {
	if len(special) == 0 {
		return nil
	}
	wanted := map[string]bool{}
	for _, e := range special {
		wanted[e.Path] = true
	}
	for _, e := range s.list("var/lib/dpkg/info") {
		if path.Ext(e.Path) != ".list" {
			continue
		}
		text, _ := s.content(s.inode(e))
		for line := range strings.Lines(text) {
			delete(wanted, s.unaliased(strings.TrimSpace(line)))
		}
	}
	var found []Finding
	for _, e := range special {
		if wanted[e.Path] {
			found = append(found, caution("/"+e.Path, "remove the bit, or install the program from a package", "it runs with the rights of its owner (mode %04o), and no package brought it", e.Mode))
		}
	}
	return found
}

// unaliased is where dpkg's /bin/su lies when /bin is a link to usr/bin, as on a merged /usr.
func (s *system) unaliased(p string) string {
	p = strings.TrimPrefix(p, "/")
	top, rest, _ := strings.Cut(p, "/")
	if e, ok := s.root.Tree.Lookup(top); ok && e.Type == tree.Symlink {
		return path.Join(tree.LinkTarget(top, e.Link), rest)
	}
	return p
}
