package standin

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	adminDir = "var/lib/dpkg"
	// maxDatabase bounds one file of dpkg's database; the largest, status, has less than 1 MiB.
	maxDatabase = 16 << 20
)

// Purge returns t without the packages, as "dpkg --purge" leaves it, natively and without their
// scripts: files that only they own, directories that become empty, their part of dpkg's database,
// and the links below /etc and the notes of systemd's helper that lead to what went. Users that
// their scripts made stay. It is a fault when a package is not installed.
func Purge(t tree.Tree, src *tree.Reader, packages ...string) (tree.Tree, error) {
	p := purge{t: t, src: src, gone: map[string]bool{}, edited: map[string][]byte{}}
	if err := p.find(packages); err != nil {
		return tree.Tree{}, err
	}
	if err := p.files(); err != nil {
		return tree.Tree{}, err
	}
	if err := p.triggers(); err != nil {
		return tree.Tree{}, err
	}
	p.links()
	return p.result()
}

type purge struct {
	t   tree.Tree
	src *tree.Reader
	// names are as dpkg's info directory has them: socat, libc6:amd64.
	names []string
	gone  map[string]bool
	// edited are files with new content.
	edited map[string][]byte
}

func (p *purge) read(name string) ([]byte, error) {
	e, ok := p.t.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("reading /%s: it does not exist", name)
	}
	r, err := p.src.Open(e.Content)
	if err != nil {
		return nil, fmt.Errorf("reading /%s: %w", name, err)
	}
	return io.ReadAll(io.LimitReader(r, maxDatabase))
}

// find takes the stanzas out of the status file.
func (p *purge) find(packages []string) error {
	status, err := p.read(adminDir + "/status")
	if err != nil {
		return err
	}
	var kept strings.Builder
	wanted := slices.Clone(packages)
	for text := range strings.SplitSeq(strings.TrimSpace(string(status)), "\n\n") {
		s, err := deb.ParseStanza([]byte(text))
		if err != nil {
			return fmt.Errorf("reading dpkg's status: %w", err)
		}
		at := slices.Index(wanted, s.Get("Package"))
		if at < 0 {
			kept.WriteString(text + "\n\n")
			continue
		}
		wanted = slices.Delete(wanted, at, at+1)
		p.names = append(p.names, qualified(s))
	}
	if len(wanted) > 0 {
		return fmt.Errorf("purging packages: %v are not installed", wanted)
	}
	p.edited[adminDir+"/status"] = []byte(kept.String())
	return nil
}

func qualified(s deb.Stanza) string {
	if s.Get("Multi-Arch") == "same" {
		return s.Get("Package") + ":" + s.Get("Architecture")
	}
	return s.Get("Package")
}

// files finds what only the packages own.
func (p *purge) files() error {
	kept, lost := map[string]bool{}, map[string]bool{}
	for i := range p.t.Len() {
		e := p.t.At(i)
		name, ok := strings.CutSuffix(path.Base(e.Path), ".list")
		if path.Dir(e.Path) != adminDir+"/info" || !ok {
			continue
		}
		list, err := p.read(e.Path)
		if err != nil {
			return err
		}
		owned := kept
		if slices.Contains(p.names, name) {
			owned = lost
		}
		for line := range strings.Lines(string(list)) {
			owned[p.real(strings.TrimSpace(line))] = true
		}
	}
	for i := range p.t.Len() {
		e := p.t.At(i)
		if lost[e.Path] && !kept[e.Path] || p.isInfo(e.Path) {
			p.gone[e.Path] = true
		}
	}
	p.keepFull()
	return nil
}

// real is where a path of a package is when /bin, /lib and /sbin are links into /usr.
func (p *purge) real(name string) string {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	top, rest, ok := strings.Cut(name, "/")
	if e, there := p.t.Lookup(top); ok && there && e.Type == tree.Symlink {
		return tree.LinkTarget(top, e.Link) + "/" + rest
	}
	return name
}

func (p *purge) isInfo(name string) bool {
	base, ok := strings.CutPrefix(name, adminDir+"/info/")
	stem := strings.TrimSuffix(base, path.Ext(base))
	return ok && slices.Contains(p.names, stem)
}

// keepFull keeps the directories that still hold something.
func (p *purge) keepFull() {
	for i := p.t.Len() - 1; i >= 0; i-- {
		e := p.t.At(i)
		if e.Path != "." && !p.gone[e.Path] {
			delete(p.gone, path.Dir(e.Path))
		}
	}
}

// triggers takes the packages out of the lists of who waits for which path or trigger.
func (p *purge) triggers() error {
	for i := range p.t.Len() {
		e := p.t.At(i)
		if path.Dir(e.Path) != adminDir+"/triggers" || e.Type != tree.File {
			continue
		}
		text, err := p.read(e.Path)
		if err != nil {
			return err
		}
		if rest := p.withoutNames(string(text)); rest != string(text) {
			p.edited[e.Path] = []byte(rest)
			p.gone[e.Path] = rest == ""
		}
	}
	return nil
}

// withoutNames drops the lines whose last word is one of the packages.
func (p *purge) withoutNames(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 0 && slices.Contains(p.names, strings.TrimSuffix(words[len(words)-1], "/noawait")) {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

const helperDir = "var/lib/systemd/deb-systemd-helper-enabled"

// links finds the links to what went: units that were enabled, init scripts of run levels.
func (p *purge) links() {
	for i := range p.t.Len() {
		e := p.t.At(i)
		if e.Type == tree.Symlink && strings.HasPrefix(e.Path, "etc/") && p.gone[p.real(tree.LinkTarget(e.Path, e.Link))] {
			p.gone[e.Path] = true
		}
		if strings.HasPrefix(e.Path, helperDir) && e.Type == tree.File && p.unitGone(path.Base(e.Path)) {
			p.gone[e.Path] = true
		}
	}
}

func (p *purge) unitGone(name string) bool {
	return p.gone["usr/lib/systemd/system/"+strings.TrimSuffix(name, ".dsh-also")]
}

func (p *purge) result() (tree.Tree, error) {
	left := tree.Filter(p.t, func(e tree.Entry) bool { return !p.gone[e.Path] })
	entries := left.Entries()
	for i, e := range entries {
		if text, ok := p.edited[e.Path]; ok {
			entries[i].Content = tree.InlineContent(text)
		}
	}
	return tree.New(entries)
}
