package system

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

// Settings returns root with the files that the profile's fields stand for.
func Settings(root tree.Tree, src *tree.Reader, p profile.Profile, epoch int64) (tree.Tree, error) {
	s := &settings{root: root, src: src, epoch: tree.Time{Sec: epoch}, entries: map[string]tree.Entry{}, gone: map[string]bool{}}
	s.files(p)
	s.clock()
	if err := s.users(p.Users); err != nil {
		return tree.Tree{}, err
	}
	if err := s.services(p.Services); err != nil {
		return tree.Tree{}, err
	}
	return s.result()
}

// settings collects changes over root; later ones see earlier ones.
type settings struct {
	root    tree.Tree
	src     *tree.Reader
	epoch   tree.Time
	entries map[string]tree.Entry
	gone    map[string]bool
}

func (s *settings) lookup(p string) (tree.Entry, bool) {
	if e, ok := s.entries[p]; ok {
		return e, true
	}
	if s.gone[p] {
		return tree.Entry{}, false
	}
	return s.root.Lookup(p)
}

func (s *settings) read(p string) (string, error) {
	e, ok := s.lookup(p)
	if !ok || e.Type != tree.File {
		return "", fmt.Errorf("reading /%s of the image: it has no such file", p)
	}
	b, err := readAll(s.src, e.Content)
	if err != nil {
		return "", fmt.Errorf("reading /%s of the image: %w", p, err)
	}
	return string(b), nil
}

func (s *settings) add(e tree.Entry) {
	e.MTime = s.epoch
	delete(s.gone, e.Path)
	s.entries[e.Path] = e
}

func (s *settings) file(p string, mode uint32, text string) {
	e := tree.Entry{Path: p, Type: tree.File, Mode: mode}
	if old, ok := s.lookup(p); ok && old.Type == tree.File {
		e.UID, e.GID, e.Mode = old.UID, old.GID, old.Mode
	}
	e.Content = tree.InlineContent([]byte(text))
	s.add(e)
}

func (s *settings) link(p, target string) {
	s.add(tree.Entry{Path: p, Type: tree.Symlink, Mode: 0o777, Link: target})
}

func (s *settings) dir(p string, mode, uid, gid uint32) {
	if _, ok := s.lookup(p); !ok {
		s.add(tree.Entry{Path: p, Type: tree.Dir, Mode: mode, UID: uid, GID: gid})
	}
}

func (s *settings) remove(p string) {
	delete(s.entries, p)
	s.gone[p] = true
}

func (s *settings) result() (tree.Tree, error) {
	b := tree.NewBuilder(s.epoch)
	for i := range s.root.Len() {
		e := s.root.At(i)
		if _, changed := s.entries[e.Path]; !changed && !s.gone[e.Path] {
			b.Add(e)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(s.entries)) {
		b.Add(s.entries[p])
	}
	return b.Tree()
}

const madeBy = "# written by edgebake from the profile\n"

// files writes what fields stand for. A base image keeps its own fstab, hosts and apt sources.
func (s *settings) files(p profile.Profile) {
	if p.Hostname != "" {
		s.file("etc/hostname", 0o644, p.Hostname+"\n")
	}
	if p.Base.Image == nil {
		s.file("etc/fstab", 0o644, fstab(p.Disk))
		s.aptSources(p.Apt)
		s.file("etc/hosts", 0o644, "127.0.0.1\tlocalhost\n127.0.1.1\t"+p.Hostname+
			"\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	}
	if len(p.Sysctls) > 0 {
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(p.Sysctls)) {
			fmt.Fprintf(&b, "%s = %s\n", k, p.Sysctls[k])
		}
		s.file("etc/sysctl.d/90-edgebake.conf", 0o644, madeBy+b.String())
	}
	if len(p.Modules) > 0 {
		s.file("etc/modules-load.d/edgebake.conf", 0o644, madeBy+strings.Join(p.Modules, "\n")+"\n")
	}
}

// clock sets the least time that a machine without a clock of its own starts with: systemd takes
// the modification time of this file (systemd(1), since version 248), and timesyncd that of the
// other one (systemd-timesyncd.service(8)). Certificates are not valid in 1970.
func (s *settings) clock() {
	s.file("usr/lib/clock-epoch", 0o644, "")
	if dir, ok := s.lookup("var/lib/systemd/timesync"); ok && dir.Type == tree.Dir {
		s.add(tree.Entry{Path: "var/lib/systemd/timesync/clock", Type: tree.File, Mode: 0o644, UID: dir.UID, GID: dir.GID})
	}
}

// fstab mounts by label (fstab(5)); the root file system is checked first.
func fstab(d profile.Disk) string {
	var b strings.Builder
	b.WriteString(madeBy)
	for _, part := range d.Partitions {
		if part.Mount == "" {
			continue
		}
		options, pass := part.Options, 2
		if options == "" {
			options = "defaults"
		}
		if part.Mount == "/" {
			pass = 1
		}
		fmt.Fprintf(&b, "LABEL=%s\t%s\t%s\t%s\t0\t%d\n", part.Label, part.Mount, part.FS, options, pass)
	}
	return b.String()
}

// aptSources writes the profile's archives in the one-line style, with the keyring that the
// distribution's own keyring package brings.
func (s *settings) aptSources(apt profile.Apt) {
	var b strings.Builder
	b.WriteString(madeBy)
	for _, src := range apt.Sources {
		for _, suite := range src.Suites {
			fmt.Fprintf(&b, "deb %s %s %s\n", src.URL, suite, strings.Join(src.Components, " "))
		}
	}
	s.file("etc/apt/sources.list", 0o644, b.String())
}
