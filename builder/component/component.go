// Package component makes layers from inputs that are not packages.
//
// A component is described in the profile and pinned in the lock. A recipe is what its kind wants:
// the downloads, Go module and container images to pin, and how to lay them out. A Kit pins them
// (Resolve), brings what has no plain URL into the store (Fetch) and makes a layer (Build), whose
// contents lie in the store: unpacked archives, compiled programs and image stores are kept under
// the digest of what decides them, and made once.
//
// Archives are .tar, .tar.gz, .tar.bz2, .tar.xz and .tar.zst. Container images are Docker's schema 2
// and OCI's, with layers uncompressed or compressed by gzip or zstd.
package component

import (
	"context"
	"fmt"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// Kit is what components are made with.
type Kit struct {
	Store  *cas.Store
	Client *fetch.Client
	// Profile says where the files of the machine are.
	Profile profile.Loaded
	Go      Go
	// Report is told of what is pulled from registries; nil discards it.
	Report progress.Reporter
}

// recipe is what a kind of component wants.
type recipe struct {
	version string
	module  *profile.GoModule
	files   []download
	images  []imageRequest
	// advice says what a person can do when upstream has a file no more.
	advice string
	// lay puts the component's files together; nil when the module's programs are all.
	lay func(*site) error
}

// recipe returns that of the component at components[i] of the profile.
func (k Kit) recipe(i int) (recipe, error) {
	c, arch := k.Profile.Profile.Components[i], k.Profile.Profile.Arch
	at := fmt.Sprintf("components[%d]", i)
	switch {
	case c.GoModule != nil:
		return recipe{module: c.GoModule}, nil
	case c.Tarball != nil:
		return tarballRecipe(*c.Tarball), nil
	case c.Files != nil:
		return filesRecipe(*c.Files, at+".files.files"), nil
	case c.Debs != nil:
		return recipe{files: debFiles(c.Debs.Files, at+".debs.files")}, nil
	case c.CNI != nil:
		return cniRecipe(*c.CNI, arch), nil
	case c.ContainerImages != nil:
		return containerImagesRecipe(*c.ContainerImages, c.Name, arch, at+".containerImages"), nil
	case c.KubeEdge != nil:
		return kubeEdgeRecipe(*c.KubeEdge, arch), nil
	case c.CRIO != nil:
		return crioRecipe(*c.CRIO, k.Profile.Profile, c.Name, at+".crio"), nil
	case c.Containerd != nil:
		return containerdRecipe(*c.Containerd), nil
	case c.Kubernetes != nil:
		return kubernetesRecipe(*c.Kubernetes, c.Name, arch), nil
	}
	return recipe{}, fmt.Errorf("component %s has no kind", c.Name)
}

// Resolve pins all components of the profile. before are the pins of an older lock, if there is
// one: a file whose hash nobody publishes must still be what it was.
func (k Kit) Resolve(ctx context.Context, before []lock.Component) ([]lock.Component, error) {
	var out []lock.Component
	for i, c := range k.Profile.Profile.Components {
		old, _ := find(before, c.Name)
		pin, err := k.resolve(ctx, i, old)
		if err != nil {
			return nil, fmt.Errorf("locking component %s: %w", c.Name, err)
		}
		if err := unchanged(pin, before); err != nil {
			return nil, fmt.Errorf("locking component %s: %w", c.Name, err)
		}
		out = append(out, pin)
	}
	return out, nil
}

func (k Kit) resolve(ctx context.Context, i int, old lock.Component) (lock.Component, error) {
	c := k.Profile.Profile.Components[i]
	r, err := k.recipe(i)
	if err != nil {
		return lock.Component{}, err
	}
	pin := lock.Component{Name: c.Name, Kind: c.Kind(), Version: r.version}
	if r.module != nil {
		m, err := k.Go.Resolve(ctx, *r.module)
		if err != nil {
			return lock.Component{}, err
		}
		pin.Module, pin.Version, pin.Sum, pin.Go = m.Module, m.Version, m.Sum, m.Go
	}
	for _, d := range r.files {
		f, err := k.pin(ctx, d, old)
		if err != nil && r.advice != "" && d.source == "" {
			err = fmt.Errorf("%w; %s", err, r.advice)
		}
		if err != nil {
			return lock.Component{}, err
		}
		pin.Files = append(pin.Files, f)
	}
	if pin.Images, err = k.pinImages(ctx, r.images); err != nil {
		return lock.Component{}, err
	}
	return pin, nil
}

// Fetch brings into the store what the lock's components pin and what has no plain URL: files of
// the machine and container images. A file of the machine that has changed since is a *lock.StaleError.
func (k Kit) Fetch(ctx context.Context, pins []lock.Component) error {
	for i, c := range k.Profile.Profile.Components {
		pin, ok := find(pins, c.Name)
		if !ok {
			return fmt.Errorf("fetching component %s: the lock has no such component; lock again", c.Name)
		}
		r, err := k.recipe(i)
		if err != nil {
			return err
		}
		if err := k.adopt(r, pin); err != nil {
			return fmt.Errorf("fetching component %s: %w", c.Name, err)
		}
		if err := k.fetchImages(ctx, r.images, pin.Images); err != nil {
			return fmt.Errorf("fetching component %s: %w", c.Name, err)
		}
	}
	return nil
}

func find(pins []lock.Component, name string) (lock.Component, bool) {
	for _, p := range pins {
		if p.Name == name {
			return p, true
		}
	}
	return lock.Component{}, false
}

// Build makes the layers of the components, in the profile's order. Every input must be in the store. cached
// says that nothing had to be unpacked or compiled.
func (k Kit) Build(ctx context.Context, l lock.Lock) (layers []tree.Layer, cached bool, err error) {
	cached = true
	for i, c := range k.Profile.Profile.Components {
		layer, had, err := k.build(ctx, i, l)
		if err != nil {
			return nil, false, fmt.Errorf("building component %s: %w", c.Name, err)
		}
		cached = cached && had
		layers = append(layers, layer)
	}
	return layers, cached, nil
}

func (k Kit) build(ctx context.Context, i int, l lock.Lock) (tree.Layer, bool, error) {
	c := k.Profile.Profile.Components[i]
	pin, ok := find(l.Components, c.Name)
	if !ok {
		return tree.Layer{}, false, fmt.Errorf("the lock has no such component; lock again")
	}
	r, err := k.recipe(i)
	if err != nil {
		return tree.Layer{}, false, err
	}
	s := &site{ctx: ctx, store: k.Store, pin: pin, arch: l.Arch, epoch: l.Epoch, cached: true, b: tree.NewBuilder(tree.Time{Sec: l.Epoch})}
	if r.module != nil {
		if err := s.module(k.Go, *r.module); err != nil {
			return tree.Layer{}, false, err
		}
	}
	if r.lay != nil {
		if err := r.lay(s); err != nil {
			return tree.Layer{}, false, err
		}
	}
	layer, err := s.b.Layer("component " + c.Name)
	return layer, s.cached, err
}

func (s *site) module(g Go, m profile.GoModule) error {
	t, cached, err := g.Build(s.ctx, s.store, m, s.pin, s.arch, s.epoch)
	if err != nil {
		return err
	}
	s.cached = s.cached && cached
	s.programs(t)
	return nil
}
