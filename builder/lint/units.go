package lint

import (
	"path"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// unitDirs are where systemd looks for units, the one with the last word first ("systemd-analyze unit-paths" on Debian
// and Ubuntu: where /usr is not merged, /lib comes before /usr/lib).
func unitDirs() []string {
	return []string{"etc/systemd/system", "usr/local/lib/systemd/system", "lib/systemd/system", "usr/lib/systemd/system"}
}

// checkUnits looks behind every link that starts something.
func checkUnits(s *system) []Finding {
	var found []Finding
	seen := map[string]bool{}
	for _, dir := range unitDirs() {
		for _, d := range s.list(dir) {
			base := path.Base(d.Path)
			wants := strings.HasSuffix(base, ".wants") || strings.HasSuffix(base, ".requires")
			if !seen[d.Path] && wants && d.Type == tree.Dir {
				for _, link := range s.list(d.Path) {
					found = append(found, s.checkWanted(link)...)
				}
			}
			if !seen[d.Path] && dir == unitDirs()[0] && d.Type == tree.Symlink && d.Link != "/dev/null" && !s.exists(d.Path) {
				found = append(found, fault("/"+d.Path, "install what it names, or remove the link", "it is a link to %s, which is not there", d.Link))
			}
			seen[d.Path] = true // with a merged /usr, two of the directories are one
		}
	}
	return found
}

// checkWanted: systemd takes the name of a link in a .wants directory and looks for that unit.
func (s *system) checkWanted(link tree.Entry) []Finding {
	unit := path.Base(link.Path)
	e, ok := s.unit(unit)
	switch {
	case !ok:
		return []Finding{fault("/"+link.Path, "install the package with "+unit+", or disable it", "%s is enabled, but there is no such unit", unit)}
	case link.Type == tree.Symlink && !s.exists(link.Path):
		return []Finding{caution("/"+link.Path, "enable the unit again", "the link leads to %s, which is not there; systemd will use /%s", link.Link, e.Path)}
	}
	return s.checkExec(link, e)
}

// unit finds a unit by its name; an instance name@x.service is made of name@.service.
func (s *system) unit(name string) (tree.Entry, bool) {
	names := []string{name}
	if before, after, ok := strings.Cut(name, "@"); ok {
		names = append(names, before+"@"+path.Ext(after))
	}
	for _, n := range names {
		for _, dir := range unitDirs() {
			e, err := s.root.Lookup(dir + "/" + n)
			if err != nil {
				continue
			}
			if e.Type == tree.Symlink && e.Link == "/dev/null" {
				return e, true // masked: somebody means it
			}
			if e, err = s.root.Resolve(dir + "/" + n); err == nil {
				return e, true
			}
		}
	}
	return tree.Entry{}, false
}

// checkExec looks for the program of a service that starts without conditions.
func (s *system) checkExec(link, e tree.Entry) []Finding {
	text := ""
	if e.Type == tree.File {
		text, _ = s.content(e)
	}
	if strings.Contains(text, "\nCondition") || strings.Contains(text, "\nAssert") {
		return nil
	}
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=")
		fields := strings.Fields(strings.TrimLeft(command, "@:+!|"))
		if !ok || len(fields) == 0 || !strings.HasPrefix(fields[0], "/") || strings.ContainsAny(fields[0], "%$\"") {
			continue // - before it: systemd takes any failure for success
		}
		if !s.exists(fields[0]) {
			return []Finding{fault("/"+link.Path, "install the program, or disable the unit", "%s is enabled and starts %s, which is not there", path.Base(link.Path), fields[0])}
		}
	}
	return nil
}
