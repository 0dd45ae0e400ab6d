package component

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
)

const (
	// maxManifest bounds a manifest or index; registries refuse to store more than 4 MiB.
	maxManifest = 4 << 20
	// maxConfig bounds an image's configuration, which holds its history.
	maxConfig = 16 << 20
	// maxLayers is what the overlay file system takes (containers/storage, maxDepth).
	maxLayers = 128
	// pulls is how many blobs come at once.
	pulls = 4
)

// imageRequest is one container image that a component wants.
type imageRequest struct {
	name     string
	platform v1.Platform
	// local is the OCI layout's index.json or the archive; without a source the image is in a registry.
	local download
}

func platform(arch, variant string) v1.Platform {
	return v1.Platform{OS: "linux", Architecture: arch, Variant: variant}
}

// containerImagesRecipe wants the images of a profile's component, called name.
func containerImagesRecipe(c profile.ContainerImages, owner, arch, at string) recipe {
	var r recipe
	local := download{name: "images", at: at + ".path"}
	switch c.From() {
	case "layout":
		local.source = c.Path + "/index.json"
	case "archive":
		local.source = c.Path
	}
	if local.source != "" {
		r.files = []download{local}
	}
	for _, image := range c.Images {
		r.images = append(r.images, imageRequest{name: image, platform: platform(arch, c.Variant), local: local})
	}
	r.lay = func(s *site) error { return s.images(owner, c.For()) }
	return r
}

// pinImages finds out what the names mean now. Layers stay where they are, unless they are local.
func (k Kit) pinImages(ctx context.Context, requests []imageRequest) ([]lock.Image, error) {
	var out []lock.Image
	for _, r := range requests {
		pin := k.pinRemote
		if r.local.source != "" {
			pin = k.pinLocalImage
		}
		image, err := pin(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("resolving container image %s: %w", r.name, err)
		}
		if len(image.Layers) > maxLayers {
			return nil, fmt.Errorf("resolving container image %s: it has %d layers, and the overlay file system takes %d", r.name, len(image.Layers), maxLayers)
		}
		out = append(out, image)
	}
	return out, nil
}

// repository is one repository of a registry.
type repository struct {
	repo    name.Repository
	options []remote.Option
}

func (k Kit) repository(ctx context.Context, ref name.Reference) repository {
	return repository{repo: ref.Context(), options: []remote.Option{remote.WithContext(ctx), remote.WithTransport(k.Client.Transport())}}
}

// parse reads a reference whose registry is named, as validation wants it.
func parse(image string) (name.Reference, error) {
	return name.ParseReference(image, name.WithDefaultTag(""))
}

func (k Kit) pinRemote(ctx context.Context, r imageRequest) (lock.Image, error) {
	ref, err := parse(r.name)
	if err != nil {
		return lock.Image{}, err
	}
	reg := k.repository(ctx, ref)
	_, exact := ref.(name.Digest)
	image := lock.Image{Name: r.name, TrustOnFirstUse: !exact}
	desc, err := remote.Get(ref, reg.options...)
	if err != nil {
		return lock.Image{}, unreachable(ref, err)
	}
	if desc.MediaType.IsIndex() {
		index, err := k.keep(desc.Manifest, reg.manifestURL)
		if err != nil {
			return lock.Image{}, err
		}
		image.Index = &index
		child, err := choose(desc.Manifest, r.platform)
		if err != nil {
			return lock.Image{}, err
		}
		if desc, err = remote.Get(reg.repo.Digest(child.Digest.String()), reg.options...); err != nil {
			return lock.Image{}, err
		}
	}
	if !desc.MediaType.IsImage() {
		return lock.Image{}, fmt.Errorf("its manifest is of type %s, which is not supported; Docker schema 2 and OCI are", desc.MediaType)
	}
	return k.describe(image, desc.Manifest, r.platform, reg)
}

// unreachable says what else there is when a registry does not give an image.
func unreachable(ref name.Reference, err error) error {
	return fmt.Errorf("%w; another registry that has it is named with --mirror %s://%s=URL, a local copy with source: archive",
		err, ref.Context().Scheme(), ref.Context().RegistryStr())
}

// describe fills in what the manifest says; the configuration is fetched, since it names the architecture.
func (k Kit) describe(image lock.Image, manifest []byte, want v1.Platform, reg repository) (lock.Image, error) {
	m, err := parseManifest(manifest)
	if err != nil {
		return lock.Image{}, err
	}
	if image.Manifest, err = k.keep(manifest, reg.manifestURL); err != nil {
		return lock.Image{}, err
	}
	image.Config = reg.blob(m.Config)
	for _, l := range m.Layers {
		image.Layers = append(image.Layers, reg.blob(l))
	}
	if err := k.pull(reg, image.Config); err != nil {
		return lock.Image{}, err
	}
	return image, k.checkPlatform(image, want)
}

func (k Kit) keep(raw []byte, url func(cas.Digest) string) (lock.Blob, error) {
	digest, err := k.Store.PutBytes(raw)
	if err != nil || url == nil {
		return lock.Blob{SHA256: digest, Size: int64(len(raw))}, err
	}
	return lock.Blob{SHA256: digest, Size: int64(len(raw)), URL: url(digest)}, nil
}

func (r repository) manifestURL(d cas.Digest) string { return r.url("manifests", d) }

func (r repository) url(kind string, d cas.Digest) string {
	return r.repo.Scheme() + "://" + r.repo.RegistryStr() + "/v2/" + r.repo.RepositoryStr() + "/" + kind + "/sha256:" + string(d)
}

func (r repository) blob(d v1.Descriptor) lock.Blob {
	digest := cas.Digest(d.Digest.Hex)
	return lock.Blob{SHA256: digest, Size: d.Size, URL: r.url("blobs", digest)}
}

// parseManifest refuses what can't be unpacked.
func parseManifest(raw []byte) (*v1.Manifest, error) {
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("its manifest has %d bytes, more than %d", len(raw), maxManifest)
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if d.Digest.Algorithm != "sha256" {
			return nil, fmt.Errorf("reading its manifest: %s has a digest of kind %q; sha256 is supported", d.MediaType, d.Digest.Algorithm)
		}
		if _, err := cas.ParseDigest(d.Digest.Hex); err != nil || d.Size < 0 {
			return nil, fmt.Errorf("reading its manifest: %s has %d bytes and digest %q", d.MediaType, d.Size, d.Digest)
		}
	}
	for _, l := range m.Layers {
		if !l.MediaType.IsLayer() || !l.MediaType.IsDistributable() {
			return nil, fmt.Errorf("a layer is of type %s, which is no file system", l.MediaType)
		}
	}
	return m, nil
}

// choose finds the manifest of an architecture in an index.
func choose(raw []byte, want v1.Platform) (v1.Descriptor, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading its index: %w", err)
	}
	var have []string
	for _, d := range index.Manifests {
		if d.Platform != nil && d.MediaType.IsImage() && d.Platform.Satisfies(want) {
			return d, nil
		}
		if d.Platform != nil {
			have = append(have, d.Platform.String())
		}
	}
	slices.Sort(have)
	return v1.Descriptor{}, fmt.Errorf("it is not there for %s; it is for %s", want, strings.Join(have, ", "))
}

// checkPlatform catches an image of one architecture that is the wrong one.
func (k Kit) checkPlatform(image lock.Image, want v1.Platform) error {
	c, err := k.config(image)
	if err != nil {
		return err
	}
	if c.Architecture != want.Architecture || c.OS != want.OS {
		return fmt.Errorf("it is for %s/%s and the profile for %s", c.OS, c.Architecture, want)
	}
	if len(c.RootFS.DiffIDs) != len(image.Layers) {
		return fmt.Errorf("its configuration names %d layers and its manifest %d", len(c.RootFS.DiffIDs), len(image.Layers))
	}
	return nil
}

func (k Kit) config(image lock.Image) (*v1.ConfigFile, error) { return readConfig(k.Store, image) }

func readConfig(store *cas.Store, image lock.Image) (*v1.ConfigFile, error) {
	raw, err := store.ReadAll(image.Config.SHA256, maxConfig)
	if err != nil {
		return nil, err
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	return c, nil
}

// fetchImages pulls what the store lacks of the pinned images.
func (k Kit) fetchImages(ctx context.Context, requests []imageRequest, images []lock.Image) error {
	for _, r := range requests {
		i := slices.IndexFunc(images, func(i lock.Image) bool { return i.Name == r.name })
		if i < 0 {
			return fmt.Errorf("the lock pins no container image %s; lock again", r.name)
		}
		missing := slices.DeleteFunc(images[i].Blobs(), func(b lock.Blob) bool { return k.Store.Intact(b.SHA256) })
		if len(missing) == 0 {
			continue
		}
		fetch := k.pullAll
		if r.local.source != "" {
			fetch = k.readAgain
		}
		if err := fetch(ctx, r, images[i], missing); err != nil {
			return fmt.Errorf("fetching container image %s: %w", r.name, err)
		}
	}
	return nil
}

func (k Kit) pullAll(ctx context.Context, r imageRequest, _ lock.Image, missing []lock.Blob) error {
	ref, err := parse(r.name)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(pulls)
	reg := k.repository(ctx, ref)
	for _, b := range missing {
		g.Go(func() error { return k.pull(reg, b) })
	}
	return g.Wait()
}

// pull brings one part of an image into the store.
func (k Kit) pull(reg repository, b lock.Blob) error {
	if k.Store.Intact(b.SHA256) {
		return nil
	}
	ref := reg.repo.Digest("sha256:" + string(b.SHA256))
	if strings.Contains(b.URL, "/manifests/") {
		d, err := remote.Get(ref, reg.options...)
		if err != nil {
			return err
		}
		return k.Store.PutVerified(bytes.NewReader(d.Manifest), b.SHA256, b.Size)
	}
	layer, err := remote.Layer(ref, reg.options...)
	if err != nil {
		return err
	}
	body, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer body.Close()
	task := k.task(ref.Context().String()+" "+b.SHA256.Short(), b.Size)
	err = k.putVerified(&counted{body, task}, b, ref.String())
	if err != nil && strings.Contains(err.Error(), "error verifying") { // the registry's client was first to notice
		err = &cas.MismatchError{Name: ref.String(), Want: b.SHA256, Got: "other bytes", WantSize: -1}
	}
	task.Done(err)
	return err
}

func (k Kit) task(name string, size int64) progress.Task {
	if k.Report == nil {
		return progress.Discard{}.Task(name, size, progress.Bytes)
	}
	return k.Report.Task(name, size, progress.Bytes)
}

// counted tells how far a download is.
type counted struct {
	r    io.Reader
	task progress.Task
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.task.Add(int64(n))
	return n, err
}

func (k Kit) putVerified(r io.Reader, b lock.Blob, what string) error {
	if err := k.Store.PutVerified(r, b.SHA256, b.Size); err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}
