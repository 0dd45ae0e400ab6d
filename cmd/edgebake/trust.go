package main

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/edgebake/edgebake/builder/profile"
)

// trust is a key of a mirror that signs what it serves anew (aptly, reprepro): it is accepted
// beside the profile's own for everything whose upstream URL begins with Prefix. It is a setting
// of this machine; locks and images do not know it.
type trust struct {
	Prefix       string   `yaml:"prefix"`
	Keyring      string   `yaml:"keyring"`
	Fingerprints []string `yaml:"fingerprints"`
}

// trust returns l with the keys of the configuration's mirrors. Its digest is another one: take
// that of l itself.
func (env *environment) trust(l profile.Loaded) (profile.Loaded, error) {
	l.Keyrings = maps.Clone(l.Keyrings)
	l.Profile.Apt.Sources = slices.Clone(l.Profile.Apt.Sources)
	for _, t := range env.settings.trust {
		keys, err := os.ReadFile(t.Keyring)
		if err != nil {
			return l, usagef("reading configuration: trust of %s: %w", t.Prefix, err)
		}
		for i := range l.Profile.Apt.Sources {
			s := &l.Profile.Apt.Sources[i]
			if !strings.HasPrefix(s.URL, t.Prefix) {
				continue
			}
			s.Fingerprints = append(slices.Clone(s.Fingerprints), t.Fingerprints...)
			if l.Keyrings[s.Name], err = joinKeys(l.Keyrings[s.Name], keys); err != nil {
				return l, usagef("reading configuration: trust of %s: %w", t.Prefix, err)
			}
		}
		if l.Profile.Base.Image, err = t.image(l, keys); err != nil {
			return l, usagef("reading configuration: trust of %s: %w", t.Prefix, err)
		}
	}
	return l, nil
}

// image is the profile's base image with the mirror's keys; the keyring changes in l.
func (t trust) image(l profile.Loaded, keys []byte) (*profile.BaseImage, error) {
	was := l.Profile.Base.Image
	if was == nil || was.Sums == nil || !slices.ContainsFunc(was.Sums.URLs, func(u string) bool { return strings.HasPrefix(u, t.Prefix) }) {
		return was, nil
	}
	now, sums := *was, *was.Sums
	sums.Fingerprints = append(slices.Clone(sums.Fingerprints), t.Fingerprints...)
	now.Sums = &sums
	joined, err := joinKeys(l.Keyrings[profile.ImageKeyring], keys)
	l.Keyrings[profile.ImageKeyring] = joined
	return &now, err
}

// joinKeys makes one binary keyring of two, either of which may be armored.
func joinKeys(a, b []byte) ([]byte, error) {
	var out bytes.Buffer
	for _, ring := range [][]byte{a, b} {
		list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(ring))
		if err != nil {
			list, err = openpgp.ReadKeyRing(bytes.NewReader(ring))
		}
		if err != nil {
			return nil, err
		}
		for _, key := range list {
			if err := key.Serialize(&out); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), nil
}
