package lock

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/profile"
)

const (
	// heldSource is the solver's name for the versions of an older lock that no archive offers any more.
	heldSource = "older lock"
	// heldPriority is apt's for versions that are installed and nowhere else.
	heldPriority = 100
)

// OnTopError says why the lower layer of a lock cannot stay as it is.
type OnTopError struct {
	Profile string
	// Why says what stands in the way.
	Why string
}

func (e *OnTopError) Error() string {
	return fmt.Sprintf("locking %s on top of its lower layer: %s", e.Profile, e.Why)
}

// CheckOnTop refuses what needs no archive to be refused: profiles and locks in which nothing can be put on top of the
// lower layer, and packages to update that are not in it or above it. The error is an *OnTopError.
func (l Lock) CheckOnTop(p profile.Profile, update []string) error {
	switch {
	case l.Base != nil || p.Base.Image != nil:
		return &OnTopError{p.Name, "it starts from a base image, which stays as it is anyway: new versions are installed over that"}
	case l.Arch != p.Arch:
		return &OnTopError{p.Name, fmt.Sprintf("that is of %s, and the profile of %s", l.Arch, p.Arch)}
	}
	for _, name := range update {
		if named(l.Packages, name) == nil && named(l.Guest, name) != nil {
			return &OnTopError{p.Name, name + " is of the guest in which that is configured"}
		}
	}
	return nil
}

// offerHeld lets the solver keep what the image of in.OnTop has also where the archives have dropped that version. It is
// fetched from where a bake would fetch it, the snapshot archive.
func offerHeld(ctx context.Context, in Inputs, u *apt.Universe) error {
	if in.OnTop == nil {
		return nil
	}
	old := Lock{Archives: in.OnTop.Archives}
	for _, p := range in.OnTop.Installed() {
		if !slices.Contains(in.Update, p.Name) && !offers(u, p) && old.Archives[p.Archive].URL != "" {
			old.Packages = append(old.Packages, p)
		}
	}
	if err := in.Client.All(ctx, old.Requests()); err != nil {
		return fmt.Errorf("fetching what the archives have dropped: %w", err)
	}
	var held []apt.Package
	for _, p := range old.Packages {
		known, err := readDeb(in.Store, File{Name: p.Path, Size: p.Size, SHA256: p.SHA256})
		if err != nil {
			return fmt.Errorf("reading package %s: %w", p.Name, err)
		}
		held = append(held, known)
	}
	u.AddLocal(heldSource, heldPriority, held)
	return nil
}

// stack makes of what the solver chose a lock that has the lower layer of in.OnTop, with all that decides how it is
// configured, as it was. What differs is the upper layer. An *OnTopError says why that is impossible.
func stack(in Inputs, u *apt.Universe, l Lock) (Lock, error) {
	old := *in.OnTop
	lower, _ := old.Layers()
	if err := stays(in, lower, l.Packages); err != nil {
		return Lock{}, err
	}
	upper, err := above(in, lower, l.Packages)
	if err != nil {
		return Lock{}, err
	}
	if upper, err = inOrder(u, lower, upper); err != nil {
		return Lock{}, err
	}
	for i, p := range upper {
		if u.Sources[p.Archive].Name == heldSource {
			upper[i].Archive = l.adopted(old.archiveOf(p))
		}
	}
	l.Epoch = old.Epoch
	l.Packages, l.Guest, l.Host = append(l.adopt(old, lower), upper...), l.adopt(old, old.Guest), maps.Clone(old.Host)
	for _, arch := range slices.Sorted(maps.Keys(l.Host)) {
		l.Host[arch] = l.adopt(old, l.Host[arch])
	}
	return l, nil
}

// stays refuses when a package of the lower layer would not be in the image, or cannot be had any more.
func stays(in Inputs, lower, all []Package) error {
	for _, p := range lower {
		if named(all, p.Name) == nil {
			return in.refuse("%s %s is in it, and would go away", p.Name, p.Version)
		}
		if in.OnTop.Archives[p.Archive].URL == "" && !isFile(in.Components, p) {
			return in.refuse("it has %s %s from a file of this machine that is another one now", p.Name, p.Version)
		}
	}
	return nil
}

// above marks those of all that are not in the lower layer as the upper one, and says which versions they replace.
func above(in Inputs, lower, all []Package) ([]Package, error) {
	var upper []Package
	for _, p := range all {
		below := named(lower, p.Name)
		switch {
		case below != nil && below.SHA256 == p.SHA256:
			continue
		case below != nil && deb.CompareVersions(p.Version, below.Version) < 0:
			return nil, in.refuse("%s %s is in it, and the archives have %s, which is older", p.Name, below.Version, p.Version)
		case strings.HasPrefix(p.Name, "linux-image-") && !slices.ContainsFunc(in.OnTop.Packages, func(q Package) bool { return q.SHA256 == p.SHA256 }):
			return nil, in.refuse("%s %s is a kernel, and would be another one than the image has", p.Name, p.Version)
		case below != nil:
			p.Upgrades = below.Version
		}
		p.Layer = 1
		upper = append(upper, p)
	}
	return upper, nil
}

func (in Inputs) refuse(format string, args ...any) error {
	return &OnTopError{in.Profile.Name, fmt.Sprintf(format, args...)}
}

// isFile reports whether the package is a file of the machine as it is now.
func isFile(components []Component, p Package) bool {
	return slices.ContainsFunc(Debs(components), func(f File) bool { return f.SHA256 == p.SHA256 })
}

// inOrder lets the solver order the upper layer as it does over a base image: what replaces a package of the lower layer
// comes before what breaks the old version, with which dpkg would refuse to unpack it.
func inOrder(u *apt.Universe, lower, upper []Package) ([]Package, error) {
	var asked apt.Request
	for _, p := range lower {
		asked.Installed = append(asked.Installed, installed(u, p))
	}
	for _, p := range upper {
		asked.Install = append(asked.Install, p.Name+"="+p.Version)
	}
	ordered, err := solve(u, asked)
	if err != nil {
		return nil, fmt.Errorf("ordering the upper layer: %w", err)
	}
	at := func(p Package) int {
		return slices.IndexFunc(ordered, func(q Package) bool { return q.Name == p.Name })
	}
	slices.SortStableFunc(upper, func(a, b Package) int { return at(a) - at(b) })
	return upper, nil
}

// installed describes a package of the lower layer. Of a version that is not offered no relations are known: it is
// replaced.
func installed(u *apt.Universe, p Package) apt.Installed {
	out := apt.Installed{Package: apt.Package{Name: p.Name, Version: p.Version, Arch: p.Arch}, State: "installed"}
	for _, v := range u.Versions(p.Name) {
		if v.SHA256 == p.SHA256 {
			out.Package = *v
		}
	}
	out.Source = -1
	return out
}

// adopt returns packages of an older lock as they were, from the archives as those were.
func (l *Lock) adopt(old Lock, list []Package) []Package {
	out := slices.Clone(list)
	for i, p := range out {
		out[i].Archive = l.adopted(old.Archives[p.Archive])
	}
	return out
}

// adopted is the index of an archive, which is put behind the others unless it is among them.
func (l *Lock) adopted(a Archive) int {
	if !slices.Contains(l.Archives, a) {
		l.Archives = append(l.Archives, a)
	}
	return slices.Index(l.Archives, a)
}

func (l Lock) archiveOf(p Package) Archive {
	i := slices.IndexFunc(l.Packages, func(q Package) bool { return q.SHA256 == p.SHA256 })
	return l.Archives[l.Packages[i].Archive]
}
