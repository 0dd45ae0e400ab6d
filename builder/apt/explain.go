package apt

import (
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
)

// fail notes the first thing that did not work, with the chain of who wants c.
func (s *solver) fail(c *choice, relation, have string) {
	if s.first != nil {
		return
	}
	e := &UnsatisfiableError{Package: c.pkg.Name, Relation: relation, Have: have}
	for ; c.by != nil; c = c.by {
		e.Chain = append(e.Chain, c.by.pkg.Name)
	}
	switch {
	case c.inBase():
		e.Chain = append(e.Chain, "the base, where it is installed")
	case c.reason != "requested":
		e.Chain = append(e.Chain, "the request for "+c.reason+" packages")
	}
	s.first = e
}

// have says what there is of the alternatives.
func (s *solver) have(alts deb.Alternatives) string {
	var parts []string
	for _, r := range alts {
		p := s.candidate(r.Name)
		switch {
		case s.never[r.Name]:
			parts = append(parts, "the request excludes "+r.Name)
		case s.frozen(r.Name) != "":
			parts = append(parts, s.frozen(r.Name))
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

// place is "containerd 1.6 of the base".
func (s *solver) place(c *choice) string {
	if c.inBase() {
		return c.pkg.Name + " " + c.pkg.Version + " of the base"
	}
	return c.pkg.Name + " " + c.pkg.Version
}

// conflict notes that c and other cannot be together because of r.
func (s *solver) conflict(c, other *choice, r deb.Relation) {
	s.suspect(other)
	name := other.pkg.Name
	have := name + " " + other.pkg.Version + " is needed: " + other.reason
	switch {
	case s.frozen(name) != "" && other.inBase():
		have = s.frozen(name)
	case other.inBase():
		have = name + " " + other.pkg.Version + " is installed in the base, from which nothing is removed, and no source has a version that fits"
	}
	s.fail(c, "conflicts with "+name+" ("+r.String()+")", have)
}

// suspect notes that c stood in the way. Who asked for it may have had an alternative: ban it, or
// else what wanted it.
func (s *solver) suspect(c *choice) {
	for ; c != nil && !c.root; c = c.by {
		s.suspects = append(s.suspects, c.pkg)
	}
}
