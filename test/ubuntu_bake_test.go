package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/test/standin"
)

// settings writes a configuration that trusts the keys of the stand-ins as those of mirrors that
// sign anew. Nothing of the profiles changes.
func (u *ubuntu) settings() []string {
	u.t.Helper()
	type trust struct {
		Prefix       string   `json:"prefix"`
		Keyring      string   `json:"keyring"`
		Fingerprints []string `json:"fingerprints"`
	}
	dir := u.t.TempDir()
	var list []trust
	for file, key := range map[string]standin.Key{"image.gpg": u.image, "archive.gpg": u.archive} {
		public, err := key.Public()
		must(u.t, err)
		name := filepath.Join(dir, file)
		must(u.t, os.WriteFile(name, public, 0o644))
		for _, prefix := range []string{"https://cdimage.ubuntu.com", "https://cloud-images.ubuntu.com"} {
			if file == "image.gpg" {
				list = append(list, trust{prefix, name, []string{key.Fingerprint()}})
			}
		}
		for _, prefix := range []string{"http://ports.ubuntu.com", "http://archive.ubuntu.com"} {
			if file == "archive.gpg" {
				list = append(list, trust{prefix, name, []string{key.Fingerprint()}})
			}
		}
	}
	text, err := json.Marshal(map[string]any{"trust": list}) // JSON is YAML
	must(u.t, err)
	config := filepath.Join(dir, "config.yaml")
	must(u.t, os.WriteFile(config, text, 0o644))
	return append(u.flags(), "--config", config)
}

// bake locks and bakes a built-in profile over the stand-ins, nothing of it changed.
func (u *ubuntu) bake(profile string) baked {
	u.t.Helper()
	b, flags, locks := shared(u.t), u.settings(), u.t.TempDir()
	u.run(append([]string{"lock", profile, "--store", b.store, "-o", locks}, flags...)...)
	out := bake(u.t, u.run, profile, b.store, locks, flags...)
	u.t.Logf("%s: SHA-256 %s", profile, digestOf(u.t, out))
	positive(u.t, out)
	checkDisk(u.t, out.image)
	return out
}

// TestBakeUbuntuRaspberryPi bakes the Raspberry Pi edge image from the stand-in of Ubuntu's own
// image and proves it on QEMU's generic board and as a Raspberry Pi 3.
func TestBakeUbuntuRaspberryPi(t *testing.T) {
	run := edgebake(t)
	b := newFocal(t, run, standin.Pi{Point: "20.04.5", Checksums: ext4.MetadataCsum}).bake("edge-rpi-ubuntu-20.04")
	run("boot", b.image, "--check", "--machine", "raspi3b")
	positive(t, b)
}

// TestBakeUbuntuMaster bakes the Kubernetes master from the stand-in of Ubuntu's cloud image and
// proves it under UEFI and a BIOS.
func TestBakeUbuntuMaster(t *testing.T) {
	run := edgebake(t)
	b := newBionic(t, run).bake("master-ubuntu-18.04")
	run("boot", b.image, "--check", "--machine", "pc")
	positive(t, b)
}
