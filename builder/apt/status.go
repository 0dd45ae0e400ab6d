package apt

import (
	"fmt"
	"io"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
)

// maxStatus bounds a dpkg status file; a desktop with 4,000 packages has 5 MB.
const maxStatus = 128 << 20

// Installed is a package that a base image's dpkg database says is there: it may be configured or
// only unpacked. Its Source is -1; Path, Size and SHA256 are empty.
type Installed struct {
	Package
	Hold  bool   // its version must not change
	State string // "installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"
}

// configured says that the dependencies were met once; dpkg saw to it.
func (i *Installed) configured() bool {
	return i.State == "installed" || strings.HasPrefix(i.State, "triggers-")
}

// ParseStatus reads dpkg's database (/var/lib/dpkg/status, dpkg(1) "Package states") and returns
// the packages whose files are there. Packages of other architectures are among them.
func ParseStatus(r io.Reader) ([]Installed, error) {
	var list []Installed
	seen := map[string]bool{}
	for s, err := range deb.ParseStanzas(r, maxStatus) {
		if err != nil {
			return nil, fmt.Errorf("reading dpkg status: %w", err)
		}
		p, present, err := parseInstalled(s)
		if err != nil {
			return nil, fmt.Errorf("reading dpkg status: %w", err)
		}
		if id := p.Name + ":" + p.Arch; present && seen[id] {
			return nil, fmt.Errorf("reading dpkg status: %s is there twice", id)
		} else if present {
			seen[id] = true
			list = append(list, p)
		}
	}
	return list, nil
}

func parseInstalled(s deb.Stanza) (p Installed, present bool, err error) {
	f := sortFields(s)
	words := strings.Fields(s.Get("Status"))
	if f.name == "" || len(words) != 3 {
		return p, false, fmt.Errorf("package %q has status %q instead of three words", f.name, s.Get("Status"))
	}
	switch words[2] {
	case "not-installed", "config-files", "half-installed":
		return p, false, nil
	case "installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending":
	default:
		return p, false, fmt.Errorf("package %s is in state %q, which dpkg does not know", f.name, words[2])
	}
	if f.version == "" || f.arch == "" {
		return p, false, fmt.Errorf("package %s is %s, but has no version or architecture", f.name, words[2])
	}
	return Installed{Hold: words[0] == "hold", State: words[2], Package: Package{Name: f.name, Version: f.version, Arch: f.arch,
		Source: -1, Priority: f.priority, Essential: f.essential == "yes", MultiArch: f.multiArch, SourcePackage: f.source,
		PreDepends: f.preDepends, Depends: f.depends, Recommends: f.recommends, Provides: f.provides,
		Conflicts: f.conflicts, Breaks: f.breaks}}, true, nil
}
