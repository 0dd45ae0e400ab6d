package standin

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// aliases are the directories that are links into a merged /usr.
func aliases() []string { return []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} }

// unmerge gives the system real directories /bin, /sbin and /lib again, as Ubuntu had them before 19.04: what dpkg lists
// there goes there, and so does what lies in a directory that is listed only there. Debian 12 still lists, and its
// systemd still looks, at both sides. usr-is-merged stays installed, because init-system-helpers depends on
// it; it is an empty package whose preinst has run. /etc/ld.so.cache stays too, because Python finds libraries by its names:
// where a path of it leads nowhere, the loader looks into the directories on both sides.
func (w *wardrobe) unmerge() {
	u := unmerging{w: w, listed: w.listed(), to: map[string]string{}}
	for _, d := range aliases() {
		if e := w.entries[d]; e.Type == tree.Symlink && e.Link == "usr/"+d {
			u.dirs = append(u.dirs, d)
			delete(w.entries, d)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(w.entries), tree.ComparePaths) { // parents first
		u.place(name)
	}
	u.move()
	u.links()
}

type unmerging struct {
	w    *wardrobe
	dirs []string
	// listed are the paths that dpkg and its helpers say.
	listed map[string]bool
	// to is where what moves will be.
	to map[string]string
}

// listed reads dpkg's lists, its diversions, and the links of alternatives.
func (w *wardrobe) listed() map[string]bool {
	out := map[string]bool{}
	for name, e := range w.entries {
		list := path.Dir(name) == adminDir+"/info" && path.Ext(name) == ".list"
		if e.Type != tree.File || !list && path.Dir(name) != adminDir+"/alternatives" && name != adminDir+"/diversions" {
			continue
		}
		head := string(w.read(name))
		if !list {
			head, _, _ = strings.Cut(head, "\n\n") // behind it are the programs that a link can lead to
		}
		for line := range strings.Lines(head) {
			if p, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
				out[p] = true
			}
		}
	}
	return out
}

// short is the path on the other side of a merged /usr.
func (u *unmerging) short(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "usr/")
	top, _, below := strings.Cut(rest, "/")
	return rest, ok && below && slices.Contains(u.dirs, top)
}

// place decides about one path; a directory that is listed on both sides gets a copy.
func (u *unmerging) place(name string) {
	short, ok := u.short(name)
	if !ok {
		return
	}
	e := u.w.entries[name]
	parent, moves := u.to[path.Dir(name)]
	switch {
	case u.listed[short] && u.listed[name] && e.Type == tree.Dir:
		e.Path = short
		u.w.entries[short] = e
	case u.listed[short] && u.listed[name]:
		u.w.fail("unmerging /usr: dpkg lists both /%s and /%s", short, name)
	case u.listed[short]:
		u.to[name] = short
	case !u.listed[name] && moves:
		u.to[name] = path.Join(parent, path.Base(name))
	}
}

func (u *unmerging) move() {
	for from, to := range u.to {
		e := u.w.entries[from]
		delete(u.w.entries, from)
		u.w.dir(path.Dir(to))
		e.Path = to
		u.w.entries[to] = e
	}
	for name, e := range u.w.entries {
		if to, ok := u.to[e.Link]; ok && e.Type == tree.Hardlink {
			e.Link = to
			u.w.entries[name] = e
		}
	}
	for _, d := range u.dirs { // debootstrap makes them all; no package has some
		if dir := "usr/" + d; !u.listed[dir] && !u.w.holds(dir) {
			delete(u.w.entries, dir)
		}
	}
}

func (w *wardrobe) holds(dir string) bool {
	for name := range w.entries {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// links turns those to the other side that were made while there was none, such as those of enabled units.
func (u *unmerging) links() {
	for name, e := range u.w.entries {
		if e.Type != tree.Symlink {
			continue
		}
		target := tree.LinkTarget(name, e.Link)
		other, ok := u.short(target)
		if top, _, below := strings.Cut(target, "/"); below && slices.Contains(u.dirs, top) {
			other, ok = "usr/"+target, true
		}
		_, there := u.w.entries[target]
		if _, moved := u.w.entries[other]; ok && moved && !there {
			e.Link = "/" + other
			u.w.entries[name] = e
		}
	}
}
