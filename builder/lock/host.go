package lock

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/apt"
)

// hostArchs are the architectures of machines that bake.
func hostArchs() []string { return []string{"amd64", "arm64"} }

// onHost are the packages of the image whose programs also run on the machine that bakes: Python, which byte-compiles, and
// depmod's kmod. Only a lower layer of a system without a base image is configured with their help.
func onHost(l Lock) []Package {
	if l.Base != nil {
		return nil
	}
	lower, _ := l.Layers()
	return slices.DeleteFunc(lower, func(p Package) bool {
		number, minimal := strings.CutSuffix(p.Name, "-minimal")
		number, three := strings.CutPrefix(number, "python3.")
		return p.Name != "kmod" && !(minimal && three && strings.Trim(number, "0123456789") == "")
	})
}

// host pins the same versions of them, with what they depend on, for each architecture of which a machine that
// bakes may be. What the archives do not have is left out: there the guest does the work.
func host(ctx context.Context, in Inputs, u *apt.Universe, sources []apt.Source, l Lock) (map[string][]Package, error) {
	wanted := onHost(l)
	if len(wanted) == 0 {
		return nil, nil
	}
	out := map[string][]Package{}
	for _, arch := range hostArchs() {
		list, err := hostPackages(ctx, in, u, sources, arch, wanted)
		if err != nil {
			return nil, fmt.Errorf("locking programs for machines of %s: %w", arch, err)
		}
		if len(list) > 0 {
			out[arch] = list
		}
	}
	return out, nil
}

func hostPackages(ctx context.Context, in Inputs, u *apt.Universe, sources []apt.Source, arch string, wanted []Package) ([]Package, error) {
	at := make([]int, len(sources)) // by the index of a source in other, that in u
	for i := range at {
		at[i] = i
	}
	other := u
	if arch != u.Arch {
		var err error
		if other, at, err = offering(ctx, in, u, sources, arch); err != nil || other == nil {
			return nil, err
		}
	}
	list, err := solveHost(other, in, wanted, in.KeepHost[arch])
	for i := range list {
		if list[i].Archive >= len(at) { // a file of this machine
			return nil, nil
		}
		list[i].Archive, list[i].Reason = at[list[i].Archive], ""
	}
	return list, err
}

// solveHost keeps the versions of an older lock where they fit. Nothing is chosen when that is impossible.
func solveHost(u *apt.Universe, in Inputs, wanted, keep []Package) ([]Package, error) {
	var asked, kept apt.Request
	for _, p := range wanted {
		if offers(u, p) {
			asked.Install = append(asked.Install, p.Name+"="+p.Version)
		}
	}
	if len(asked.Install) == 0 {
		return nil, nil
	}
	kept.Install = slices.Clone(asked.Install)
	for _, p := range keep {
		isNamed := func(q Package) bool { return q.Name == p.Name }
		if !slices.ContainsFunc(wanted, isNamed) && !slices.Contains(in.Update, p.Name) && offers(u, p) {
			kept.Install = append(kept.Install, p.Name+"="+p.Version)
		}
	}
	list, err := solve(u, kept)
	if unsolvable(err) {
		list, err = solve(u, asked)
	}
	if unsolvable(err) {
		return nil, nil
	}
	return list, err
}

// offering loads what u's sources have for another architecture. It is nil when none of them has any, and when
// a source is another one now.
func offering(ctx context.Context, in Inputs, u *apt.Universe, sources []apt.Source, arch string) (*apt.Universe, []int, error) {
	var some []apt.Source
	var at []int
	for i, s := range sources {
		if u.Releases[i].Offers(s, arch) {
			some, at = append(some, s), append(at, i)
		}
	}
	if len(some) == 0 {
		return nil, nil, nil
	}
	other, err := apt.Load(ctx, in.Client, in.Store, some, arch, in.Now)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range other.Releases {
		if r.Digest != u.Releases[at[i]].Digest {
			return nil, nil, nil
		}
	}
	return other, at, nil
}
