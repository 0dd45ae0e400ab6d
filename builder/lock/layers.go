package lock

import (
	"errors"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/apt"
)

// layered puts the packages that would be chosen without those that are called own first, in the order of a lock that
// knows nothing of them, and marks all others as the upper layer. There is one layer when that can't be: nothing else
// is asked for, or it would be other packages.
func layered(in Inputs, u *apt.Universe, asked apt.Request, own []string, all []Package) ([]Package, error) {
	if len(own) == 0 {
		return all, nil
	}
	lower, err := solve(u, without(asked, own, in.Keep))
	switch {
	case err != nil && !unsolvable(err):
		return nil, err
	case err != nil, len(lower) == 0, !within(lower, all):
		return all, nil
	}
	out := lower
	for _, p := range all {
		if !slices.ContainsFunc(lower, p.isAs) {
			p.Layer = 1
			out = append(out, p)
		}
	}
	return out, nil
}

// unsolvable reports whether the packages need one of those that were left out.
func unsolvable(err error) bool {
	var unknown *apt.UnknownPackageError
	var unsatisfiable *apt.UnsatisfiableError
	return errors.As(err, &unknown) || errors.As(err, &unsatisfiable)
}

// without is the request that does not ask for own, and not for kept packages of the upper layer. What own forbids
// stays forbidden.
func without(asked apt.Request, own []string, kept []Package) apt.Request {
	out := slices.Clone(own)
	for _, p := range kept {
		if p.Layer > 0 {
			out = append(out, p.Name+"="+p.Version)
		}
	}
	asked.Install = slices.DeleteFunc(slices.Clone(asked.Install), func(ask string) bool { return slices.Contains(out, ask) && !strings.HasSuffix(ask, "-") })
	return asked
}

// within reports whether every package is also one of all.
func within(packages, all []Package) bool {
	return !slices.ContainsFunc(packages, func(p Package) bool { return !slices.ContainsFunc(all, p.isAs) })
}

func (p Package) isAs(q Package) bool {
	return p.Name == q.Name && p.SHA256 == q.SHA256 && p.Upgrades == q.Upgrades
}
