package apt

import (
	"slices"

	"github.com/edgebake/edgebake/builder/deb"
)

// relations are a package's parsed fields.
type relations struct {
	depends    []dependency
	conflicts  []deb.Relation
	provides   []deb.Relation
	recommends []dependency
}

type dependency struct {
	alts deb.Alternatives
	kind string // "pre-depends", "depends", "recommends"
}

type blocker struct {
	rel deb.Relation
	by  *choice
}

// relations parses p's fields once. A field that does not parse is left out, as apt does.
func (s *solver) relations(p *Package) *relations {
	if r := s.parsed[p]; r != nil {
		return r
	}
	r := &relations{conflicts: append(s.flatRelations(p.Conflicts), s.flatRelations(p.Breaks)...),
		provides: s.flatRelations(p.Provides), recommends: s.dependencies(p.Recommends, "recommends")}
	r.depends = append(s.dependencies(p.PreDepends, "pre-depends"), s.dependencies(p.Depends, "depends")...)
	s.parsed[p] = r
	return r
}

func (s *solver) dependencies(field, kind string) []dependency {
	var list []dependency
	all, _ := deb.ParseRelations(field)
	for _, alts := range all {
		alts = slices.DeleteFunc(alts, func(r deb.Relation) bool { return !r.AppliesTo(s.u.Arch) })
		if len(alts) > 0 {
			list = append(list, dependency{alts, kind})
		}
	}
	return list
}

func (s *solver) flatRelations(field string) []deb.Relation {
	var list []deb.Relation
	for _, d := range s.dependencies(field, "") {
		list = append(list, d.alts...)
	}
	return list
}

// push makes c a chosen package; a version in the base makes room.
func (s *solver) push(c *choice) {
	if c.replaced = s.chosen[c.pkg.Name]; c.replaced != nil {
		s.forget(c.replaced)
	}
	s.remember(c)
	s.trail = append(s.trail, c)
}

func (s *solver) remember(c *choice) {
	s.chosen[c.pkg.Name] = c
	r := s.relations(c.pkg)
	for _, p := range r.provides {
		s.provided[p.Name] = append(s.provided[p.Name], c)
	}
	for _, x := range r.conflicts {
		s.blockers[x.Name] = append(s.blockers[x.Name], blocker{x, c})
	}
	for _, d := range r.depends {
		for _, a := range d.alts {
			s.needs[a.Name] = append(s.needs[a.Name], need{c, d})
		}
	}
}

func (s *solver) forget(c *choice) {
	delete(s.chosen, c.pkg.Name)
	r := s.relations(c.pkg)
	for _, p := range r.provides {
		s.provided[p.Name] = slices.DeleteFunc(s.provided[p.Name], func(x *choice) bool { return x == c })
	}
	for _, x := range r.conflicts {
		s.blockers[x.Name] = slices.DeleteFunc(s.blockers[x.Name], func(b blocker) bool { return b.by == c })
	}
	for _, d := range r.depends {
		for _, a := range d.alts {
			s.needs[a.Name] = slices.DeleteFunc(s.needs[a.Name], func(n need) bool { return n.by == c })
		}
	}
}

// undo takes back the choices after the first mark ones, and puts back the versions they replaced.
func (s *solver) undo(mark int) {
	for _, c := range slices.Backward(s.trail[mark:]) {
		s.forget(c)
		if c.replaced != nil {
			s.remember(c.replaced)
		}
	}
	s.trail = s.trail[:mark]
}

// room finds the packages of the base that must be upgraded for c, and reports whether nothing else
// conflicts with it. A conflict with a package's own name or Provides does not count.
func (s *solver) room(c *choice) (outdated []*choice, ok bool) {
	for _, r := range s.relations(c.pkg).conflicts {
		for _, other := range s.hits(r, c) {
			if !s.upgradable(other) || s.hitBy(s.candidate(other.pkg.Name), r) {
				s.conflict(c, other, r)
				return nil, false
			}
			outdated = append(outdated, other)
		}
	}
	for _, b := range s.blocking(c) {
		if !s.upgradable(b.by) || s.conflictsWith(s.candidate(b.by.pkg.Name), c.pkg) {
			s.conflict(c, b.by, b.rel)
			return nil, false
		}
		outdated = append(outdated, b.by)
	}
	return outdated, true
}

func (s *solver) upgradable(c *choice) bool {
	return c.inBase() && s.frozen(c.pkg.Name) == "" && s.candidate(c.pkg.Name) != c.pkg
}

// blocking are the conflicts of chosen packages with c.
func (s *solver) blocking(c *choice) []blocker {
	names := []string{c.pkg.Name}
	for _, p := range s.relations(c.pkg).provides {
		names = append(names, p.Name)
	}
	var list []blocker
	for _, name := range names {
		for _, b := range s.blockers[name] {
			if b.by.pkg.Name != c.pkg.Name && s.hitBy(c.pkg, b.rel) {
				list = append(list, b)
			}
		}
	}
	return list
}

// hits are the chosen packages that c's conflict r is about.
func (s *solver) hits(r deb.Relation, c *choice) []*choice {
	var list []*choice
	if other := s.chosen[r.Name]; other != nil && r.Name != c.pkg.Name && r.Matches(other.pkg.Version) {
		list = append(list, other)
	}
	for _, other := range s.provided[r.Name] {
		if other.pkg.Name != c.pkg.Name && s.provides(other.pkg, r) && !slices.Contains(list, other) {
			list = append(list, other)
		}
	}
	return list
}

// hitBy says whether the conflict r is about p.
func (s *solver) hitBy(p *Package, r deb.Relation) bool {
	return r.Name == p.Name && r.Matches(p.Version) || s.provides(p, r)
}

func (s *solver) conflictsWith(p, other *Package) bool {
	return slices.ContainsFunc(s.relations(p).conflicts, func(r deb.Relation) bool { return s.hitBy(other, r) })
}
