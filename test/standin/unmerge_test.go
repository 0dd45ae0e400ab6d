package standin

import (
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// TestUnmerge has the real dpkg unpack packages without a merged /usr, merges that, and wants it back.
func TestUnmerge(t *testing.T) {
	root := installed(t,
		aptrepo.Deb{Name: "alpha", Files: map[string]string{
			"bin/a": "a", "usr/bin/b": "b", "lib/alpha/deep/x": "x", "usr/lib/both/y": "y", "lib64/ld.so": "ld", "usr/share/a": ""}},
		aptrepo.Deb{Name: "beta", Files: map[string]string{"lib/both/z": "z", "lib/systemd/system/beta.service": "[Unit]\n", "usr/lib/systemd/system/other.service": "[Unit]\n"}})
	before, src := treeOf(t, root)
	w := newWardrobe(before, src, tree.Time{})
	w.text("lib/alpha/deep/made/file", "made by a script")
	w.text("var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\nalpha\n")
	w.text("var/lib/dpkg/alternatives/nc", "auto\n/bin/nc\nnc.1\n/usr/share/man/nc.1\n\n/usr/bin/b\n1\n\n")
	w.link("bin/sh", "a")
	w.link("bin/nc", "/etc/alternatives/nc")
	w.link("etc/wants", "/usr/lib/systemd/system/other.service")
	w.entries["bin/hard"] = tree.Entry{Path: "bin/hard", Type: tree.Hardlink, Link: "bin/a"}
	w.text("var/lib/dpkg/info/gamma.list", "/bin/hard\n")
	want, err := w.tree()
	check(t, err)

	w = newWardrobe(merge(t, want), src, tree.Time{})
	w.link("etc/wants", "/lib/systemd/system/other.service") // what systemctl made of it
	w.unmerge()
	got, err := w.tree()
	check(t, err)
	if g, x := described(got), described(want); !slices.Equal(g, x) {
		t.Errorf("files are\n%s\nwant\n%s", strings.Join(g, "\n"), strings.Join(x, "\n"))
	}
}

// merge is what usrmerge does.
func merge(t *testing.T, in tree.Tree) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{})
	for _, d := range aliases() {
		b.Add(tree.Entry{Path: "usr/" + d, Type: tree.Dir, Mode: 0o755})
		b.Add(tree.Entry{Path: d, Type: tree.Symlink, Mode: 0o777, Link: "usr/" + d})
	}
	into := func(p string) string {
		top, _, below := strings.Cut(p, "/")
		if below && slices.Contains(aliases(), top) {
			return "usr/" + p
		}
		return p
	}
	for _, e := range in.Entries() {
		if slices.Contains(aliases(), e.Path) {
			continue
		}
		e.Path = into(e.Path)
		if e.Type == tree.Hardlink {
			e.Link = into(e.Link)
		}
		b.Add(e)
	}
	out, err := b.Tree()
	check(t, err)
	return out
}

func described(in tree.Tree) []string {
	var out []string
	for _, e := range in.Entries() {
		out = append(out, e.Path+" "+e.Type.String()+" "+e.Link)
	}
	return out
}
