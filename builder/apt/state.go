package apt

import (
	"slices"

	"github.com/edgebake/edgebake/builder/deb"
)

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

// push makes c a chosen package; an installed version of the same name makes room.
func (s *solver) push(c *choice) {
	if old := s.chosen[c.pkg.Name]; old != nil {
		s.forget(old)
	}
	s.chosen[c.pkg.Name] = c
	s.trail = append(s.trail, c)
	r := s.relations(c.pkg)
	for _, p := range r.provides {
		s.provided[p.Name] = append(s.provided[p.Name], c)
	}
	for _, x := range r.conflicts {
		s.blockers[x.Name] = append(s.blockers[x.Name], blocker{x, c})
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
}

// undo takes back the choices after the first mark ones, and puts back the versions they replaced.
func (s *solver) undo(mark int) {
	gone := slices.Clone(s.trail[mark:])
	s.trail = s.trail[:mark]
	for _, c := range slices.Backward(gone) {
		s.forget(c)
	}
	for _, old := range slices.Clone(s.trail) {
		if old.pkg.Source < 0 && s.chosen[old.pkg.Name] == nil {
			s.trail = slices.DeleteFunc(s.trail, func(x *choice) bool { return x == old })
			s.push(old)
		}
	}
}

// free reports whether c neither conflicts with a chosen package nor is in the way of one. A
// conflict with a package's own name or Provides does not count.
func (s *solver) free(c *choice) bool {
	for _, r := range s.relations(c.pkg).conflicts {
		if other := s.hit(r, c); other != nil {
			s.conflict(c, other, r)
			return false
		}
	}
	names := []string{c.pkg.Name}
	for _, p := range s.relations(c.pkg).provides {
		names = append(names, p.Name)
	}
	for _, name := range names {
		for _, b := range s.blockers[name] {
			if b.by.pkg.Name != c.pkg.Name && (b.rel.Name == c.pkg.Name && b.rel.Matches(c.pkg.Version) || s.provides(c.pkg, b.rel)) {
				s.conflict(c, b.by, b.rel)
				return false
			}
		}
	}
	return true
}

// hit finds the chosen package that c's conflict r is about.
func (s *solver) hit(r deb.Relation, c *choice) *choice {
	if r.Name != c.pkg.Name {
		if other := s.chosen[r.Name]; other != nil && r.Matches(other.pkg.Version) {
			return other
		}
	}
	for _, other := range s.provided[r.Name] {
		if other.pkg.Name != c.pkg.Name && s.provides(other.pkg, r) {
			return other
		}
	}
	return nil
}

func (s *solver) conflict(c, other *choice, r deb.Relation) {
	// Who asked for the other may have had an alternative: ban it, or else what wanted it.
	for at := other; at != nil && !at.root; at = at.by {
		s.suspects = append(s.suspects, at.pkg)
	}
	s.fail(c, "conflicts with "+other.pkg.Name+" ("+r.String()+")", other.pkg.Name+" "+other.pkg.Version+" is needed: "+other.reason)
}
