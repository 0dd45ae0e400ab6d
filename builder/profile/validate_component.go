package profile

import "strings"

func (v *validator) components(components []Component, re patterns) {
	seen := map[string]bool{}
	for i, c := range components {
		path := at("components", i)
		v.match(path+".name", c.Name, re.name, "lower-case letters, digits, dots and hyphens")
		if seen[c.Name] {
			v.add(path+".name", "a component called %s is already there", c.Name)
		}
		seen[c.Name] = true
		if c.GoModule == nil {
			v.add(path, "needs a kind: goModule")
			continue
		}
		m := c.GoModule
		v.match(path+".goModule.sum", m.Sum, re.sum, "a module's sum is h1: and 44 base64 characters, as in go.sum")
		v.absolute(path+".goModule.destination", m.Destination)
		if m.Version != "" && !strings.HasPrefix(m.Version, "v") {
			v.add(path+".goModule.version", "%q does not start with v; locks need an exact version, such as v0.8.7", m.Version)
		}
	}
}
