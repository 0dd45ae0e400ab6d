package builder

import (
	"bytes"
	"fmt"

	"github.com/edgebake/edgebake/builder/deb"
)

// early are the packages that ask for byte-compiling, and all that they depend on, in the order of the list. Python
// compiles beside dpkg: the sooner it is told to, the less is left to do when dpkg has come to its end.
func early(list []deb.Extracted) ([]string, error) {
	g := dependencies{providers: map[string][]int{}, wanted: map[int]bool{}}
	for i, x := range list {
		if err := g.add(i, x); err != nil {
			return nil, err
		}
	}
	for i, x := range list {
		if script, _ := x.Member("postinst"); bytes.Contains(script, []byte("py3compile")) || bytes.Contains(script, []byte("py_compile")) {
			g.want(i)
		}
	}
	var out []string
	for i, name := range g.names {
		if g.wanted[i] {
			out = append(out, name)
		}
	}
	return out, nil
}

// dependencies say which packages of a list need which; a package is its index.
type dependencies struct {
	names     []string
	needs     [][]deb.Alternatives
	providers map[string][]int // by the name of a package, or of what it provides
	wanted    map[int]bool
}

func (g *dependencies) add(i int, x deb.Extracted) error {
	control, _ := x.Member("control")
	c, err := deb.ParseStanza(control)
	if err != nil {
		return err
	}
	var needs []deb.Alternatives
	for _, field := range []string{"Pre-Depends", "Depends", "Provides"} {
		relations, err := deb.ParseRelations(c.Get(field))
		if err != nil {
			return fmt.Errorf("reading %s of package %s: %w", field, c.Get("Package"), err)
		}
		if field != "Provides" {
			needs = append(needs, relations...)
			continue
		}
		for _, r := range relations {
			g.providers[r[0].Name] = append(g.providers[r[0].Name], i)
		}
	}
	name := c.Get("Package")
	g.names, g.needs = append(g.names, name), append(g.needs, needs)
	g.providers[name] = append(g.providers[name], i)
	return nil
}

// want takes a package and, of each group of alternatives, all in the list: a package that is there is configured sooner or later.
func (g *dependencies) want(i int) {
	if g.wanted[i] {
		return
	}
	g.wanted[i] = true
	for _, alternatives := range g.needs[i] {
		for _, r := range alternatives {
			for _, p := range g.providers[r.Name] {
				g.want(p)
			}
		}
	}
}
