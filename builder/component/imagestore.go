package component

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

// imagesDir holds what the components called NAME preload: the store NAME for CRI-O, or the
// archive NAME.tar for containerd.
const imagesDir = "/usr/lib/edgebake/images"

// Compressions as containers/storage numbers them (pkg/archive).
const (
	asPlain = 0
	asGzip  = 2
	asZstd  = 4
)

// storedLayer is an entry of layers.json (containers/storage 1.20 to 1.59, layers.go).
type storedLayer struct {
	ID               string    `json:"id"`
	Parent           string    `json:"parent,omitempty"`
	Created          time.Time `json:"created"`
	CompressedDigest string    `json:"compressed-diff-digest,omitempty"`
	CompressedSize   int64     `json:"compressed-size,omitempty"`
	Digest           string    `json:"diff-digest"`
	Size             int64     `json:"diff-size"`
	Compression      int       `json:"compression,omitempty"`
}

// storedImage is an entry of images.json (containers/storage, images.go).
type storedImage struct {
	ID             string            `json:"id"`
	Digest         string            `json:"digest"`
	Names          []string          `json:"names"`
	Layer          string            `json:"layer"`
	Metadata       string            `json:"metadata"`
	BigDataNames   []string          `json:"big-data-names"`
	BigDataSizes   map[string]int64  `json:"big-data-sizes"`
	BigDataDigests map[string]string `json:"big-data-digests"`
	Created        time.Time         `json:"created"`
}

// images lays the component's container images out for a runtime.
func (s *site) images(name, runtime string) error {
	if runtime == "containerd" {
		return s.imageArchive(name)
	}
	w := imageStore{site: s, dir: path.Join(imagesDir, name), links: map[string]string{}, key: regexp.MustCompile(`^[a-z0-9.]+$`)}
	for _, i := range s.pin.Images {
		if err := w.add(i); err != nil {
			return fmt.Errorf("laying out container image %s: %w", i.Name, err)
		}
	}
	return w.finish()
}

// imageStore writes a read-only additional image store of containers/storage's overlay driver.
type imageStore struct {
	*site
	dir    string
	layers []storedLayer
	images []storedImage
	// links are the short names of layers by ID.
	links map[string]string
	key   *regexp.Regexp
}

func (w *imageStore) add(i lock.Image) error {
	config, err := readConfig(w.store, i)
	if err != nil {
		return err
	}
	created := config.Created.UTC()
	if config.Created.IsZero() {
		created = time.Unix(w.epoch, 0).UTC()
	}
	if len(config.RootFS.DiffIDs) != len(i.Layers) {
		return fmt.Errorf("its configuration names %d layers and the lock %d", len(config.RootFS.DiffIDs), len(i.Layers))
	}
	var chain []string // layer IDs, the lowest first
	for n, blob := range i.Layers {
		if chain, err = w.layer(chain, blob, cas.Digest(config.RootFS.DiffIDs[n].Hex), created); err != nil {
			return err
		}
	}
	top := ""
	if len(chain) > 0 {
		top = chain[len(chain)-1]
	}
	return w.image(i, top, created)
}

// layer adds the layer on top of chain, unless it is there, and returns the longer chain.
func (w *imageStore) layer(chain []string, blob lock.Blob, diffID cas.Digest, created time.Time) ([]string, error) {
	l := storedLayer{ID: string(diffID), Created: created, Digest: "sha256:" + string(diffID)}
	if len(chain) > 0 {
		// The rule of containers/image: later pulls find the layer by it.
		l.Parent = chain[len(chain)-1]
		l.ID = string(cas.Of([]byte(l.Parent + "+" + string(diffID))))
	}
	if _, ok := w.links[l.ID]; ok {
		return append(chain, l.ID), nil
	}
	u, cached, err := unpack(w.store, blob.SHA256, maxUnpacked)
	if err != nil {
		return nil, fmt.Errorf("unpacking layer %s: %w", blob.SHA256.Short(), err)
	}
	w.cached = w.cached && cached
	if u.Blob != diffID {
		return nil, &cas.MismatchError{Name: "layer " + blob.SHA256.Short() + " without its compression", Want: diffID, Got: u.Blob, WantSize: -1}
	}
	if l.Size = u.Size; u.Blob != blob.SHA256 {
		l.CompressedDigest, l.CompressedSize = "sha256:"+string(blob.SHA256), blob.Size
	}
	if l.Compression, err = compressionOf(w.store, blob.SHA256); err != nil {
		return nil, err
	}
	if err := w.diff(l.ID, u); err != nil {
		return nil, fmt.Errorf("unpacking layer %s: %w", blob.SHA256.Short(), err)
	}
	w.describe(l.ID, chain)
	w.layers = append(w.layers, l)
	return append(chain, l.ID), nil
}

// compressionOf recognises the compressions that layers have.
func compressionOf(store *cas.Store, d cas.Digest) (int, error) {
	b, err := store.Open(d)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	head := make([]byte, min(4, b.Size()))
	if _, err := b.ReadAt(head, 0); err != nil {
		return 0, fmt.Errorf("reading layer %s: %w", d.Short(), err)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return asGzip, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return asZstd, nil
	}
	return asPlain, nil
}

// private adds a directory of the store itself.
func (w *imageStore) private(p string) {
	w.b.Add(tree.Entry{Path: inTree(path.Join(w.dir, p)), Type: tree.Dir, Mode: 0o700, MTime: tree.Time{Sec: w.epoch}})
}

// describe writes what the overlay driver keeps beside a layer's content: the short name, which
// keeps mount options below a page, and the chain of those below.
func (w *imageStore) describe(id string, chain []string) {
	sum := sha256.Sum256([]byte(id))
	w.links[id] = base32.StdEncoding.EncodeToString(sum[:])[:26]
	at := path.Join(w.dir, "overlay", id)
	w.private("overlay/" + id)
	w.text(at+"/link", 0o644, w.links[id])
	w.link(path.Join(w.dir, "overlay/l", w.links[id]), "../"+id+"/diff")
	w.private("overlay/" + id + "/work")
	w.private("overlay/" + id + "/merged")
	if len(chain) == 0 {
		w.private("overlay/" + id + "/empty")
		return
	}
	var lower []string
	for _, below := range slices.Backward(chain) {
		lower = append(lower, "l/"+w.links[below])
	}
	w.text(at+"/lower", 0o644, strings.Join(lower, ":"))
}

// diff adds a layer's content, with whiteouts as the overlay file system has them.
func (w *imageStore) diff(id string, u unpacked) error {
	in, err := w.store.Open(u.Blob)
	if err != nil {
		return err
	}
	defer in.Close()
	if u.Size > 0 {
		if err := countMembers(in.Reader()); err != nil && !strings.Contains(err.Error(), "an empty one") {
			return err
		}
	}
	t, err := tree.FromTar(u.Blob, in, u.Size)
	if err != nil {
		return err
	}
	entries, err := overlayForm(t)
	if err != nil {
		return err
	}
	root := inTree(path.Join(w.dir, "overlay", id, "diff"))
	for _, e := range entries {
		if e.Type == tree.Hardlink {
			e.Link = path.Join(root, e.Link)
		}
		e.Path = path.Join(root, e.Path)
		w.b.Add(e)
	}
	return nil
}

func (w *imageStore) image(i lock.Image, top string, created time.Time) error {
	id := string(i.Config.SHA256)
	at := slices.IndexFunc(w.images, func(s storedImage) bool { return s.ID == id })
	if at < 0 {
		w.images = append(w.images, storedImage{ID: id, Digest: "sha256:" + string(i.Manifest.SHA256), Layer: top, Metadata: "{}", Created: created,
			Names: []string{}, BigDataSizes: map[string]int64{}, BigDataDigests: map[string]string{}})
		at = len(w.images) - 1
		w.bigData(&w.images[at], "sha256:"+id, i.Config)
		w.bigData(&w.images[at], "manifest", i.Manifest)
	}
	s := &w.images[at]
	for _, n := range profile.ImageNames(i.Name) {
		if !slices.Contains(s.Names, n) {
			s.Names = append(s.Names, n)
		}
	}
	// Every item that begins with manifest is searched for digests: so the image is found by that
	// of its manifest and by that of the index.
	w.bigData(s, "manifest-sha256:"+string(i.Manifest.SHA256), i.Manifest)
	if i.Index != nil {
		w.bigData(s, "manifest-sha256:"+string(i.Index.SHA256), *i.Index)
	}
	return nil
}

// bigData adds a file of the image under containers/storage's name for the key.
func (w *imageStore) bigData(s *storedImage, key string, b lock.Blob) {
	if slices.Contains(s.BigDataNames, key) {
		return
	}
	s.BigDataNames = append(s.BigDataNames, key)
	s.BigDataSizes[key], s.BigDataDigests[key] = b.Size, "sha256:"+string(b.SHA256)
	file := key
	if !w.key.MatchString(key) {
		file = "=" + base64.StdEncoding.EncodeToString([]byte(key))
	}
	dir := path.Join("overlay-images", s.ID)
	w.private(dir)
	w.b.Add(tree.Entry{Path: inTree(path.Join(w.dir, dir, file)), Type: tree.File, Mode: 0o600, MTime: tree.Time{Sec: w.epoch},
		Content: tree.BlobContent(b.SHA256, 0, b.Size)})
}

// finish writes the lists. The lock files must be there: nothing can make them in a read-only store.
func (w *imageStore) finish() error {
	for _, d := range []string{"", "overlay", "overlay/l", "overlay-images", "overlay-layers"} {
		w.private(d)
	}
	for name, list := range map[string]any{"overlay-images/images": w.images, "overlay-layers/layers": w.layers} {
		b, err := json.Marshal(list)
		if err != nil {
			return err
		}
		w.text(path.Join(w.dir, name+".json"), 0o600, string(b))
		w.text(path.Join(w.dir, name+".lock"), 0o644, "")
	}
	return nil
}

// imageStores are the additional image stores that the profile's components make for CRI-O.
func imageStores(p profile.Profile) []string {
	var out []string
	for _, c := range p.Components {
		if c.ContainerImages != nil && c.ContainerImages.For() == "crio" || c.CRIO != nil && c.CRIO.PreloadsPause(p) ||
			c.Kubernetes != nil && c.Kubernetes.Preload() && c.Kubernetes.For() == "crio" {
			out = append(out, path.Join(imagesDir, c.Name))
		}
	}
	return out
}
