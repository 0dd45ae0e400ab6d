package lock

import (
	"fmt"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
)

// Component is one input that is not a package.
type Component struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Module, Version and Sum of a Go module; Go is the toolchain's version.
	Module  string `json:"module,omitempty"`
	Version string `json:"version,omitempty"`
	Sum     string `json:"sum,omitempty"`
	Go      string `json:"go,omitempty"`
	// Files that are downloaded or lie beside the profile.
	Files []File `json:"files,omitempty"`
	// Images are container images, for the lock's architecture.
	Images []Image `json:"images,omitempty"`
}

// File is one pinned file of a component.
type File struct {
	// Name is the component's own word for the file: archive, keadm-v1.8.2-linux-arm64.tar.gz.
	Name string `json:"name"`
	// URLs that serve it; none for a file of the machine.
	URLs []string `json:"urls,omitempty"`
	// Source is the path of a file of the machine as the profile writes it.
	Source string     `json:"source,omitempty"`
	Size   int64      `json:"size"`
	SHA256 cas.Digest `json:"sha256"`
	// TrustOnFirstUse marks a hash that nobody published: it is what came when the profile was locked.
	TrustOnFirstUse bool `json:"trustOnFirstUse,omitempty"`
}

// Image is one container image for one architecture.
type Image struct {
	// Name is what the profile calls it: registry/repository:tag.
	Name string `json:"name"`
	// Source is the local layout or archive as the profile writes it; none for a registry.
	Source string `json:"source,omitempty"`
	// Index is the digest of the list of architectures that Manifest was taken from, if there is one.
	Index *Blob `json:"index,omitempty"`
	// Manifest and Config are JSON; Layers are as the registry has them, compressed, the lowest first.
	Manifest Blob   `json:"manifest"`
	Config   Blob   `json:"config"`
	Layers   []Blob `json:"layers"`
	// TrustOnFirstUse marks a tag: nobody says what it means, it is what came when the profile was locked.
	TrustOnFirstUse bool `json:"trustOnFirstUse,omitempty"`
}

// Blob is a part of a container image.
type Blob struct {
	SHA256 cas.Digest `json:"sha256"`
	Size   int64      `json:"size"`
	// URL in the registry.
	URL string `json:"url,omitempty"`
}

// Blobs are all parts of the image.
func (i Image) Blobs() []Blob {
	out := []Blob{i.Manifest, i.Config}
	if i.Index != nil {
		out = append(out, *i.Index)
	}
	return append(out, i.Layers...)
}

// Requests are the component's downloads. Files of the machine have no URL: they must be in the
// store before (component.Kit.Fetch).
func (c Component) Requests() []fetch.Request {
	var out []fetch.Request
	for _, f := range c.Files {
		out = append(out, fetch.Request{Name: c.Name + " " + f.Name, URLs: f.URLs, Size: f.Size, Digest: f.SHA256})
	}
	for _, i := range c.Images {
		for _, b := range i.Blobs() {
			r := fetch.Request{Name: i.Name + " " + b.SHA256.Short(), Size: b.Size, Digest: b.SHA256}
			if b.URL != "" {
				r.URLs = []string{b.URL}
			}
			out = append(out, r)
		}
	}
	return out
}

// FirstUse names the inputs whose hash nobody published, as COMPONENT/FILE or COMPONENT/IMAGE.
func (l Lock) FirstUse() []string {
	var out []string
	for _, c := range l.Components {
		for _, f := range c.Files {
			if f.TrustOnFirstUse {
				out = append(out, c.Name+"/"+f.Name)
			}
		}
		for _, i := range c.Images {
			if i.TrustOnFirstUse {
				out = append(out, c.Name+"/"+i.Name)
			}
		}
	}
	return out
}

// check refuses what Requests and a bake could not work with.
func (c Component) check() error {
	for _, r := range c.Requests() {
		if _, err := cas.ParseDigest(string(r.Digest)); err != nil {
			return fmt.Errorf("component %s: %s: %w", c.Name, r.Name, err)
		}
		if r.Size < 0 {
			return fmt.Errorf("component %s: %s has %d bytes", c.Name, r.Name, r.Size)
		}
	}
	return nil
}
