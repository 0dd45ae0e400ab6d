// Package lock pins every input of an image.
//
// A Lock lists each input with its size and SHA-256: packages, components, the guest's kernel. An
// image is a function of its lock. Resolve makes a Lock from a profile; Check says whether a lock
// still belongs to a profile. Locks hold archive-relative paths, never the host that served them.
package lock

import (
	"slices"

	"github.com/edgebake/edgebake/builder/cas"
)

// Version is the version of the file format.
const Version = 1

// Lock is the content of a *.lock.json file.
type Lock struct {
	Version int `json:"version"`
	// Profile is the profile's name; ProfileDigest covers all of its effective content that decides bytes.
	Profile       string     `json:"profile"`
	ProfileDigest cas.Digest `json:"profileDigest"`
	// RequestDigest covers the part of it that says what to install. While that stays, a changed
	// overlay or setting needs no new versions: see Keep.
	RequestDigest cas.Digest `json:"requestDigest"`
	Arch          string     `json:"arch"`
	// Epoch is the time, in seconds since 1970, that the image's files and file systems carry: the
	// newest Date of the archives' Release files, or that of the lock on top of which this one was made.
	Epoch int64 `json:"epoch"`
	// Base is the image to start from; nil when the image is made from packages alone.
	Base *Base `json:"base,omitempty"`
	// Archives are the apt sources as they were: Source is the profile's name. A lock that was made on top of another
	// has, behind its own, those of the lower layer as they were then, for its packages' sake.
	Archives []Archive `json:"archives"`
	// Packages of the image, in the order of the solver (dependencies first). A name is there twice when a package of the
	// lower layer is replaced by one of the upper: see Installed.
	Packages []Package `json:"packages"`
	// Guest are the packages that the configuring guest boots from: kernel and static busybox.
	Guest []Package `json:"guest"`
	// Host are packages of which programs run on the machine that bakes, by its architecture: the image's version of
	// Python, which byte-compiles there what an emulated processor would take long for. What is in the image does not depend on them.
	Host map[string][]Package `json:"host,omitempty"`
	// Components by the profile's names.
	Components []Component `json:"components,omitempty"`
}

// Archive is one suite of an apt source.
type Archive struct {
	Source  string     `json:"source"`
	URL     string     `json:"url"`
	Suite   string     `json:"suite"`
	Date    string     `json:"date"`
	Release cas.Digest `json:"release"`
	// Snapshot is the base URL of the distribution's snapshot archive, without a date.
	Snapshot string `json:"snapshot,omitempty"`
}

// Package is one .deb.
type Package struct {
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Arch    string     `json:"arch"`
	Archive int        `json:"archive"` // index into Lock.Archives
	Path    string     `json:"path"`    // relative to the archive's URL
	Size    int64      `json:"size"`
	SHA256  cas.Digest `json:"sha256"`
	// Reason says why the package is in the set: "requested", "essential", or "NAME depends".
	Reason string `json:"reason,omitempty"`
	// Upgrades is the version in the base image, or in the lower layer, that this one replaces.
	Upgrades string `json:"upgrades,omitempty"`
	// Layer is 1 for what is installed when all others are configured: see Layers.
	Layer int `json:"layer,omitempty"`
}

// Layers are the packages that are configured together: those that the profile's parents ask for, with all that they
// depend on, and those that only the profile's own file and local files ask for. What is configured of the lower
// layer is kept, and is the same whatever the upper one is. There may be no upper layer.
func (l Lock) Layers() (lower, upper []Package) {
	for _, p := range l.Packages {
		if p.Layer == 0 {
			lower = append(lower, p)
		} else {
			upper = append(upper, p)
		}
	}
	return lower, upper
}

// Installed are the packages that the image has in the end, as if it were locked anew: the new version of a package of
// the lower layer stands in the old one's place, and replaces none.
func (l Lock) Installed() []Package {
	out, upper := l.Layers()
	lower := len(out)
	for _, p := range upper {
		if old := named(out[:lower], p.Name); old != nil {
			p.Layer, p.Upgrades = 0, ""
			*old = p
			continue
		}
		out = append(out, p)
	}
	return out
}

// named returns the package of that name in the list, or nil.
func named(list []Package, name string) *Package {
	i := slices.IndexFunc(list, func(p Package) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// Upgraded are the packages that replace another version, in the base image or in the lower layer.
func (l Lock) Upgraded() []Package {
	var out []Package
	for _, p := range l.Packages {
		if p.Upgrades != "" {
			out = append(out, p)
		}
	}
	return out
}
