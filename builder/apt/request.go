package apt

import (
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
)

// Request says what to choose packages for.
type Request struct {
	// Install are names, with "=version", "/suite" or ":arch" behind them, or "-" for never.
	Install []string
	// Essential adds all packages marked so.
	Essential bool
	// Priorities adds the packages of these priorities: "required", "important".
	Priorities []string
	// Recommends follows Recommends too, where they can be satisfied.
	Recommends bool
	// Installed are the packages of the base. They satisfy relations, keep their version unless a
	// new package needs another, and are never removed. Essential and Priorities do not count then.
	Installed []Installed
}

// root is a package that the request names.
type root struct {
	pkg    *Package
	reason string
}

// roots finds the packages that the request names and notes what it excludes and pins.
func (s *solver) roots(req Request) ([]root, error) {
	var names []string
	for _, text := range req.Install {
		if name, ok := strings.CutSuffix(text, "-"); ok && !s.u.has(text) {
			if s.inBase[name] != nil {
				return nil, &UnsatisfiableError{Package: name, Relation: "is not wanted", Have: "but it is installed in the base, from which nothing is removed"}
			}
			s.never[name] = true
			continue
		}
		name, err := s.pin(text)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	var list []root
	for _, name := range names {
		if s.pinned[name] == nil && s.baseHas(name) {
			continue // as apt-get install --no-upgrade
		}
		p, err := s.resolveName(name)
		if err != nil {
			return nil, err
		}
		list = append(list, root{p, "requested"})
	}
	if len(req.Installed) > 0 {
		return list, nil
	}
	return append(list, s.setRoots(req)...), nil
}

// setRoots are the essential packages and those of the priorities, in the order of the indexes.
func (s *solver) setRoots(req Request) []root {
	var list []root
	for i := range s.u.Packages {
		p := &s.u.Packages[i]
		reason := ""
		switch {
		case req.Essential && p.Essential:
			reason = "essential"
		case p.Priority != "" && slices.Contains(req.Priorities, p.Priority):
			reason = p.Priority
		}
		if reason != "" && s.candidate(p.Name) == p {
			list = append(list, root{p, reason})
		}
	}
	return list
}

// pin makes the version that the text asks for the candidate, and returns the bare name.
func (s *solver) pin(text string) (string, error) {
	rest, version, _ := strings.Cut(text, "=")
	rest, suite, _ := strings.Cut(rest, "/")
	name, arch, _ := strings.Cut(rest, ":")
	if arch != "" && arch != s.u.Arch && arch != "all" && arch != "any" && arch != "native" {
		return "", &UnknownPackageError{Name: name + ":" + arch, Have: []string{"architecture " + s.u.Arch + " only"}}
	}
	if version == "" && suite == "" {
		return name, nil
	}
	if p := s.inBase[name]; p != nil && p.Version == version {
		s.pinned[name] = &p.Package
		return name, nil
	}
	versions := s.u.Versions(name)
	var have []string
	for _, p := range versions {
		if version != "" && p.Version == version || suite != "" && s.u.inSuite(p, suite) {
			s.pinned[name] = p
			return name, nil
		}
		have = append(have, p.Version+" ("+s.u.label(p)+")")
	}
	e := &UnknownPackageError{Name: name, Version: version, Suite: suite, Have: have}
	if len(versions) == 0 {
		e.Nearest = s.u.nearest(name)
	}
	return "", e
}

func (u *Universe) inSuite(p *Package, suite string) bool {
	r := u.Releases[p.Source]
	return suite == u.Sources[p.Source].Suite || suite == r.Suite || suite == r.Codename
}

// resolveName finds the candidate of a requested name, or the only provider of a virtual one.
func (s *solver) resolveName(name string) (*Package, error) {
	if p := s.candidate(name); p != nil {
		return p, nil
	}
	if list := s.rankedProviders(deb.Relation{Name: name}); len(list) == 1 {
		return list[0], nil
	} else if len(list) > 1 {
		e := &UnknownPackageError{Name: name}
		for _, p := range list {
			e.Have = append(e.Have, p.Name+" which provides it")
		}
		return nil, e
	}
	return nil, &UnknownPackageError{Name: name, Nearest: s.u.nearest(name)}
}
