package deb

import (
	"fmt"
	"slices"
	"strings"
)

// Relation is one package in a relation field: a (>= 1) [arch] <profile>, or a:any.
type Relation struct {
	Name    string
	Arch    string // what follows the name's colon: "any", "native", an architecture or ""
	Op      string // "<<", "<=", "=", ">=", ">>" or "" for every version
	Version string
	Archs   []string // restriction to architectures, "!arch" excludes
	// Profiles is the restriction formula as in <a !b> <c>: a disjunction of conjunctions.
	Profiles [][]string
}

// Alternatives are the relations between "|": one of them has to hold.
type Alternatives []Relation

// ParseRelations parses a field such as Depends, Conflicts or Provides (Debian Policy 7.1).
func ParseRelations(field string) ([]Alternatives, error) {
	if field == "" {
		return nil, nil
	}
	list := make([]Alternatives, 0, strings.Count(field, ",")+1)
	for part := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(part) == "" {
			continue // a comma at the end is allowed and seen
		}
		alts := make(Alternatives, 0, strings.Count(part, "|")+1)
		for text := range strings.SplitSeq(part, "|") {
			rel, err := parseRelation(strings.TrimSpace(text))
			if err != nil {
				return nil, fmt.Errorf("parsing relation %q: %w", strings.TrimSpace(text), err)
			}
			alts = append(alts, rel)
		}
		list = append(list, alts)
	}
	return list, nil
}

func parseRelation(s string) (Relation, error) {
	end := strings.IndexAny(s, " \t\n(<[")
	if end < 0 {
		end = len(s)
	}
	var r Relation
	r.Name, r.Arch, _ = strings.Cut(s[:end], ":")
	if !validName(r.Name) {
		return r, fmt.Errorf("%q is no package name", r.Name)
	}
	for rest := strings.TrimSpace(s[end:]); rest != ""; rest = strings.TrimSpace(rest) {
		var err error
		if rest, err = r.restriction(rest); err != nil {
			return r, err
		}
	}
	return r, nil
}

// restriction takes one "(op version)", "[archs]" or "<profiles>" off the start of s.
func (r *Relation) restriction(s string) (string, error) {
	closing := strings.IndexByte("([<", s[0])
	if closing < 0 {
		return "", fmt.Errorf("%q is no restriction", s)
	}
	end := strings.IndexByte(s, ")]>"[closing])
	if end < 0 {
		return "", fmt.Errorf("%q is not closed", s)
	}
	inner := s[1:end]
	switch s[0] {
	case '(':
		if r.Op != "" {
			return "", fmt.Errorf("%q is a second version", s)
		}
		return s[end+1:], r.version(inner)
	case '[':
		r.Archs = append(r.Archs, strings.Fields(inner)...)
	case '<':
		r.Profiles = append(r.Profiles, strings.Fields(inner))
	}
	return s[end+1:], nil
}

// version parses "op version". The obsolete "<" and ">" mean "<=" and ">=" (Debian Policy 7.1).
func (r *Relation) version(s string) error {
	s = strings.TrimSpace(s)
	n := 0
	for n < len(s) && strings.IndexByte("<>=", s[n]) >= 0 {
		n++
	}
	r.Version = strings.TrimSpace(s[n:])
	switch r.Op = s[:n]; r.Op {
	case "<", ">":
		r.Op += "="
	case "":
		r.Op = "="
	case "<<", "<=", "=", ">=", ">>":
	default:
		return fmt.Errorf("%q is no comparison", r.Op)
	}
	if r.Version == "" || strings.ContainsAny(r.Version, " \t\n") {
		return fmt.Errorf("%q is no version", r.Version)
	}
	return nil
}

func validName(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) && !isLetter(s[i]) && strings.IndexByte("+-._", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// Matches reports whether a package of this version satisfies the relation's version.
func (r Relation) Matches(version string) bool {
	if r.Op == "" {
		return true
	}
	c := CompareVersions(version, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return c == 0
}

// AppliesTo reports whether the relation counts on the architecture, with no build profile active.
// Wildcards such as linux-any occur in source packages only and are not expanded.
func (r Relation) AppliesTo(arch string) bool {
	if len(r.Archs) > 0 {
		if strings.HasPrefix(r.Archs[0], "!") {
			if slices.Contains(r.Archs, "!"+arch) {
				return false
			}
		} else if !slices.Contains(r.Archs, arch) && !slices.Contains(r.Archs, "any") {
			return false
		}
	}
	return len(r.Profiles) == 0 || slices.ContainsFunc(r.Profiles, func(all []string) bool {
		return !slices.ContainsFunc(all, func(p string) bool { return !strings.HasPrefix(p, "!") })
	})
}

// String writes the relation as in a control file.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	if len(r.Archs) > 0 {
		s += " [" + strings.Join(r.Archs, " ") + "]"
	}
	for _, p := range r.Profiles {
		s += " <" + strings.Join(p, " ") + ">"
	}
	return s
}

// String writes the alternatives as in a control file.
func (a Alternatives) String() string {
	var parts []string
	for _, r := range a {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, " | ")
}
