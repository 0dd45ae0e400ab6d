package apt

import (
	"fmt"
	"slices"
)

// maxAttempts bounds how often choices are taken back because they conflict with later needs.
const maxAttempts = 200

// Chosen is a package of a solution.
type Chosen struct {
	*Package
	// Reason is "requested", "essential", a priority, or who needs it: "NAME depends" (pre-depends,
	// recommends), "NAME breaks" the version in the base, "NAME changes" and the version in the base
	// would not fit it any more.
	Reason string
	// Upgrades is the version in the base that makes room, "" for a new package.
	Upgrades string
}

// Solution is what has to be fetched, in an order to install: what a package needs stands before
// it. Packages of the base that stay as they are are not in it.
type Solution struct{ Packages []Chosen }

// solver follows apt's MarkInstall: all roots are chosen first, then dependencies depth first, the
// first alternative that works; one that turned out not to work is not tried again. Where a choice
// blocks something that has no alternative, solving starts again with that choice banned.
type solver struct {
	u      *Universe
	recs   bool
	never  map[string]bool
	pinned map[string]*Package
	base
	banned map[*Package]bool

	candidates map[string]*Package
	parsed     map[*Package]*relations
	attempt
}

// attempt is what a new attempt forgets.
type attempt struct {
	chosen    map[string]*choice
	provided  map[string][]*choice // by names that chosen packages provide
	blockers  map[string][]blocker // by names that chosen packages conflict with
	needs     map[string][]need    // by names that chosen packages depend on
	trail     []*choice
	discarded map[*Package]*dead
	dead
}

// dead is why something did not work.
type dead struct {
	suspects []*Package // chosen packages that stood in the way of another
	first    *UnsatisfiableError
}

// choice is a package that is in the system, because it was or because it was chosen.
type choice struct {
	pkg      *Package
	reason   string
	by       *choice
	root     bool
	replaced *choice  // the version in the base
	after    []string // what is upgraded to make room for it
}

// inBase says that the package is there already.
func (c *choice) inBase() bool { return c.pkg.Source < 0 }

// Solve chooses the packages that the request needs. The errors are *UnknownPackageError and
// *UnsatisfiableError.
func Solve(u *Universe, req Request) (*Solution, error) {
	s := newSolver(u, req)
	roots, err := s.roots(req)
	if err != nil {
		return nil, err
	}
	var first *UnsatisfiableError
	search := newSearch()
	for range maxAttempts {
		bans, ok := search.next()
		if !ok {
			break
		}
		if s.try(roots, bans) {
			return s.order(), nil
		}
		if first == nil {
			first = s.first
		}
		search.branch(bans, s.suspects)
	}
	return nil, first
}

func newSolver(u *Universe, req Request) *solver {
	return &solver{u: u, recs: req.Recommends, never: map[string]bool{}, pinned: map[string]*Package{},
		base: newBase(u.Arch, req.Installed), candidates: map[string]*Package{}, parsed: map[*Package]*relations{}}
}

func (s *solver) try(roots []root, bans []*Package) bool {
	s.banned = map[*Package]bool{}
	for _, p := range bans {
		s.banned[p] = true
	}
	s.attempt = attempt{chosen: map[string]*choice{}, provided: map[string][]*choice{}, blockers: map[string][]blocker{},
		needs: map[string][]need{}, discarded: map[*Package]*dead{}}
	todo := s.startFromBase()
	for _, r := range roots {
		if old := s.chosen[r.pkg.Name]; old != nil && (!old.inBase() || old.pkg.Version == r.pkg.Version) {
			continue
		}
		p := s.prepare(&choice{pkg: r.pkg, reason: r.reason, root: true})
		if p == nil {
			return false
		}
		todo = append(todo, p)
	}
	for _, p := range todo {
		if !s.settle(p) {
			return false
		}
	}
	return true
}

// placed is a choice that was made and what follows from it.
type placed struct {
	*choice
	outdated []*choice // packages of the base that conflict with it, but not in their newer version
	leaning  []need    // what held by the version that it replaced
}

// prepare makes the choice, or notes why it cannot be made and returns nil.
func (s *solver) prepare(c *choice) *placed {
	old := s.chosen[c.pkg.Name]
	if s.never[c.pkg.Name] || s.u.priority(c.pkg) < 0 {
		s.fail(c, "is wanted", "but the request excludes it")
		return nil
	}
	if why := s.frozen(c.pkg.Name); why != "" {
		s.fail(c, "is needed as version "+c.pkg.Version, why)
		return nil
	}
	p := &placed{choice: c}
	var ok bool
	if p.outdated, ok = s.room(c); !ok {
		return nil
	}
	if old != nil {
		p.leaning = s.leaning(old)
	}
	s.push(c)
	return p
}

// settle chooses what a choice makes necessary.
func (s *solver) settle(p *placed) bool {
	for _, old := range p.outdated {
		p.after = append(p.after, old.pkg.Name)
		if s.chosen[old.pkg.Name] == old && !s.install(s.candidate(old.pkg.Name), p.pkg.Name+" breaks", p.choice) {
			s.fail(p.choice, "does not fit "+old.pkg.Name, s.place(old)+" cannot be upgraded")
			return false
		}
	}
	for _, n := range p.leaning {
		if !s.catchUp(n, p.choice) {
			return false
		}
	}
	return s.satisfyAll(p.choice)
}

// install chooses p and what it needs, or leaves everything as it was.
func (s *solver) install(p *Package, reason string, by *choice) bool {
	if s.banned[p] || s.never[p.Name] || p.Source >= 0 && s.frozen(p.Name) != "" {
		return false
	}
	if c := s.chosen[p.Name]; c != nil && (c.pkg == p || !c.inBase()) {
		return c.pkg == p
	}
	if d := s.discarded[p]; d != nil {
		s.blame(d)
		return false
	}
	outer, mark := s.dead, len(s.trail)
	s.dead = dead{}
	placed := s.prepare(&choice{pkg: p, reason: reason, by: by})
	ok := placed != nil && s.settle(placed)
	inner := s.dead
	s.dead = outer // what did not work on the way to a success is nobody's business
	if !ok {
		s.undo(mark)
		s.discarded[p] = &inner
		s.blame(&inner)
	}
	return ok
}

// blame adds to why this attempt does not work.
func (s *solver) blame(d *dead) {
	s.suspects = append(s.suspects, d.suspects...)
	if s.first == nil {
		s.first = d.first
	}
}

// search orders the sets of banned packages to try: those that differ least from always banning
// the first suspect come first, the larger ones before the smaller.
type search struct {
	open []ban
	seen map[string]bool
	last int
}

type ban struct {
	packages []*Package
	cost     int
}

func newSearch() *search { return &search{open: []ban{{}}, seen: map[string]bool{}} }

func (s *search) next() ([]*Package, bool) {
	if len(s.open) == 0 {
		return nil, false
	}
	best := 0
	for i, b := range s.open {
		if x := s.open[best]; b.cost < x.cost || b.cost == x.cost && len(b.packages) > len(x.packages) {
			best = i
		}
	}
	b := s.open[best]
	s.open = slices.Delete(s.open, best, best+1)
	s.last = b.cost
	return b.packages, true
}

// branch adds what to try after banning bans did not help, one set for each suspect.
func (s *search) branch(bans, suspects []*Package) {
	cost := s.last
	for _, p := range suspects {
		if slices.Contains(bans, p) {
			continue
		}
		more := append(slices.Clone(bans), p)
		var names []string
		for _, p := range more {
			names = append(names, p.String())
		}
		slices.Sort(names)
		if key := fmt.Sprint(names); !s.seen[key] {
			s.seen[key] = true
			s.open = append(s.open, ban{more, cost})
			cost++
		}
	}
}
