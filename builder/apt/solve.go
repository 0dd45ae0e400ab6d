package apt

import (
	"cmp"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
)

// maxRestarts bounds how many first choices are taken back because they conflict with later needs.
const maxRestarts = 200

// Chosen is a package of a solution.
type Chosen struct {
	*Package
	// Reason is "requested", "essential", a priority, or "NAME depends" (pre-depends, recommends).
	Reason string
}

// Solution is a set of packages in an order to install: what a package needs stands before it.
type Solution struct{ Packages []Chosen }

// solver follows apt's MarkInstall: all roots are chosen first, then dependencies depth first, the
// first alternative that works; one that turned out not to work is not tried again. Where a choice
// blocks something that has no alternative, solving starts again with that choice banned.
type solver struct {
	u      *Universe
	recs   bool
	never  map[string]bool
	banned map[*Package]bool
	pinned map[string]*Package

	candidates map[string]*Package
	parsed     map[*Package]*relations
	attempt
}

// attempt is what a restart forgets.
type attempt struct {
	chosen    map[string]*choice
	provided  map[string][]*choice // by names that chosen packages provide
	blockers  map[string][]blocker // by names that chosen packages conflict with
	trail     []*choice
	discarded map[*Package]bool
	suspects  []*Package // chosen packages that stood in the way of another
	first     *UnsatisfiableError
}

type choice struct {
	pkg    *Package
	reason string
	by     *choice
	root   bool
}

type blocker struct {
	rel deb.Relation
	by  *choice
}

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

// Solve chooses the packages that the request needs. The errors are *UnknownPackageError and
// *UnsatisfiableError.
func Solve(u *Universe, req Request) (*Solution, error) {
	s := &solver{u: u, recs: req.Recommends, never: map[string]bool{}, banned: map[*Package]bool{}, pinned: map[string]*Package{},
		candidates: map[string]*Package{}, parsed: map[*Package]*relations{}}
	roots, err := s.roots(req)
	if err != nil {
		return nil, err
	}
	var first *UnsatisfiableError
	for range maxRestarts {
		if s.try(req.Installed, roots) {
			return s.order(), nil
		}
		if first == nil {
			first = s.first
		}
		if !s.banSuspect() {
			break
		}
	}
	return nil, first
}

// banSuspect bans the first package that stood in the way and was nobody's explicit wish.
func (s *solver) banSuspect() bool {
	for _, p := range s.suspects {
		if !s.banned[p] {
			s.banned[p] = true
			return true
		}
	}
	return false
}

func (s *solver) try(installed []InstalledPackage, roots []root) bool {
	s.attempt = attempt{chosen: map[string]*choice{}, provided: map[string][]*choice{}, blockers: map[string][]blocker{}, discarded: map[*Package]bool{}}
	for i := range installed {
		s.push(&choice{pkg: &installed[i].Package, root: true})
	}
	var todo []*choice
	for _, r := range roots {
		if c := s.chosen[r.pkg.Name]; c != nil && (c.pkg.Source >= 0 || c.pkg.Version == r.pkg.Version) {
			continue
		}
		c := &choice{pkg: r.pkg, reason: r.reason, root: true}
		if s.excluded(c) || !s.free(c) {
			return false
		}
		s.push(c)
		todo = append(todo, c)
	}
	for _, c := range todo {
		if !s.satisfyAll(c) {
			return false
		}
	}
	return true
}

func (s *solver) excluded(c *choice) bool {
	if s.never[c.pkg.Name] || s.u.priority(c.pkg) < 0 {
		s.fail(c, "is wanted", "but the request excludes it")
		return true
	}
	return false
}

// install chooses p and what it needs, or leaves everything as it was.
func (s *solver) install(p *Package, reason string, by *choice) bool {
	if s.discarded[p] || s.banned[p] || s.never[p.Name] {
		return false
	}
	if c := s.chosen[p.Name]; c != nil && c.pkg.Source >= 0 {
		return c.pkg == p
	}
	c := &choice{pkg: p, reason: reason, by: by}
	mark := len(s.trail)
	if s.free(c) {
		s.push(c)
		if s.satisfyAll(c) {
			return true
		}
		s.undo(mark)
	}
	s.discarded[p] = true
	return false
}

func (s *solver) satisfyAll(c *choice) bool {
	r := s.relations(c.pkg)
	for _, d := range r.depends {
		if !s.satisfy(d, c) {
			return false
		}
	}
	if s.recs {
		for _, d := range r.recommends {
			s.satisfyOptional(d, c)
		}
	}
	return true
}

// satisfyOptional keeps the reasons of failed Recommends out of the report.
func (s *solver) satisfyOptional(d dependency, c *choice) {
	first, suspects := s.first, s.suspects
	s.satisfy(d, c)
	s.first, s.suspects = first, suspects
}

func (s *solver) satisfy(d dependency, c *choice) bool {
	for _, r := range d.alts {
		if s.holds(r) {
			return true
		}
	}
	for _, r := range d.alts {
		for _, p := range s.targets(r) {
			if s.install(p, c.pkg.Name+" "+d.kind, c) {
				return true
			}
		}
	}
	s.fail(c, "requires "+d.alts.String(), s.have(d.alts))
	return false
}

func (s *solver) fail(c *choice, relation, have string) {
	if s.first != nil {
		return
	}
	e := &UnsatisfiableError{Package: c.pkg.Name, Relation: relation, Have: have}
	for ; c.by != nil; c = c.by {
		e.Chain = append(e.Chain, c.by.pkg.Name)
	}
	if c.reason != "requested" && c.reason != "" {
		e.Chain = append(e.Chain, "the request for "+c.reason+" packages")
	}
	s.first = e
}

// have says what the sources have of the alternatives.
func (s *solver) have(alts deb.Alternatives) string {
	var parts []string
	for _, r := range alts {
		p := s.candidate(r.Name)
		switch {
		case s.never[r.Name]:
			parts = append(parts, "the request excludes "+r.Name)
		case p != nil:
			parts = append(parts, s.u.label(p)+" has "+p.Version)
		case len(s.u.providers[r.Name]) > 0:
			parts = append(parts, "no provider of "+r.Name+" can be installed")
		default:
			parts = append(parts, r.Name+" is not in the sources")
		}
	}
	return strings.Join(parts, ", ")
}

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
		return cmp.Or(cmp.Compare(priorityRank(a), priorityRank(b)), cmp.Compare(s.u.ids[a.Name], s.u.ids[b.Name]))
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
		p = s.u.Candidate(name)
		s.candidates[name] = p
	}
	return p
}
