package apt

// AddLocal offers packages that lie on the machine instead of in an archive, as one more source
// with that priority, and returns its index. Their Source is set; Path is what the caller wants.
func (u *Universe) AddLocal(name string, priority int, packages []Package) (source int) {
	source = len(u.Sources)
	u.Sources = append(u.Sources, Source{Name: name, Priority: priority})
	u.Releases = append(u.Releases, Release{})
	for _, p := range packages {
		p.Source = source
		u.Packages = append(u.Packages, p)
	}
	clear(u.byName)
	clear(u.providers)
	u.finish()
	return source
}
