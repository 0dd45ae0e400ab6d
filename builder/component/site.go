package component

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
)

// site is where one component's files are put together. Paths are absolute in the image.
type site struct {
	ctx   context.Context
	store *cas.Store
	pin   lock.Component
	arch  string
	epoch int64
	b     *tree.Builder
	// cached says that nothing had to be made so far.
	cached bool
}

func inTree(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

func (s *site) add(e tree.Entry) {
	if e.MTime.Sec == 0 || e.MTime.Sec > s.epoch {
		e.MTime = tree.Time{Sec: s.epoch}
	}
	s.b.Add(e)
}

// text adds a small generated file.
func (s *site) text(p string, mode uint32, text string) {
	s.add(tree.Entry{Path: inTree(p), Type: tree.File, Mode: mode, Content: tree.InlineContent([]byte(text))})
}

func (s *site) link(p, target string) {
	s.add(tree.Entry{Path: inTree(p), Type: tree.Symlink, Mode: 0o777, Link: target})
}

// dir adds a directory that may be there already.
func (s *site) dir(p string, mode uint32) {
	s.b.AddDefault(tree.Entry{Path: inTree(p), Type: tree.Dir, Mode: mode, MTime: tree.Time{Sec: s.epoch}})
}

// file finds a pinned file of the component.
func (s *site) file(name string) (lock.File, error) {
	for _, f := range s.pin.Files {
		if f.Name == name {
			return f, nil
		}
	}
	return lock.File{}, fmt.Errorf("the lock pins no file %s for it; lock again", name)
}

// copy adds a pinned file as it is.
func (s *site) copy(p string, mode uint32, name string) error {
	f, err := s.file(name)
	if err != nil {
		return err
	}
	s.add(tree.Entry{Path: inTree(p), Type: tree.File, Mode: mode, Content: tree.BlobContent(f.SHA256, 0, f.Size)})
	return nil
}

// programs adds the files of a tree, whose directories say nothing.
func (s *site) programs(t tree.Tree) {
	for i := range t.Len() {
		if e := t.At(i); e.Type != tree.Dir {
			s.add(e)
		}
	}
}

// enable links a unit into multi-user.target, as "systemctl enable" does where no systemd runs.
func (s *site) enable(unit, at string) {
	s.link("/etc/systemd/system/multi-user.target.wants/"+unit, at)
}

// octal reads the digits of a mode, which validation has checked, or returns the fallback.
func octal(text string, fallback uint32) uint32 {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil {
		return fallback
	}
	return uint32(mode)
}

// number reads an owner, which validation has checked: root or a number.
func number(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return uint32(n)
}
