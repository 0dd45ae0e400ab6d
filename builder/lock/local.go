package lock

import (
	"fmt"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
)

// localSource is the archive of packages that are files of the machine. It has no URL.
const localSource = "local files"

// localPriority lets a local package win over the same version of an archive (apt's default is 500).
const localPriority = 501

// Debs are the packages of the components that are files of the machine, in the profile's order.
func Debs(components []Component) []File {
	var out []File
	for _, c := range components {
		for _, f := range c.Files {
			if (c.Kind == "debs" || c.Kind == "crio") && strings.HasSuffix(f.Source, ".deb") {
				out = append(out, f)
			}
		}
	}
	return out
}

// addLocal offers the local packages to the solver and returns what to ask it for; own are those of them that a
// person builds.
func addLocal(in Inputs, u *apt.Universe, l *Lock) (install, own []string, err error) {
	files := Debs(in.Components)
	if len(files) == 0 {
		return nil, nil, nil
	}
	built := Debs(slices.DeleteFunc(slices.Clone(in.Components), func(c Component) bool { return c.Kind != "debs" }))
	var packages []apt.Package
	for _, f := range files {
		p, err := readDeb(in.Store, f)
		if err != nil {
			return nil, nil, fmt.Errorf("reading package %s: %w", f.Source, err)
		}
		if p.Arch != in.Profile.Arch && p.Arch != "all" {
			return nil, nil, fmt.Errorf("reading package %s: it is for %s and the profile for %s", f.Source, p.Arch, in.Profile.Arch)
		}
		packages = append(packages, p)
		ask := p.Name + "=" + p.Version
		install = append(install, ask)
		if slices.ContainsFunc(built, func(b File) bool { return b.SHA256 == f.SHA256 }) {
			own = append(own, ask)
		}
	}
	u.AddLocal(localSource, localPriority, packages)
	l.Archives = append(l.Archives, Archive{Source: localSource})
	return install, own, nil
}

// readDeb makes of a package's control file what an index would say of it.
func readDeb(store *cas.Store, f File) (apt.Package, error) {
	b, err := store.Open(f.SHA256)
	if err != nil {
		return apt.Package{}, err
	}
	defer b.Close()
	file, err := deb.Open(b, b.Size())
	if err != nil {
		return apt.Package{}, err
	}
	c, err := file.Control()
	if err != nil {
		return apt.Package{}, err
	}
	p := apt.Package{Name: c.Get("Package"), Version: c.Get("Version"), Arch: c.Get("Architecture"), Path: f.Name, Size: f.Size, SHA256: f.SHA256,
		Priority: c.Get("Priority"), Essential: c.Get("Essential") == "yes", MultiArch: c.Get("Multi-Arch"),
		PreDepends: c.Get("Pre-Depends"), Depends: c.Get("Depends"), Recommends: c.Get("Recommends"),
		Provides: c.Get("Provides"), Conflicts: c.Get("Conflicts"), Breaks: c.Get("Breaks")}
	// Source may have a version in parentheses (deb-control(5)).
	p.SourcePackage, _, _ = strings.Cut(c.Get("Source"), " ")
	if p.Name == "" || p.Version == "" || p.Arch == "" {
		return apt.Package{}, fmt.Errorf("its control file lacks Package, Version or Architecture")
	}
	return p, nil
}
