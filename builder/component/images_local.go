package component

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
)

// imageDir are the files of an OCI image layout, or of docker save's archive.
type imageDir struct {
	open  func(path string) (io.ReadCloser, error)
	close func() error
}

func (k Kit) openImages(r imageRequest) (imageDir, error) {
	if dir, ok := strings.CutSuffix(k.localPath(r.local), "index.json"); ok {
		root, err := os.OpenRoot(dir) // a link in the layout can't lead out of it
		if err != nil {
			return imageDir{}, err
		}
		return imageDir{open: func(p string) (io.ReadCloser, error) { return root.Open(p) }, close: root.Close}, nil
	}
	digest, _, err := k.putLocal(r.local)
	if err != nil {
		return imageDir{}, err
	}
	u, _, err := unpack(k.Store, digest, maxUnpacked)
	if err != nil {
		return imageDir{}, fmt.Errorf("unpacking %s: %w", r.local.source, err)
	}
	blob, err := k.Store.Open(u.Blob)
	if err != nil {
		return imageDir{}, err
	}
	if err := countMembers(blob.Reader()); err != nil {
		return imageDir{}, fmt.Errorf("unpacking %s: %w", r.local.source, err)
	}
	t, err := tree.FromTar(u.Blob, blob, u.Size)
	if err != nil {
		return imageDir{}, fmt.Errorf("unpacking %s: %w", r.local.source, err)
	}
	return imageDir{open: inArchive(t, blob), close: blob.Close}, nil
}

// inArchive opens members of an archive; old docker save writes layers that it has twice as links.
func inArchive(t tree.Tree, blob *cas.Blob) func(string) (io.ReadCloser, error) {
	return func(p string) (io.ReadCloser, error) {
		e, ok := t.Lookup(p)
		if ok && e.Type == tree.Symlink {
			e, ok = t.Lookup(tree.LinkTarget(p, e.Link))
		}
		if ok && e.Type == tree.Hardlink {
			e, ok = t.Lookup(e.Link)
		}
		if !ok || e.Type != tree.File {
			return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
		}
		if len(e.Content.Extents) == 0 {
			return io.NopCloser(strings.NewReader("")), nil
		}
		x := e.Content.Extents[0]
		return io.NopCloser(io.NewSectionReader(blob, x.Offset, x.Length)), nil
	}
}

func (d imageDir) readAll(p string, limit int64) ([]byte, error) {
	r, err := d.open(p)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("reading %s: it has more than %d bytes", p, limit)
	}
	return b, err
}

// pinLocalImage puts all of an image into the store.
func (k Kit) pinLocalImage(_ context.Context, r imageRequest) (lock.Image, error) {
	d, err := k.openImages(r)
	if err != nil {
		return lock.Image{}, err
	}
	defer d.close() // opened for reading only
	if index, err := d.readAll("index.json", maxManifest); err == nil {
		return k.pinLayout(d, index, r)
	}
	list, err := d.readAll("manifest.json", maxManifest)
	if err != nil {
		return lock.Image{}, fmt.Errorf("%s is neither an OCI image layout nor what docker save writes: it has no index.json and no manifest.json", r.local.source)
	}
	return k.pinDocker(d, list, r)
}

// pinLayout reads an OCI image layout (image-spec, image-layout.md).
func (k Kit) pinLayout(d imageDir, index []byte, r imageRequest) (lock.Image, error) {
	image := lock.Image{Name: r.name, Source: r.local.source}
	desc, err := namedIn(index, r.name)
	if err != nil {
		return lock.Image{}, err
	}
	raw, err := d.readAll(blobPath(desc), maxManifest)
	if err != nil {
		return lock.Image{}, err
	}
	if desc.MediaType.IsIndex() {
		kept, err := k.keep(raw, nil)
		if err != nil {
			return lock.Image{}, err
		}
		image.Index = &kept
		if desc, err = choose(raw, r.platform); err != nil {
			return lock.Image{}, err
		}
		if raw, err = d.readAll(blobPath(desc), maxManifest); err != nil {
			return lock.Image{}, err
		}
	}
	m, err := parseManifest(raw)
	if err != nil {
		return lock.Image{}, err
	}
	if image.Manifest, err = k.keep(raw, nil); err != nil {
		return lock.Image{}, err
	}
	if string(image.Manifest.SHA256) != desc.Digest.Hex {
		return lock.Image{}, &cas.MismatchError{Name: "manifest", Want: cas.Digest(desc.Digest.Hex), Got: image.Manifest.SHA256, WantSize: -1}
	}
	if image.Config, err = k.copyBlob(d, m.Config); err != nil {
		return lock.Image{}, err
	}
	for _, l := range m.Layers {
		b, err := k.copyBlob(d, l)
		if err != nil {
			return lock.Image{}, err
		}
		image.Layers = append(image.Layers, b)
	}
	return image, k.checkPlatform(image, r.platform)
}

func blobPath(d v1.Descriptor) string { return "blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex }

func (k Kit) copyBlob(d imageDir, desc v1.Descriptor) (lock.Blob, error) {
	b := lock.Blob{SHA256: cas.Digest(desc.Digest.Hex), Size: desc.Size}
	r, err := d.open(blobPath(desc))
	if err != nil {
		return lock.Blob{}, err
	}
	defer r.Close()
	return b, k.putVerified(r, b, blobPath(desc))
}

// namedIn finds an image in an index.json by the names that its writers give: containerd the whole
// one, others the whole or the tag alone. A single image needs no name.
func namedIn(index []byte, image string) (v1.Descriptor, error) {
	list, err := v1.ParseIndexManifest(bytes.NewReader(index))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading index.json: %w", err)
	}
	var have []string
	for _, d := range list.Manifests {
		whole, short := d.Annotations["io.containerd.image.name"], d.Annotations["org.opencontainers.image.ref.name"]
		if whole == image || short == image || strings.HasSuffix(image, "@"+d.Digest.String()) ||
			whole == "" && short != "" && strings.HasSuffix(image, ":"+short) {
			return d, nil
		}
		have = append(have, whole+" "+short)
	}
	if len(list.Manifests) == 1 && strings.TrimSpace(have[0]) == "" {
		return list.Manifests[0], nil
	}
	slices.Sort(have)
	return v1.Descriptor{}, fmt.Errorf("index.json has no such image; it has %q", have)
}

// pinDocker reads docker save's archive (manifest.json). Its layers are uncompressed, so the
// manifest of the registry is lost and one is made that names them as they are.
func (k Kit) pinDocker(d imageDir, list []byte, r imageRequest) (lock.Image, error) {
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(list, &images); err != nil {
		return lock.Image{}, fmt.Errorf("reading manifest.json: %w", err)
	}
	var have []string
	for _, i := range images {
		have = append(have, i.RepoTags...)
		if !slices.ContainsFunc(i.RepoTags, func(tag string) bool { return sameName(tag, r.name) }) {
			continue
		}
		return k.pinDockerImage(d, i.Config, i.Layers, r)
	}
	return lock.Image{}, fmt.Errorf("manifest.json has no such image; it has %q", have)
}

// sameName compares docker's short names with whole ones.
func sameName(a, b string) bool {
	x, errA := name.ParseReference(a)
	y, errB := name.ParseReference(b)
	return errA == nil && errB == nil && x.Name() == y.Name()
}

func (k Kit) pinDockerImage(d imageDir, config string, layers []string, r imageRequest) (lock.Image, error) {
	image := lock.Image{Name: r.name, Source: r.local.source}
	raw, err := d.readAll(config, maxConfig)
	if err != nil {
		return lock.Image{}, err
	}
	if image.Config, err = k.keep(raw, nil); err != nil {
		return lock.Image{}, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: descriptor(types.OCIConfigJSON, image.Config)}
	for _, p := range layers {
		b, kind, err := k.putLayer(d, p)
		if err != nil {
			return lock.Image{}, err
		}
		image.Layers = append(image.Layers, b)
		m.Layers = append(m.Layers, descriptor(kind, b))
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return lock.Image{}, err
	}
	if image.Manifest, err = k.keep(manifest, nil); err != nil {
		return lock.Image{}, err
	}
	return image, k.checkPlatform(image, r.platform)
}

func (k Kit) putLayer(d imageDir, p string) (lock.Blob, types.MediaType, error) {
	r, err := d.open(p)
	if err != nil {
		return lock.Blob{}, "", err
	}
	defer r.Close()
	digest, size, err := k.Store.Put(r)
	if err != nil {
		return lock.Blob{}, "", err
	}
	kind, err := compressionOf(k.Store, digest)
	return lock.Blob{SHA256: digest, Size: size}, [...]types.MediaType{asPlain: types.OCIUncompressedLayer, asGzip: types.OCILayer, asZstd: types.OCILayerZStd}[kind], err
}

func descriptor(kind types.MediaType, b lock.Blob) v1.Descriptor {
	return v1.Descriptor{MediaType: kind, Size: b.Size, Digest: v1.Hash{Algorithm: "sha256", Hex: string(b.SHA256)}}
}

// readAgain puts a local image into the store again, for a lock that was made elsewhere.
func (k Kit) readAgain(ctx context.Context, r imageRequest, want lock.Image, _ []lock.Blob) error {
	got, err := k.pinLocalImage(ctx, r)
	if err != nil {
		return err
	}
	if got.Manifest != want.Manifest {
		return &lock.StaleError{Profile: k.Profile.Profile.Name, File: filepath.Clean(r.local.source), Locked: want.Manifest.SHA256, Now: got.Manifest.SHA256}
	}
	return nil
}
