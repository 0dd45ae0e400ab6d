package component

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const archiveVersion = "component.imagearchive/2"

// imageArchive writes the images as one OCI layout in a tar, and a unit that imports it once:
// containerd has no read-only stores.
func (s *site) imageArchive(name string) error {
	u, cached, err := s.ociArchive()
	if err != nil {
		return err
	}
	s.cached = s.cached && cached
	file := path.Join(imagesDir, name+".tar")
	s.add(tree.Entry{Path: inTree(file), Type: tree.File, Mode: 0o644, Content: tree.BlobContent(u.Blob, 0, u.Size)})
	unit := "edgebake-images-" + name + ".service"
	s.text("/usr/lib/systemd/system/"+unit, 0o644, importUnit(name, file))
	s.enable(unit, "/usr/lib/systemd/system/"+unit)
	return nil
}

func importUnit(name, file string) string {
	done := "/var/lib/edgebake/images-" + name
	return `[Unit]
Description=Import the container images ` + name + ` into containerd
ConditionPathExists=!` + done + `
Requires=containerd.service
After=containerd.service
Before=edgecore.service kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ctr --namespace k8s.io images import ` + file + `
ExecStartPost=/bin/sh -c 'mkdir -p /var/lib/edgebake && : >` + done + `'

[Install]
WantedBy=multi-user.target
`
}

func (s *site) ociArchive() (u unpacked, cached bool, err error) {
	key, err := json.Marshal([]any{archiveVersion, s.pin.Images, s.epoch})
	if err != nil {
		return unpacked{}, false, err
	}
	if saved, ok, err := s.store.Result(cas.Of(key)); err == nil && ok && json.Unmarshal(saved, &u) == nil && s.store.Intact(u.Blob) {
		return u, true, nil
	}
	w, err := s.store.Create()
	if err != nil {
		return unpacked{}, false, err
	}
	defer w.Abort() // does nothing after Commit
	if err := s.writeArchive(w); err != nil {
		return unpacked{}, false, err
	}
	u.Size = w.Size()
	if u.Blob, err = w.Commit(); err != nil {
		return unpacked{}, false, err
	}
	value, err := json.Marshal(u)
	if err != nil {
		return unpacked{}, false, err
	}
	return u, false, s.store.SaveResult(cas.Of(key), value)
}

func (s *site) writeArchive(out io.Writer) error {
	w := tar.NewWriter(out)
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	blobs := map[cas.Digest]lock.Blob{}
	for _, i := range s.pin.Images {
		m, err := s.manifestOf(i)
		if err != nil {
			return err
		}
		for _, name := range profile.ImageNames(i.Name) {
			index.Manifests = append(index.Manifests, called(m, name))
		}
		for _, b := range append([]lock.Blob{i.Manifest, i.Config}, i.Layers...) {
			blobs[b.SHA256] = b
		}
	}
	list, err := json.Marshal(index)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", list}} {
		if err := s.member(w, f.name, int64(len(f.text)), bytes.NewReader(f.text)); err != nil {
			return err
		}
	}
	for _, d := range sortedDigests(blobs) {
		if err := s.blobMember(w, blobs[d]); err != nil {
			return err
		}
	}
	return w.Close()
}

// manifestOf describes an image's manifest.
func (s *site) manifestOf(i lock.Image) (v1.Descriptor, error) {
	raw, err := s.store.ReadAll(i.Manifest.SHA256, maxManifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	kind := m.MediaType
	if kind == "" {
		kind = types.OCIManifestSchema1
	}
	return descriptor(kind, i.Manifest), nil
}

// called adds a name in the two ways that importers look for one.
func called(d v1.Descriptor, name string) v1.Descriptor {
	d.Annotations = map[string]string{"io.containerd.image.name": name}
	if _, tag, ok := strings.Cut(path.Base(name), ":"); ok && !strings.Contains(name, "@") {
		d.Annotations["org.opencontainers.image.ref.name"] = tag
	}
	return d
}

func (s *site) blobMember(w *tar.Writer, b lock.Blob) error {
	in, err := s.store.Open(b.SHA256)
	if err != nil {
		return err
	}
	defer in.Close()
	return s.member(w, "blobs/sha256/"+string(b.SHA256), in.Size(), in.Reader())
}

func (s *site) member(w *tar.Writer, name string, size int64, r io.Reader) error {
	h := &tar.Header{Name: name, Size: size, Mode: 0o644, Typeflag: tar.TypeReg, ModTime: time.Unix(s.epoch, 0).UTC(), Format: tar.FormatUSTAR}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

func sortedDigests(blobs map[cas.Digest]lock.Blob) []cas.Digest {
	out := make([]cas.Digest, 0, len(blobs))
	for d := range blobs {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}
