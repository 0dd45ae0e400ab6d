package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/edgebake/edgebake/builder/profile"
)

// A mirror's key, armored or not, is accepted for what begins with its prefix, and for nothing else;
// the profile that was loaded, whose digest goes into locks, stays as it is.
func TestTrustIsForItsPrefix(t *testing.T) {
	key, err := openpgp.NewEntity("Mirror", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "mirror.asc")
	if err := os.WriteFile(name, armored.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	const mine = "0123456789ABCDEF0123456789ABCDEF01234567"
	for _, tt := range []struct {
		profile, prefix string
		source, image   bool
	}{
		{"edge-rpi-ubuntu-20.04", "http://ports.ubuntu.com", true, false},
		{"edge-rpi-ubuntu-20.04", "https://cdimage.ubuntu.com", false, true},
		{"edge-rpi-debian-12", "http://ports.ubuntu.com", false, false},
	} {
		before, err := profile.Load(t.Context(), profile.Options{Name: tt.profile})
		if err != nil {
			t.Fatal(err)
		}
		digest, err := profile.Digest(before)
		if err != nil {
			t.Fatal(err)
		}
		env := &environment{settings: settings{trust: []trust{{tt.prefix, name, []string{mine}}}}}
		after, err := env.trust(before)
		if err != nil {
			t.Fatal(err)
		}
		source := after.Profile.Apt.Sources[0]
		if got := slices.Contains(source.Fingerprints, mine); got != tt.source {
			t.Errorf("%s, %s: the source trusts the mirror: %v", tt.profile, tt.prefix, got)
		}
		grown := len(after.Keyrings[source.Name]) > len(before.Keyrings[source.Name])
		if grown != tt.source {
			t.Errorf("%s, %s: the source's keyring grew: %v", tt.profile, tt.prefix, grown)
		}
		image := after.Profile.Base.Image
		if got := image != nil && slices.Contains(image.Sums.Fingerprints, mine); got != tt.image {
			t.Errorf("%s, %s: the image trusts the mirror: %v", tt.profile, tt.prefix, got)
		}
		if now, err := profile.Digest(before); err != nil || now != digest {
			t.Errorf("%s, %s: the loaded profile has changed: %v", tt.profile, tt.prefix, err)
		}
	}
}
