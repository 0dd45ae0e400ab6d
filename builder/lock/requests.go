package lock

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
)

// Requests are the downloads of a lock: its packages, the guest's and the components' files, each
// digest once. The URLs of a package are upstream's (the client puts mirrors and the
// host's own in front), then the distribution's snapshot archive at the date of the lock: archives drop superseded versions.
func (l Lock) Requests() []fetch.Request {
	var out []fetch.Request
	seen := map[cas.Digest]bool{}
	add := func(r fetch.Request) {
		if r.Digest != "" && !seen[r.Digest] {
			seen[r.Digest] = true
			out = append(out, r)
		}
	}
	if l.Base != nil {
		add(fetch.Request{Name: "base image", URLs: l.Base.URLs, Size: l.Base.Size, Digest: l.Base.SHA256})
	}
	for _, p := range l.all() {
		add(fetch.Request{Name: p.Name + " " + p.Version, URLs: l.packageURLs(p), Size: p.Size, Digest: p.SHA256})
	}
	for _, c := range l.Components {
		for _, r := range c.Requests() {
			add(r)
		}
	}
	return out
}

// all are the packages of the image, the guest, and machines that bake.
func (l Lock) all() []Package {
	out := slices.Concat(l.Packages, l.Guest)
	for _, arch := range slices.Sorted(maps.Keys(l.Host)) {
		out = append(out, l.Host[arch]...)
	}
	return out
}

func (l Lock) packageURLs(p Package) []string {
	a := l.Archives[p.Archive]
	if a.URL == "" {
		return nil // a file of the machine
	}
	out := []string{strings.TrimRight(a.URL, "/") + "/" + p.Path}
	if at, err := time.Parse(time.RFC3339, a.Date); err == nil && a.Snapshot != "" {
		out = append(out, strings.TrimRight(a.Snapshot, "/")+"/"+at.UTC().Format("20060102T150405Z")+"/"+p.Path)
	}
	return out
}
