package apt

import (
	"slices"

	"github.com/edgebake/edgebake/builder/deb"
)

// node is a chosen package in the graph of dependencies.
type node struct {
	*choice
	needs, preNeeds []*node
	index, low      int // of Tarjan's algorithm, index 0 is not visited
	onStack         bool
	done            bool
}

// order puts what a package needs before it. Packages that need each other in a cycle come
// together: in a cycle Pre-Depends are kept, and the one with the fewest open needs comes first.
func (s *solver) order() *Solution {
	nodes, byName := s.nodes()
	g := graph{}
	for _, n := range nodes {
		s.connect(n, byName)
	}
	for _, n := range nodes {
		if n.index == 0 {
			g.visit(n)
		}
	}
	return &Solution{Packages: g.out}
}

// nodes are the chosen packages that are not there yet: essential ones first, then as chosen.
func (s *solver) nodes() ([]*node, map[string]*node) {
	var list []*node
	byName := map[string]*node{}
	for _, c := range s.trail {
		if c.pkg.Source >= 0 {
			n := &node{choice: c}
			list = append(list, n)
			byName[c.pkg.Name] = n
		}
	}
	slices.SortStableFunc(list, func(a, b *node) int {
		switch {
		case a.pkg.Essential == b.pkg.Essential:
			return 0
		case a.pkg.Essential:
			return -1
		}
		return 1
	})
	return list, byName
}

func (s *solver) connect(n *node, byName map[string]*node) {
	for _, name := range n.after {
		if m := byName[name]; m != nil { // to be unpacked first, also where m depends on n
			n.needs, n.preNeeds = append(n.needs, m), append(n.preNeeds, m)
		}
	}
	for _, d := range s.relations(n.pkg).depends {
		for _, m := range s.satisfiers(d.alts, byName) {
			if m == n {
				continue
			}
			n.needs = append(n.needs, m)
			if d.kind == "pre-depends" {
				n.preNeeds = append(n.preNeeds, m)
			}
		}
	}
}

// satisfiers are the chosen packages of the first alternative that holds.
func (s *solver) satisfiers(alts deb.Alternatives, byName map[string]*node) []*node {
	for _, r := range alts {
		if !s.holds(r) {
			continue
		}
		if c := s.chosen[r.Name]; c != nil && s.isTarget(c.pkg, r) {
			if n := byName[r.Name]; n != nil {
				return []*node{n}
			}
			return nil
		}
		var list []*node
		for _, c := range s.provided[r.Name] {
			if n := byName[c.pkg.Name]; n != nil && s.provides(c.pkg, r) {
				list = append(list, n)
			}
		}
		return list
	}
	return nil
}

// graph is Tarjan's algorithm: it finds cycles, each after all that it needs.
type graph struct {
	count int
	stack []*node
	out   []Chosen
}

func (g *graph) visit(n *node) {
	g.count++
	n.index, n.low = g.count, g.count
	n.onStack = true
	g.stack = append(g.stack, n)
	for _, m := range n.needs {
		if m.index == 0 {
			g.visit(m)
			n.low = min(n.low, m.low)
		} else if m.onStack {
			n.low = min(n.low, m.index)
		}
	}
	if n.low != n.index {
		return
	}
	at := slices.Index(g.stack, n)
	cycle := slices.Clone(g.stack[at:])
	g.stack = g.stack[:at]
	g.emit(cycle)
}

func (c *choice) chosen() Chosen {
	out := Chosen{Package: c.pkg, Reason: c.reason}
	if c.replaced != nil {
		out.Upgrades = c.replaced.pkg.Version
	}
	return out
}

func (g *graph) emit(cycle []*node) {
	for _, n := range cycle {
		n.onStack = false
	}
	for len(cycle) > 0 {
		best, bestOpen := 0, [2]int{1 << 30, 0}
		for i, n := range cycle {
			open := [2]int{openNeeds(n.preNeeds), openNeeds(n.needs)}
			c := slices.Compare(open[:], bestOpen[:])
			if c < 0 || c == 0 && n.pkg.Name < cycle[best].pkg.Name {
				best, bestOpen = i, open
			}
		}
		cycle[best].done = true
		g.out = append(g.out, cycle[best].chosen())
		cycle = slices.Delete(cycle, best, best+1)
	}
}

func openNeeds(list []*node) int {
	open := 0
	for _, n := range list {
		if !n.done {
			open++
		}
	}
	return open
}
