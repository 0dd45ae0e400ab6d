package system

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

// unitDirs are searched in systemd's order ("systemd-analyze unit-paths" on Debian and Ubuntu): where /usr is not
// merged, /lib comes before /usr/lib.
var unitDirs = [...]string{"etc/systemd/system", "usr/local/lib/systemd/system", "lib/systemd/system", "usr/lib/systemd/system"}

// services does what "systemctl --root enable|disable|mask" does.
func (s *settings) services(v profile.Services) error {
	for _, unit := range v.Disable {
		s.disable(unit)
	}
	for _, unit := range v.Enable {
		if err := s.enable(unit, map[string]bool{}); err != nil {
			return err
		}
	}
	for _, unit := range v.Mask {
		s.link("etc/systemd/system/"+unit, "/dev/null")
	}
	return nil
}

// install is the [Install] section of a unit.
type install struct{ wantedBy, requiredBy, alias, also []string }

func (s *settings) enable(unit string, seen map[string]bool) error {
	if seen[unit] {
		return nil
	}
	seen[unit] = true
	at, ok := s.findUnit(unit)
	if !ok {
		return fmt.Errorf("enabling %s: no package, component or overlay of the image brings this unit", unit)
	}
	text, err := s.read(at)
	if err != nil {
		return err
	}
	in := parseInstall(text)
	if len(in.wantedBy)+len(in.requiredBy)+len(in.alias)+len(in.also) == 0 {
		return fmt.Errorf("enabling %s: /%s has no [Install] section, so it can't be enabled; another unit starts it", unit, at)
	}
	s.linkUnit(unit, "/"+at, in)
	for _, other := range in.also {
		if err := s.enable(other, seen); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) linkUnit(unit, target string, in install) {
	const dir = "etc/systemd/system/"
	for _, by := range in.wantedBy {
		s.link(dir+by+".wants/"+unit, target)
	}
	for _, by := range in.requiredBy {
		s.link(dir+by+".requires/"+unit, target)
	}
	for _, alias := range in.alias {
		s.link(dir+alias, target)
	}
}

// findUnit finds a unit's file; for name@instance.service it is the template's.
func (s *settings) findUnit(unit string) (string, bool) {
	names := []string{unit}
	if at := strings.IndexByte(unit, '@'); at >= 0 {
		names = append(names, unit[:at+1]+path.Ext(unit))
	}
	for _, name := range names {
		for _, dir := range unitDirs {
			p := dir + "/" + name
			if e, ok := s.lookup(p); ok && e.Type == tree.File {
				return p, true
			}
		}
	}
	return "", false
}

func (s *settings) disable(unit string) {
	for i := range s.root.Len() {
		e := s.root.At(i)
		if e.Type != tree.Symlink || !strings.HasPrefix(e.Path, "etc/systemd/system/") {
			continue
		}
		if path.Base(e.Path) == unit || path.Base(e.Link) == unit {
			s.remove(e.Path)
		}
	}
}

func parseInstall(text string) install {
	var in install
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if section != "[Install]" || !ok {
			continue
		}
		words := strings.Fields(value)
		switch strings.TrimSpace(key) {
		case "WantedBy":
			in.wantedBy = slices.Concat(in.wantedBy, words)
		case "RequiredBy":
			in.requiredBy = slices.Concat(in.requiredBy, words)
		case "Alias":
			in.alias = slices.Concat(in.alias, words)
		case "Also":
			in.also = slices.Concat(in.also, words)
		}
	}
	return in
}
