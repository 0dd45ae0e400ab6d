package apt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// UnknownPackageError says that no source has a package of that name, version or suite.
type UnknownPackageError struct {
	Name    string
	Version string   // asked for, or ""
	Suite   string   // asked for, or ""
	Have    []string // versions that exist, as "version (suite)"
	Nearest []string // names that look alike
}

func (e *UnknownPackageError) Error() string {
	s := "choosing packages: no package " + e.Name
	switch {
	case e.Version != "":
		s += "=" + e.Version
	case e.Suite != "":
		s += "/" + e.Suite
	}
	s += " in the sources"
	if len(e.Have) > 0 {
		s += "; there is " + strings.Join(e.Have, ", ")
	}
	if len(e.Nearest) > 0 {
		s += "; did you mean " + strings.Join(e.Nearest, ", ") + "?"
	}
	return s
}

// UnsatisfiableError says why a request cannot be met.
type UnsatisfiableError struct {
	Package  string // the package with the relation that fails
	Relation string // "requires containerd (>= 9)", "conflicts with exim4"
	Have     string // "bookworm has 1.6.20", "not in the sources"
	// Chain are the packages that want Package, the nearest first. The last is a requested one, "the
	// request for .. packages" or "the base, ..".
	Chain []string
}

func (e *UnsatisfiableError) Error() string {
	s := "choosing packages: " + e.Package + " " + e.Relation
	if e.Have != "" {
		s += ", " + e.Have
	}
	wanted := e.Package
	for _, by := range e.Chain {
		s += "; " + wanted + " is wanted by " + by
		wanted = by
	}
	if !strings.HasPrefix(wanted, "the ") {
		s += "; " + wanted + " is requested"
	}
	return s
}

// maxNearest is the number of suggestions.
const maxNearest = 3

// nearest returns the names within an edit distance of a third of their length, nearest first.
func (u *Universe) nearest(name string) []string {
	type scored struct {
		name string
		d    int
	}
	var found []scored
	limit := max(1, len(name)/3)
	for other := range u.byName {
		if d := len(other) - len(name); d > limit || -d > limit {
			continue
		}
		if d := editDistance(name, other); d <= limit {
			found = append(found, scored{other, d})
		}
	}
	slices.SortFunc(found, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.d, b.d), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, f := range found[:min(maxNearest, len(found))] {
		names = append(names, f.name)
	}
	return names
}

// editDistance counts insertions, deletions and substitutions.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// RollbackError says that an archive is older than it was.
type RollbackError struct {
	Date, Known time.Time // of the Release now, and of the one before
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("checking Release: its Date is %s, and it was %s before: the mirror is behind, or somebody gives out old packages (rollback)",
		e.Date.UTC().Format(time.RFC3339), e.Known.UTC().Format(time.RFC3339))
}

// MixedError says that an index is not the one that the Release describes.
type MixedError struct{ Err error }

func (e *MixedError) Error() string {
	return e.Err.Error() + "; the mirror may be halfway through an update: try again in some minutes, or name another one (--mirror)"
}

func (e *MixedError) Unwrap() error { return e.Err }
