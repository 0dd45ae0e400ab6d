package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/overlays"
)

// maxText ends variables that double each other; no value of a profile is nearly as long.
const maxText = 64 << 10

// variables are the strings that ${name} stands for.
type variables struct {
	nodes  map[string]*node
	set    map[string]string
	faults []Fault
	// inFiles are those that files of overlays have in them.
	inFiles map[string]string
	// values are finished ones; open are being expanded, to notice circles.
	values map[string]string
	open   []string
}

// variables takes the variables out of root, so that they are not expanded twice.
func (l *loader) variables(root *node) *variables {
	v := &variables{nodes: map[string]*node{}, set: map[string]string{}, inFiles: map[string]string{}, values: map[string]string{}}
	if n := root.get("variables"); n != nil && n.kind == mapping {
		for _, e := range n.entries {
			if e.value.kind == scalar {
				v.nodes[e.key] = e.value
			}
		}
	}
	for _, name := range sortedKeys(l.options.Set) {
		if v.nodes[name] == nil {
			v.faults = append(v.faults, Fault{
				File: "--set", Path: join("variables", name), Suggestion: nearest(name, sortedKeys(v.nodes)),
				Message: fmt.Sprintf("the profile has no variable %q; it has: %s", name, strings.Join(sortedKeys(v.nodes), ", ")),
			})
			continue
		}
		v.set[name] = l.options.Set[name]
	}
	for _, name := range sortedKeys(v.nodes) {
		v.value(name)
	}
	return v
}

func (v *variables) strings() map[string]string { return maps.Clone(v.values) }

// value is the text of a variable with the variables in it replaced.
func (v *variables) value(name string) string {
	if value, ok := v.values[name]; ok {
		return value
	}
	text := v.nodes[name].text
	if over, ok := v.set[name]; ok {
		text = over
	}
	v.open = append(v.open, name)
	value := v.expand(text, v.nodes[name].origin, join("variables", name))
	v.open = v.open[:len(v.open)-1]
	v.values[name] = value
	return value
}

// replace expands every text below n but the variables themselves and names of profiles. The tree
// may share nodes with no other, so it is changed in place.
func (v *variables) replace(n *node, path string) {
	for _, e := range n.entries {
		if path != "" || (e.key != "variables" && e.key != "extends") {
			v.replace(e.value, join(path, e.key))
		}
	}
	for i, item := range n.items {
		v.replace(item, fmt.Sprintf("%s[%d]", path, i))
	}
	if n.kind == scalar {
		n.text = v.expand(n.text, n.origin, path)
	}
}

// expand puts values in for ${name}; $${ stands for ${.
func (v *variables) expand(text string, at Origin, path string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			return b.String() + text
		}
		if b.Len() > maxText {
			v.add(at, path, "", "%s: is longer than %d bytes with its variables", path, maxText)
			return ""
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		name, rest, ok := strings.Cut(text[i+2:], "}")
		if !ok {
			v.add(at, path, "", "%s: ${ without }; a literal ${ is written $${", path)
			return b.String() + text
		}
		b.WriteString(text[:i] + v.lookup(name, at, path))
		text = rest
	}
}

func (v *variables) lookup(name string, at Origin, path string) string {
	if v.nodes[name] == nil {
		v.add(at, path, nearest(name, sortedKeys(v.nodes)), "%s: there is no variable %q", path, name)
		return ""
	}
	if i := slices.Index(v.open, name); i >= 0 {
		v.add(at, path, "", "variables stand for each other in a circle: %s", strings.Join(append(slices.Clone(v.open[i:]), name), " -> "))
		return ""
	}
	return v.value(name)
}

func (v *variables) add(at Origin, path, suggestion, format string, args ...any) {
	v.faults = append(v.faults, Fault{
		File: at.File, Line: at.Line, Column: at.Column,
		Path: path, Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	})
}

// fill puts variables into the files of an overlay that has some; at is where the profile names it.
func (v *variables) fill(o *overlays.Overlay, at Origin, path string) {
	for i, f := range o.Files {
		if !slices.Contains(o.Variables, f.Path) {
			continue
		}
		o.Files[i].Content = []byte(v.expand(string(f.Content), at, path+": "+f.Path))
		for name, value := range v.values {
			if strings.Contains(string(f.Content), "${"+name+"}") {
				v.inFiles[name] = value
			}
		}
	}
}
