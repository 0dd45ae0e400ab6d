package apt

import (
	"cmp"
	"slices"

	"github.com/edgebake/edgebake/builder/deb"
)

func (s *solver) satisfyAll(c *choice) bool {
	r := s.relations(c.pkg)
	for _, d := range r.depends {
		if !s.satisfy(d, c) {
			return false
		}
	}
	if s.recs {
		for _, d := range r.recommends {
			if !s.recommendedBefore(d, c) {
				s.satisfyOptional(d, c)
			}
		}
	}
	return true
}

// recommendedBefore says that c's older version recommends the same: whoever set up the base may
// have decided against it.
func (s *solver) recommendedBefore(d dependency, c *choice) bool {
	return c.replaced != nil && slices.ContainsFunc(s.relations(c.replaced.pkg).recommends, func(old dependency) bool {
		return old.alts[0].Name == d.alts[0].Name
	})
}

// satisfyOptional keeps the reasons of failed Recommends out of the report.
func (s *solver) satisfyOptional(d dependency, c *choice) {
	outer := s.dead
	s.satisfyBy(d, c)
	s.dead = outer
}

func (s *solver) satisfy(d dependency, c *choice) bool {
	if s.satisfyBy(d, c) {
		return true
	}
	s.fail(c, "requires "+d.alts.String(), s.have(d.alts))
	return false
}

// satisfyBy tries the alternatives as getAllPossibleSolutions of apt's depcache.cc orders them:
// upgrades of what is there come before new packages.
func (s *solver) satisfyBy(d dependency, c *choice) bool {
	if s.met(d) {
		return true
	}
	var upgrades, fresh []*Package
	for _, r := range d.alts {
		for _, p := range s.targets(r) {
			if s.inBase[p.Name] != nil {
				upgrades = append(upgrades, p)
			} else {
				fresh = append(fresh, p)
			}
		}
	}
	return slices.ContainsFunc(append(upgrades, fresh...), func(p *Package) bool {
		return s.install(p, c.pkg.Name+" "+d.kind, c)
	})
}

// met reports whether chosen packages satisfy the dependency.
func (s *solver) met(d dependency) bool { return slices.ContainsFunc(d.alts, s.holds) }

// holds reports whether a chosen package satisfies the relation.
func (s *solver) holds(r deb.Relation) bool {
	if c := s.chosen[r.Name]; c != nil && s.isTarget(c.pkg, r) {
		return true
	}
	return slices.ContainsFunc(s.provided[r.Name], func(c *choice) bool { return s.provides(c.pkg, r) })
}

// isTarget reports whether p itself satisfies r. dpkg lets ":any" match only Multi-Arch: allowed.
func (s *solver) isTarget(p *Package, r deb.Relation) bool {
	return p.Name == r.Name && r.Matches(p.Version) && s.archFits(p, r)
}

func (s *solver) archFits(p *Package, r deb.Relation) bool {
	switch r.Arch {
	case "", "native", s.u.Arch:
		return true
	case "any":
		return p.MultiArch == "allowed"
	}
	return p.Arch == r.Arch
}

// provides reports whether a Provides of p satisfies r; a versioned relation needs a versioned one.
func (s *solver) provides(p *Package, r deb.Relation) bool {
	return slices.ContainsFunc(s.relations(p).provides, func(have deb.Relation) bool {
		return have.Name == r.Name && (have.Arch == r.Arch || r.Arch != "any" || p.MultiArch == "allowed") &&
			(r.Op == "" || have.Version != "" && r.Matches(have.Version))
	})
}

// targets are the packages that would satisfy r: the real one first, then the providers.
func (s *solver) targets(r deb.Relation) []*Package {
	var list []*Package
	if p := s.candidate(r.Name); p != nil && s.isTarget(p, r) {
		list = append(list, p)
	}
	return append(list, s.rankedProviders(r)...)
}

// rankedProviders follows CompareProviders of apt's depcache.cc: essential, priority, cache order.
func (s *solver) rankedProviders(r deb.Relation) []*Package {
	var list []*Package
	for _, v := range s.u.providers[r.Name] {
		p := &s.u.Packages[v.pkg]
		if p.Name != r.Name && s.candidate(p.Name) == p && s.provides(p, r) && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b *Package) int {
		if a.Essential != b.Essential {
			if a.Essential {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(priorityRank(a), priorityRank(b)), cmp.Compare(s.u.ids()[a.Name], s.u.ids()[b.Name]))
	})
	return list
}

func priorityRank(p *Package) int {
	i := slices.Index([]string{"required", "important", "standard", "optional", "extra"}, p.Priority)
	if i < 0 {
		return 5
	}
	return i
}

func (s *solver) candidate(name string) *Package {
	if p, ok := s.pinned[name]; ok {
		return p
	}
	p, ok := s.candidates[name]
	if !ok {
		if p = s.u.Candidate(name); s.inBase[name] != nil {
			p = s.newest(s.inBase[name])
		}
		s.candidates[name] = p
	}
	return p
}
