package apt

import (
	"fmt"
	"slices"

	"github.com/edgebake/edgebake/builder/deb"
)

// minDowngrade is the priority from which apt replaces an installed version by an older one
// (apt_preferences(5)).
const minDowngrade = 1000

// base is the system to start from.
type base struct {
	installed []*Installed          // of this architecture or "all"
	inBase    map[string]*Installed // the same by name
	siblings  map[string]*Installed // Multi-Arch: same of other architectures
}

func newBase(arch string, installed []Installed) base {
	b := base{inBase: map[string]*Installed{}, siblings: map[string]*Installed{}}
	for i := range installed {
		switch p := &installed[i]; {
		case p.Arch == arch || p.Arch == "all":
			b.installed = append(b.installed, p)
			b.inBase[p.Name] = p
		case p.MultiArch == "same":
			b.siblings[p.Name] = p
		}
	}
	return b
}

// baseHas says whether the base has a package of that name, or one that provides it.
func (s *solver) baseHas(name string) bool {
	return s.inBase[name] != nil || s.candidate(name) == nil && slices.ContainsFunc(s.installed, func(p *Installed) bool {
		return s.provides(&p.Package, deb.Relation{Name: name})
	})
}

// frozen says why the version of a package in the base cannot change, or "".
func (b *base) frozen(name string) string {
	p := b.inBase[name]
	if p == nil {
		return ""
	}
	if p.Hold {
		return name + " " + p.Version + " is installed and on hold"
	}
	if other := b.siblings[name]; other != nil {
		return fmt.Sprintf("%s %s is installed for %s too, and both must have one version", name, p.Version, other.Arch)
	}
	return ""
}

// startFromBase chooses the packages of the base. What was never configured still has to get what
// it depends on.
func (s *solver) startFromBase() []*placed {
	var todo []*placed
	for _, p := range s.installed {
		c := &choice{pkg: &p.Package, root: true}
		s.push(c)
		if !p.configured() {
			todo = append(todo, &placed{choice: c})
		}
	}
	return todo
}

// newest is the version that an upgrade of p gets, or p itself: apt's policy is the highest
// priority, then the highest version, and nothing older than what is there.
func (s *solver) newest(p *Installed) *Package {
	versions := s.u.Versions(p.Name)
	have := s.u.priority(&p.Package)
	for _, v := range versions {
		if v.Version == p.Version {
			have = max(have, s.u.priority(v))
		}
	}
	for _, v := range versions {
		newer, priority := deb.CompareVersions(v.Version, p.Version), s.u.priority(v)
		if newer < 0 && priority >= minDowngrade && priority > have || newer > 0 && priority >= have {
			return v
		}
	}
	return &p.Package
}

// need is a dependency of a chosen package.
type need struct {
	by  *choice
	dep dependency
}

// leaning lists the needs that hold now and may not when old goes.
func (s *solver) leaning(old *choice) []need {
	names := []string{old.pkg.Name}
	for _, r := range s.relations(old.pkg).provides {
		names = append(names, r.Name)
	}
	var list []need
	for _, name := range names {
		for _, n := range s.needs[name] {
			if n.by != old && s.met(n.dep) {
				list = append(list, n)
			}
		}
	}
	return list
}

// catchUp sees to a need that held before c replaced a version: who has it is upgraded too, or gets
// something else that satisfies it.
func (s *solver) catchUp(n need, c *choice) bool {
	name := n.by.pkg.Name
	if s.chosen[name] != n.by || s.met(n.dep) {
		return true
	}
	if n.by.inBase() && s.frozen(name) == "" {
		if p := s.candidate(name); p != n.by.pkg && s.install(p, c.pkg.Name+" changes", c) {
			return true
		}
	}
	if s.satisfyBy(n.dep, n.by) {
		return true
	}
	s.suspect(n.by)
	s.fail(c, "would replace version "+c.replaced.pkg.Version, s.place(n.by)+" requires "+n.dep.alts.String())
	return false
}
