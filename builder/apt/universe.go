package apt

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"

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

	byName    map[string]int32 // the last package of that name
	before    []int32          // by package, the one before it of the same name, or -1
	providers map[string][]provider
	mentions  []packed
	ids       func() map[string]int32
}

// provider is a package that provides a name, with a version or "".
type provider struct {
	pkg     int32
	version string
}

func newUniverse(arch string) *Universe {
	u := &Universe{Arch: arch, providers: map[string][]provider{}}
	u.ids = sync.OnceValue(u.firstMentions)
	return u
}

func (u *Universe) addSource(s Source, l loadedSource) error {
	s.Priority = l.priority
	u.Sources = append(u.Sources, s)
	u.Releases = append(u.Releases, l.release)
	for _, x := range l.indexes {
		var err error
		var names packed
		if u.Packages, names, err = x.packages(u.Packages, len(u.Sources)-1); err != nil {
			return err
		}
		u.mentions = append(u.mentions, names)
	}
	return nil
}

// finish makes the maps. Provides that do not parse provide nothing, as for apt.
func (u *Universe) finish() {
	u.byName, u.before = make(map[string]int32, len(u.Packages)), make([]int32, len(u.Packages))
	for i := range u.Packages {
		p := &u.Packages[i]
		last, ok := u.byName[p.Name]
		if !ok {
			last = -1
		}
		u.before[i], u.byName[p.Name] = last, int32(i)
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

// firstMentions numbers the packages that provide something in the order in which the indexes
// mention them first: apt's last resort to rank them.
func (u *Universe) firstMentions() map[string]int32 {
	ids := map[string]int32{}
	for _, list := range u.providers {
		for _, v := range list {
			ids[u.Packages[v.pkg].Name] = math.MaxInt32
		}
	}
	count := int32(0)
	for _, names := range u.mentions {
		for {
			name, err := names.next()
			if err != nil {
				break // the end
			}
			if id, ok := ids[name]; ok && id == math.MaxInt32 {
				ids[name] = count
				count++
			}
		}
	}
	return ids
}

// Versions returns all versions of a package, the candidate's first, then by priority and version.
func (u *Universe) Versions(name string) []*Package {
	var list []*Package
	for i, ok := u.byName[name]; ok && i >= 0; i = u.before[i] {
		list = append(list, &u.Packages[i])
	}
	slices.Reverse(list)
	slices.SortStableFunc(list, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(u.priority(b), u.priority(a)), deb.CompareVersions(b.Version, a.Version))
	})
	return list
}

func (u *Universe) has(name string) bool {
	_, ok := u.byName[name]
	return ok
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
