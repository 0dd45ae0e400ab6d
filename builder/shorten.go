package builder

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/maintscript"
	"github.com/edgebake/edgebake/builder/system"
	"github.com/edgebake/edgebake/builder/tree"
)

// shortened is an installation whose maintainer scripts do only what has to be done in a guest.
type shortened struct {
	disk tree.Tree
	// originals are the scripts as the packages brought them, which the image has.
	originals []tree.Entry
	gone      map[string]bool // paths of scripts that are not on disk
	compile   [][]string      // arguments of py3compile's calls that the scripts would have made
	later     [][]string      // of those that are left in the scripts
}

const infoDir = "var/lib/dpkg/info"

// shorten takes out of the scripts what does nothing at a first installation, and scripts that then do nothing at all.
func shorten(root tree.Tree, src *tree.Reader) (shortened, error) {
	s := shortened{gone: map[string]bool{}}
	_, py3compile := root.Lookup("usr/bin/py3compile")
	_, pypy := root.Lookup("usr/bin/pypy3compile")
	recogniser := maintscript.New()
	enabling, err := system.NewEnabling(root, src)
	if err != nil {
		return shortened{}, err
	}
	at, _ := root.Lookup(".")
	b := tree.NewBuilder(at.MTime)
	for i := range root.Len() {
		e := root.At(i)
		short, ok, err := shortScript(recogniser, enabling.Links, e, src)
		if err != nil {
			return shortened{}, err
		}
		if !ok || len(short.Compile) > 0 && pypy {
			s.later = append(s.later, short.Calls...)
			b.Add(e)
			continue
		}
		s.originals = append(s.originals, e)
		if py3compile {
			s.compile, s.later = append(s.compile, short.Compile...), append(s.later, short.Calls...)
		}
		if short.Text == "" {
			s.gone[e.Path] = true
			continue
		}
		e.Content = tree.InlineContent([]byte(short.Text))
		b.Add(e)
	}
	s.disk, err = b.Tree()
	return s, err
}

// maxScript is the most that a maintainer script may have to be looked into: the longest of Debian have some 20 kB.
const maxScript = 256 << 10

func shortScript(r maintscript.Recogniser, links maintscript.Links, e tree.Entry, src *tree.Reader) (maintscript.Short, bool, error) {
	kind := path.Ext(e.Path)
	if e.Type != tree.File || path.Dir(e.Path) != infoDir || kind != ".preinst" && kind != ".postinst" && kind != ".config" || e.Content.Size > maxScript {
		return maintscript.Short{}, false, nil
	}
	text, err := readScript(e, src)
	if err != nil {
		return maintscript.Short{}, false, err
	}
	short, ok := r.Shorten(text, links)
	return short, ok, nil
}

func readScript(e tree.Entry, src *tree.Reader) (string, error) {
	in, err := src.Open(e.Content)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return string(text), nil
}

// restore puts the original scripts back.
func (s shortened) restore(after tree.Tree) (tree.Tree, error) {
	original := map[string]bool{}
	for _, e := range s.originals {
		original[e.Path] = true
	}
	at, _ := after.Lookup(".")
	b := tree.NewBuilder(at.MTime)
	for i := range after.Len() {
		if e := after.At(i); !original[e.Path] {
			b.Add(e)
		}
	}
	for _, e := range s.originals {
		b.Add(e)
	}
	return b.Tree()
}

// preinsts are the scripts that have to run. For one that is gone, what its package pre-depends on is still configured at
// that time: the order of configuring may show in the result, as in the numbers of users.
func (s shortened) preinsts(list []deb.Preinst) []guest.Script {
	var out []guest.Script
	for _, p := range list {
		script := guest.Script{Package: p.Package, Arch: p.Arch, Version: p.Version,
			Path: infoDir + "/" + p.Qualified + ".preinst", Before: p.PreDepends}
		script.Skip = s.gone[script.Path]
		if !script.Skip || len(script.Before) > 0 {
			out = append(out, script)
		}
	}
	return out
}

// callLines are py3compile's calls as bytecompile.py reads them: each argument ends in the byte 0x1f.
func callLines(calls [][]string) []string {
	var out []string
	for _, c := range calls {
		out = append(out, strings.Join(c, "\x1f")+"\x1f")
	}
	return out
}
