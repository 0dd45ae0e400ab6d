package profile

import (
	"net/url"
	"path"
	"strings"
)

// Base is what an image starts from: the packages of a distribution, or a published image.
type Base struct {
	// Distribution of an image made from packages alone: debian.
	Distribution string `yaml:"distribution,omitempty" json:"distribution,omitempty" jsonschema:"enum=debian"`
	// Suite of the distribution: bookworm.
	Suite string `yaml:"suite,omitempty" json:"suite,omitempty"`
	// Priorities of packages that are always installed: required, important, standard. Essential packages always are.
	Priorities []string `yaml:"priorities,omitempty" json:"priorities,omitempty" jsonschema:"enum=required,enum=important,enum=standard"`
	// Image is a published image to start from, instead of a distribution's packages. Its partitions, labels,
	// identifiers and installed packages stay; what the profile adds is laid over them.
	Image *BaseImage `yaml:"image,omitempty" json:"image,omitempty"`
}

// BaseImage is a published image: raw or qcow2, plain or compressed with xz, gzip or zstd. Its format is known by
// its first bytes.
type BaseImage struct {
	// URLs of the one file, in the order in which they are tried.
	URLs []string `yaml:"urls" json:"urls" jsonschema:"required"`
	// SHA256 of the file as it is downloaded. Without it, sums must say it.
	SHA256 string `yaml:"sha256,omitempty" json:"sha256,omitempty"`
	// Sums is the publisher's signed list of hashes.
	Sums *Sums `yaml:"sums,omitempty" json:"sums,omitempty"`
}

// Sums is a publisher's list of hashes (SHA256SUMS) with a detached OpenPGP signature.
type Sums struct {
	// URLs of the list, in the order in which they are tried; the signature is beside it, under the same name with .gpg.
	URLs []string `yaml:"urls" json:"urls" jsonschema:"required"`
	// Keyring is the file of OpenPGP keys, binary or armored: built-in name or path relative to this file.
	Keyring string `yaml:"keyring" json:"keyring" jsonschema:"required"`
	// Fingerprints of the keys that may sign (40 hexadecimal digits): one good signature of one of them is needed.
	Fingerprints []string `yaml:"fingerprints" json:"fingerprints" jsonschema:"required"`
}

// ImageKeyring is the name of the base image's keyring in Loaded.Keyrings; no apt source can have it.
const ImageKeyring = "base.image"

func (v *validator) base(p Profile, re patterns) {
	b := p.Base
	if b.Image == nil {
		if b.Suite == "" {
			v.missing("base.suite", "bookworm, for instance; or name a published image in base.image")
		}
		return
	}
	if b.Distribution != "" || len(b.Priorities) > 0 {
		v.add("base", "has an image and asks for packages of its own making: leave out distribution and priorities")
	}
	v.urls("base.image.urls", b.Image.URLs)
	v.match("base.image.sha256", b.Image.SHA256, re.sha256, "a SHA-256 has 64 lower-case hexadecimal digits")
	if b.Image.SHA256 == "" && b.Image.Sums == nil {
		v.missing("base.image.sha256", "or base.image.sums, the publisher's signed list")
	}
	for i, u := range b.Image.URLs {
		if first := FileName(b.Image.URLs[0]); FileName(u) != first {
			v.add(at("base.image.urls", i), "names the file %s, and the first URL %s; all must be the same file", FileName(u), first)
		}
	}
	if b.Image.Sums != nil {
		v.sums("base.image.sums", *b.Image.Sums, re)
	}
}

func (v *validator) sums(path string, s Sums, re patterns) {
	v.urls(path+".urls", s.URLs)
	if len(s.Fingerprints) == 0 {
		v.add(path+".fingerprints", "needs at least one: without it, any key of the keyring could sign")
	}
	for i, f := range s.Fingerprints {
		v.match(at(path+".fingerprints", i), f, re.fingerprint, "a fingerprint has 40 hexadecimal digits (gpg --show-keys)")
	}
}

func (v *validator) urls(path string, urls []string) {
	if len(urls) == 0 {
		v.missing(path, "at least one is needed")
	}
	for i, u := range urls {
		if !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "file:///") {
			v.add(at(path, i), "%q must start with http://, https:// or file:///", u)
		}
	}
}

// FileName is the last part of a URL's path, unescaped: what a list of hashes calls the file.
func FileName(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return path.Base(link)
	}
	return path.Base(u.Path)
}
