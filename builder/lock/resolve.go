package lock

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/profile"
)

// Inputs are what a lock is resolved from.
type Inputs struct {
	// Profile as the resolver shall see it; Asked is the person's own when that is another one.
	Profile       profile.Profile
	Asked         *profile.Profile
	ProfileDigest cas.Digest
	// Own are those of Profile.Packages that its own file names, and none of its parents.
	Own []string
	// Keyrings are the contents of the key files by the source's name.
	Keyrings map[string][]byte
	Client   *fetch.Client
	Store    *cas.Store
	// Base is what is known of the profile's base image; nil when it has none.
	Base *BaseInputs
	// Components that are resolved already.
	Components []Component
	// Now is compared with the archives' Valid-Until.
	Now time.Time
	// Keep are packages of an older lock (Lock.Installed) that stay at their version, unless Update names them.
	Keep   []Package
	Update []string
	// Before are the archives of an older lock: one of the same URL and suite must not be older now.
	Before []Archive
	// KeepGuest and KeepHost are the same for the packages of the guest and of the machine that bakes.
	KeepGuest []Package
	KeepHost  map[string][]Package
	// OnTop is an older lock whose lower layer stays as it is: what differs is put on top of it. CheckOnTop has allowed
	// that, and Keep is what it has installed. Nil lets the layers be as they would without an older lock.
	OnTop *Lock
}

// guestPackages are what the configuring guest needs besides the image's own kernel.
var guestPackages = [...]string{"busybox-static"}

// Resolve asks the archives what the profile's packages are now, and pins them.
func Resolve(ctx context.Context, in Inputs) (Lock, error) {
	sources, archives := sourcesOf(in)
	universe, err := apt.Load(ctx, in.Client, in.Store, sources, in.Profile.Arch, in.Now)
	if err != nil {
		return Lock{}, fmt.Errorf("locking %s: %w", in.Profile.Name, err)
	}
	digest, err := requestDigest(in.Profile)
	if err != nil {
		return Lock{}, err
	}
	l := Lock{Version: Version, Profile: in.Profile.Name, ProfileDigest: in.ProfileDigest, RequestDigest: digest,
		Arch: in.Profile.Arch, Archives: archives, Components: in.Components}
	for i, r := range universe.Releases {
		l.Archives[i].Date, l.Archives[i].Release = r.Date.UTC().Format(time.RFC3339), r.Digest
		l.Epoch = max(l.Epoch, r.Date.Unix())
	}
	if in.Base != nil {
		l.Base, l.Epoch = &in.Base.Pin, max(l.Epoch, in.Base.Epoch)
	}
	local, built, err := addLocal(in, universe, &l)
	if err != nil {
		return Lock{}, fmt.Errorf("locking %s: %w", in.Profile.Name, err)
	}
	if err := offerHeld(ctx, in, universe); err != nil {
		return Lock{}, fmt.Errorf("locking %s: %w", in.Profile.Name, err)
	}
	asked := request(in, universe)
	asked.Install = append(asked.Install, local...)
	if l.Packages, err = solve(universe, asked); err != nil {
		return Lock{}, fmt.Errorf("locking %s: %w", in.Profile.Name, err)
	}
	if in.OnTop != nil {
		return stack(in, universe, l)
	}
	if l.Packages, err = layered(in, universe, asked, slices.Concat(in.Own, built), l.Packages); err != nil {
		return Lock{}, fmt.Errorf("locking %s: %w", in.Profile.Name, err)
	}
	if l.Guest, err = guest(in, universe, l.Packages); err != nil {
		return Lock{}, fmt.Errorf("locking the guest of %s: %w", in.Profile.Name, err)
	}
	if l.Host, err = host(ctx, in, universe, sources, l); err != nil {
		return Lock{}, fmt.Errorf("locking %s: %w", in.Profile.Name, err)
	}
	return l, nil
}

// requestDigest covers what the resolver reads of a profile.
func requestDigest(p profile.Profile) (cas.Digest, error) {
	fields := []any{p.Arch, p.Base, p.Apt, p.Packages, p.Boot.Kernel, p.Components}
	if p.Boot.GuestKernel != "" {
		fields = append(fields, p.Boot.GuestKernel)
	}
	b, err := json.Marshal(fields)
	return cas.Of(b), err
}

// Keep returns the lock with all its inputs for a profile in which only what needs no input has
// changed: overlays, settings, boot, disk. ok is false when the profile asks for other inputs.
func (l Lock) Keep(p profile.Profile, digest cas.Digest) (kept Lock, ok bool, err error) {
	asked, err := requestDigest(p)
	if err != nil || asked != l.RequestDigest {
		return Lock{}, false, err
	}
	l.ProfileDigest = digest
	return l, true, nil
}

func sourcesOf(in Inputs) ([]apt.Source, []Archive) {
	var sources []apt.Source
	var archives []Archive
	for _, s := range in.Profile.Apt.Sources {
		for _, suite := range s.Suites {
			sources = append(sources, apt.Source{Name: s.Name, URLs: []string{s.URL}, Suite: suite, Components: s.Components,
				Keyring: in.Keyrings[s.Name], Fingerprints: s.Fingerprints, Priority: s.Priority, IgnoreValidUntil: s.IgnoreValidUntil,
				Known: known(in.Before, s.URL, suite)})
			archives = append(archives, Archive{Source: s.Name, URL: s.URL, Suite: suite, Snapshot: s.Snapshot})
		}
	}
	return sources, archives
}

// known is the Date that an archive had in an older lock, the newest where it has several, or zero.
func known(before []Archive, url, suite string) time.Time {
	var newest time.Time
	for _, a := range before {
		if a.URL != url || a.Suite != suite || url == "" {
			continue
		}
		if at, err := time.Parse(time.RFC3339, a.Date); err == nil && at.After(newest) {
			newest = at
		}
	}
	return newest
}

// request is what the profile asks the solver for. A package to be kept is asked for at its
// version, as long as an archive has that.
func request(in Inputs, u *apt.Universe) apt.Request {
	p := in.Profile
	r := apt.Request{Essential: in.Base == nil, Priorities: p.Base.Priorities, Recommends: p.Apt.Recommends}
	if in.Base != nil {
		r.Installed = in.Base.Installed
	}
	r.Install = append(r.Install, p.Packages...)
	if p.Boot.Kernel != "" {
		r.Install = append(r.Install, p.Boot.Kernel)
	}
	for _, k := range in.Keep {
		if !slices.Contains(in.Update, k.Name) && offers(u, k) {
			r.Install = append(r.Install, k.Name+"="+k.Version)
		}
	}
	return r
}

func offers(u *apt.Universe, k Package) bool {
	return slices.ContainsFunc(u.Versions(k.Name), func(p *apt.Package) bool { return p.Version == k.Version })
}

func solve(u *apt.Universe, r apt.Request) ([]Package, error) {
	solution, err := apt.Solve(u, r)
	if err != nil {
		return nil, err
	}
	out := make([]Package, 0, len(solution.Packages))
	for _, c := range solution.Packages {
		p := pin(c.Package, c.Reason)
		p.Upgrades = c.Upgrades
		out = append(out, p)
	}
	return out, nil
}

func pin(p *apt.Package, reason string) Package {
	return Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Archive: p.Source, Path: p.Path, Size: p.Size, SHA256: p.SHA256, Reason: reason}
}

// guest pins the static busybox that the guest's first program comes from. Its kernel is the
// image's own.
func guest(in Inputs, u *apt.Universe, packages []Package) ([]Package, error) {
	var out []Package
	for _, name := range guestPackages {
		p := guestCandidate(in, u, name)
		if p == nil {
			return nil, fmt.Errorf("the archives have no %s, which the configuring guest starts from; add the source that has it (main)", name)
		}
		out = append(out, pin(p, "guest"))
	}
	if in.Base != nil && in.Base.OwnKernel {
		return out, nil
	}
	if in.Base != nil {
		kernel, err := guestKernel(in, u)
		return append(out, kernel...), err
	}
	for _, p := range packages {
		if strings.HasPrefix(p.Name, "linux-image-") {
			return out, nil
		}
	}
	return nil, fmt.Errorf("none of the packages is a kernel (linux-image-*), and the guest needs one; set boot.kernel")
}

// guestCandidate is the version to be kept where an archive has it, otherwise the newest.
func guestCandidate(in Inputs, u *apt.Universe, name string) *apt.Package {
	for _, k := range in.KeepGuest {
		if k.Name != name || slices.Contains(in.Update, name) {
			continue
		}
		for _, p := range u.Versions(name) {
			if p.Version == k.Version {
				return p
			}
		}
	}
	return u.Candidate(name)
}
