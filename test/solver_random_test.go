package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// A world is a handful of packages with random relations among each other only.
type world struct {
	packages []thing
	base     []thing // what is installed, some older
	request  []string
}

// thing is a version of a package.
type thing struct {
	name                        string
	version                     int
	depends                     [][]link
	conflicts, breaks, provides []link
}

// link is a name, of any version (0), at least one (+2) or less than it (-2).
type link struct {
	name  string
	limit int
}

func (l link) String() string {
	switch {
	case l.limit > 0:
		return fmt.Sprintf("%s (>= %d)", l.name, l.limit)
	case l.limit < 0:
		return fmt.Sprintf("%s (<< %d)", l.name, -l.limit)
	}
	return l.name
}

func (l link) matches(p thing) bool {
	if slices.Contains(p.provides, link{name: l.name}) && l.limit == 0 {
		return true
	}
	return p.name == l.name && (l.limit == 0 || l.limit > 0 && p.version >= l.limit || l.limit < 0 && p.version < -l.limit)
}

const (
	worlds       = 100
	worldSize    = 8
	baseFraction = 3 // one of so many worlds starts from a base
)

func newWorld(r *rand.Rand, prefix string) world {
	var w world
	name := func() string { return prefix + string(rune('a'+r.IntN(worldSize))) }
	some := func() link { return link{name: name(), limit: []int{0, 0, 0, 2, -2}[r.IntN(5)]} }
	relate := func(p *thing) {
		for range r.IntN(3) {
			group := []link{some()}
			if r.IntN(2) == 0 {
				group = append(group, some())
			}
			if r.IntN(6) == 0 {
				group = append(group, link{name: prefix + "virtual"})
			}
			p.depends = append(p.depends, group)
		}
		if r.IntN(4) == 0 {
			p.conflicts = append(p.conflicts, some())
		}
		if r.IntN(5) == 0 {
			p.breaks = append(p.breaks, some())
		}
		if r.IntN(4) == 0 {
			p.provides = append(p.provides, link{name: prefix + "virtual"})
		}
	}
	for i := range worldSize {
		p := thing{name: prefix + string(rune('a'+i)), version: 1 + r.IntN(2)}
		relate(&p)
		w.packages = append(w.packages, p)
	}
	w.request = slices.Compact(slices.Sorted(slices.Values([]string{name(), name()})))
	return w
}

// settle installs a subset that is consistent, all in version 1 with relations of their own.
func (w *world) settle(r *rand.Rand) {
	for _, p := range w.packages {
		if r.IntN(2) == 0 {
			old := thing{name: p.name, version: 1, provides: p.provides}
			if p.version == 1 {
				old = p
			} else if r.IntN(2) == 0 {
				old.breaks, old.depends = p.breaks, p.depends
			}
			if more := append(slices.Clone(w.base), old); consistent(more, more) {
				w.base = more
			}
		}
	}
}

// consistent says whether the needs of some hold and nothing in all conflicts.
func consistent(some, all []thing) bool {
	for _, p := range some {
		for _, group := range p.depends {
			if !slices.ContainsFunc(group, func(l link) bool { return slices.ContainsFunc(all, l.matches) }) {
				return false
			}
		}
	}
	for _, p := range all {
		for _, l := range slices.Concat(p.conflicts, p.breaks) {
			if slices.ContainsFunc(all, func(q thing) bool { return q.name != p.name && l.matches(q) }) {
				return false
			}
		}
	}
	return true
}

// after is the base with some of the world's packages over it.
func (w world) after(names []string) []thing {
	var all []thing
	for _, p := range w.base {
		if !slices.Contains(names, p.name) {
			all = append(all, p)
		}
	}
	for _, p := range w.packages {
		if slices.Contains(names, p.name) {
			all = append(all, p)
		}
	}
	return all
}

func (w world) works(names []string) bool {
	all := w.after(names)
	for _, want := range w.request {
		if !slices.ContainsFunc(all, func(p thing) bool { return p.name == want }) {
			return false
		}
	}
	return consistent(all, all)
}

// solvable tries all sets.
func (w world) solvable() bool {
	for set := range 1 << len(w.packages) {
		var names []string
		for i, p := range w.packages {
			if set&(1<<i) != 0 {
				names = append(names, p.name)
			}
		}
		if w.works(names) {
			return true
		}
	}
	return false
}

func text[T fmt.Stringer](list []T, between string) string {
	var parts []string
	for _, x := range list {
		parts = append(parts, x.String())
	}
	return strings.Join(parts, between)
}

func (p thing) deb() aptrepo.Deb {
	var groups []string
	for _, g := range p.depends {
		groups = append(groups, text(g, " | "))
	}
	return aptrepo.Deb{Name: p.name, Version: fmt.Sprint(p.version), Arch: "arm64", Depends: strings.Join(groups, ", "),
		Conflicts: text(p.conflicts, ", "), Breaks: text(p.breaks, ", "), Provides: text(p.provides, ", ")}
}

func randomWorlds() []world {
	r := rand.New(rand.NewPCG(1, 2))
	var list []world
	for i := range worlds {
		w := newWorld(r, fmt.Sprintf("w%d", i))
		if i%baseFraction == 0 {
			w.settle(r)
		}
		list = append(list, w)
	}
	return list
}

// TestSolverOnRandomWorlds: a solution holds; where all sets fail there is none; and wherever
// apt-get finds one without removing packages, edgebake does.
func TestSolverOnRandomWorlds(t *testing.T) {
	list := randomWorlds()
	repo := aptrepo.New(t)
	for _, w := range list {
		for _, p := range w.packages {
			repo.Add(p.deb())
		}
	}
	dir := repo.Write(t.TempDir())
	oracle := aptrepo.NewAptGet(t, "arm64", aptrepo.Suite{Dir: dir, Name: "stable", Components: []string{"main"}, Keyring: repo.Keyring()})
	u := loadWorlds(t, repo, dir)
	var solved, missed, same, byApt int
	for i, w := range list {
		status, installed := writeStatus(t, w)
		s, err := apt.Solve(u, apt.Request{Install: w.request, Installed: installed})
		found, aptErr := oracle.Install(status, w.request...)
		apted := aptErr == nil && len(found.Removes) == 0
		switch solvable := w.solvable(); {
		case err == nil && !w.works(names(s)):
			t.Errorf("world %d: %v of %s does not hold", i, changes(s), w.describe())
		case err != nil && apted:
			t.Errorf("world %d: %v, but apt-get finds %v\n%s", i, err, found.Changes, w.describe())
		case err != nil && solvable:
			missed++
			t.Logf("world %d has a solution that was not found: %v\n%s", i, err, w.describe())
		}
		if err == nil {
			solved++
		}
		if apted {
			byApt++
		}
		if apted && err == nil && slices.Equal(found.Changes, changes(s)) {
			same++
		}
	}
	t.Logf("%d worlds: %d solved, apt-get solves %d, %d of them in the same way; %d have a solution that was not found", len(list), solved, byApt, same, missed)
	if missed > 0 {
		t.Errorf("%d solvable worlds were not solved", missed)
	}
	if byApt < worlds/5 || same < byApt*9/10 {
		t.Errorf("apt-get solves %d of %d, %d in the same way", byApt, worlds, same)
	}
}

func (w world) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "request %v\n", w.request)
	for i, list := range [][]thing{w.packages, w.base} {
		for _, p := range list {
			fmt.Fprintf(&b, "%s %+v\n", []string{"archive", "base"}[i], p.deb())
		}
	}
	return b.String()
}

func names(s *apt.Solution) []string {
	var list []string
	for _, p := range s.Packages {
		list = append(list, p.Name)
	}
	return list
}

func loadWorlds(t *testing.T, repo *aptrepo.Repo, dir string) *apt.Universe {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	u, err := apt.Load(context.Background(), fetch.New(fetch.Config{Store: store}), store, []apt.Source{{Name: "worlds", URLs: []string{"file://" + dir}, Suite: "stable",
		Components: []string{"main"}, Keyring: repo.Keyring(), Fingerprints: []string{repo.Fingerprint()}}}, "arm64", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// writeStatus returns the path of the base's dpkg database, "" for none.
func writeStatus(t *testing.T, w world) (string, []apt.Installed) {
	t.Helper()
	if len(w.base) == 0 {
		return "", nil
	}
	var b strings.Builder
	for _, p := range w.base {
		b.WriteString(p.deb().Control() + "Status: install ok installed\n\n")
	}
	path := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	installed, err := apt.ParseStatus(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return path, installed
}
