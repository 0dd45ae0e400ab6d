package apt

import (
	"cmp"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
)

// Universe is all packages that the sources offer to one architecture. It does not change after
// Load and may be used by several goroutines.
type Universe struct {
	Arch    string
	Sources []Source // Priority with the default filled in
	// Releases are the verified Release files of the Sources, in their order.
	Releases []Release
	// Packages in the order of the sources and their indexes.
	Packages []Package

	byName    map[string][]int32
	providers map[string][]provider
	ids       map[string]int32 // order of first mention, apt's last resort to rank providers
}

// provider is a package that provides a name, with a version or "".
type provider struct {
	pkg     int32
	version string
}

func newUniverse(arch string) *Universe {
	return &Universe{Arch: arch, byName: map[string][]int32{}, providers: map[string][]provider{}, ids: map[string]int32{}}
}

func (u *Universe) addSource(s Source, l loadedSource) {
	s.Priority = l.priority
	u.Sources = append(u.Sources, s)
	u.Releases = append(u.Releases, l.release)
	for _, x := range l.indexes {
		u.Packages = slices.Grow(u.Packages, len(x.packages))
		for i := range x.packages {
			x.packages[i].Source = len(u.Sources) - 1
			u.Packages = append(u.Packages, x.packages[i])
		}
		for _, name := range x.mentions {
			if _, ok := u.ids[name]; !ok {
				u.ids[name] = int32(len(u.ids))
			}
		}
	}
}

// finish makes the maps. Provides that do not parse provide nothing, as for apt.
func (u *Universe) finish() {
	for i := range u.Packages {
		p := &u.Packages[i]
		u.byName[p.Name] = append(u.byName[p.Name], int32(i))
		provides, err := deb.ParseRelations(p.Provides)
		if err != nil {
			continue
		}
		for _, alts := range provides {
			r := alts[0]
			u.providers[r.Name] = append(u.providers[r.Name], provider{pkg: int32(i), version: r.Version})
		}
	}
}

// Versions returns all versions of a package, the candidate's first, then by priority and version.
func (u *Universe) Versions(name string) []*Package {
	var list []*Package
	for _, i := range u.byName[name] {
		list = append(list, &u.Packages[i])
	}
	slices.SortStableFunc(list, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(u.priority(b), u.priority(a)), deb.CompareVersions(b.Version, a.Version))
	})
	return list
}

// Candidate returns the version that is installed when nothing else is asked for, or nil.
func (u *Universe) Candidate(name string) *Package {
	list := u.Versions(name)
	if len(list) == 0 || u.priority(list[0]) < 0 {
		return nil
	}
	return list[0]
}

func (u *Universe) priority(p *Package) int {
	if p.Source < 0 {
		return 100 // apt's priority of an installed version
	}
	return u.Sources[p.Source].Priority
}

// label names a source in messages.
func (u *Universe) label(p *Package) string {
	if p.Source < 0 {
		return "the image"
	}
	s := u.Sources[p.Source]
	if s.flat() {
		return s.Name
	}
	return strings.Trim(s.Suite, "/")
}
