package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
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

// in is u for a subtest.
func (u *ubuntu) in(t *testing.T) *ubuntu {
	v := *u
	v.t = t
	return &v
}

// lockOver locks a profile, built in or a file, over the stand-ins, with more flags (--set). It returns
// the directory of the lock, and all flags that a bake needs, too.
func (u *ubuntu) lockOver(profile string, more ...string) (locks string, l lock.Lock, flags []string) {
	u.t.Helper()
	locks, flags = u.t.TempDir(), append(u.settings(), more...)
	u.run(append([]string{"lock", profile, "--store", shared(u.t).store, "-o", locks}, flags...)...)
	data, err := os.ReadFile(filepath.Join(locks, profileName(profile)+lock.Extension))
	must(u.t, err)
	l, err = lock.Parse(profile, data)
	must(u.t, err)
	return locks, l, flags
}

// pinned is a profile with its lock, and what lockOver returned with it.
type pinned struct {
	profile, locks string
	lock           lock.Lock
	flags          []string
}

func (u *ubuntu) pin(profile string, more ...string) pinned {
	u.t.Helper()
	locks, l, flags := u.lockOver(profile, more...)
	return pinned{profile, locks, l, flags}
}

// bakeIn bakes in a store. It ends in a linted image, and in a verdict without --no-boot.
func (u *ubuntu) bakeIn(store string, p pinned, more ...string) baked {
	u.t.Helper()
	out := bake(u.t, u.run, p.profile, store, p.locks, append(p.flags, more...)...)
	u.t.Logf("%s: SHA-256 %s", p.profile, digestOf(u.t, out))
	if !slices.Contains(more, noBoot) {
		positive(u.t, out)
	}
	return out
}

// bake locks and bakes a profile over the stand-ins, nothing of it changed.
func (u *ubuntu) bake(profile string, more ...string) (baked, lock.Lock) {
	u.t.Helper()
	p := u.pin(profile)
	return u.bakeIn(shared(u.t).store, p, more...), p.lock
}

const noBoot = "--no-boot"

// TestBakeUbuntuRaspberryPi bakes the Raspberry Pi edge image from the stand-in of Ubuntu's own
// image and proves it: on QEMU's generic board with all checks of the profile, and as a Raspberry Pi 3, whose
// boot takes five minutes, that its own command line starts CRI-O there.
func TestBakeUbuntuRaspberryPi(t *testing.T) {
	t.Parallel()
	run := edgebake(t)
	u := newFocal(t, run, standin.Pi{Point: "20.04.5", Checksums: ext4.MetadataCsum})
	t.Run("edge", func(t *testing.T) { edgePi(t, u.in(t)) })
	t.Run("20.04.3", func(t *testing.T) { olderPi(t, u.in(t)) })
}

const piEdge = "edge-rpi-ubuntu-20.04"

func edgePi(t *testing.T, u *ubuntu) {
	p := u.pin(piEdge)
	b := u.bakeIn(shared(t).store, p)
	checkDisk(t, b.image)
	untouched(t, b, p.lock, []int{1, 2}, append(installing(), "boot/firmware/cmdline.txt"))
	t.Run("twice", func(t *testing.T) { same(t, b, u.in(t).bakeIn(shared(t).store, p, noBoot)) }) // the guest's part is interrupted's
	t.Run("over itself", func(t *testing.T) {
		again := standin.Pi{Point: "baked"}
		must(t, u.up.Publish(b.image, u.signing(), again.URL()))
		bakeOver(t, u.in(t), b, u.in(t).pin(piEdge, "--set", "point="+again.Point))
	})
	u.run("boot", b.image, "--check", "--machine", "raspi3b", "--checks", "multi-user,cmdline-flags,memory-cgroup,cri")
	positive(t, b)
}

// TestBakeUbuntuCloud bakes what starts from Ubuntu's cloud image. The Kubernetes master is proved
// under UEFI and a BIOS; the others differ from it in packages and components alone.
func TestBakeUbuntuCloud(t *testing.T) {
	t.Parallel()
	run := edgebake(t)
	u := newBionic(t, run)
	t.Run("master", func(t *testing.T) {
		b, l := u.in(t).bake("master-ubuntu-18.04")
		checkDisk(t, b.image)
		untouched(t, b, l, []int{1}, installing())
		run("boot", b.image, "--check", "--machine", "pc", "--checks", "multi-user,cmdline-flags,cri")
		positive(t, b)
	})
	for _, profile := range []string{"worker-ubuntu-18.04", "edge-ubuntu-18.04"} {
		t.Run(profile, func(t *testing.T) {
			b, l := u.in(t).bake(profile, noBoot)
			untouched(t, b, l, []int{1}, installing())
			notMerged(t, b)
			if profile == "edge-ubuntu-18.04" {
				run("boot", b.image, "--check", "--checks", "joined,token-scrubbed")
				positive(t, b)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) { interrupted(t, u.in(t)) })
}

// notMerged wants the directories that are links where /usr is merged, with what belongs there and no more.
func notMerged(t *testing.T, b baked) {
	t.Helper()
	img, err := image.Open(b.image)
	must(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	must(t, err)
	for _, name := range []string{"bin/sh", "bin/systemctl", "sbin/modprobe", "lib/systemd/systemd", "lib/modules", "lib64/ld-linux-x86-64.so.2"} {
		if _, ok := root.Tree.Lookup(name); !ok {
			t.Errorf("/%s is not there", name)
		}
		if _, ok := root.Tree.Lookup("usr/" + name); ok {
			t.Errorf("/usr/%s is there", name)
		}
	}
}

// untouched compares a baked image with the base that it was made from: partitions that were not
// written anew byte for byte, files one by one. changed are patterns of the files (path.Match, or
// a directory with all below it) that the profile has a reason to change.
func untouched(t *testing.T, b baked, l lock.Lock, rewritten []int, changed []string) {
	t.Helper()
	store, err := cas.Open(shared(t).store)
	must(t, err)
	blob, err := store.Open(l.Base.Raw)
	must(t, err)
	defer blob.Close()
	before, err := image.New(blob, blob.Size(), l.Base.Raw)
	must(t, err)
	defer before.Close()
	after, err := image.Open(b.image)
	must(t, err)
	defer after.Close()
	file, err := os.Open(b.image)
	must(t, err)
	defer file.Close()
	samePartitions(t, before, after, blob, file, rewritten)
	sameFiles(t, before, after, changed)
}

func samePartitions(t *testing.T, before, after *image.Image, a, b io.ReaderAt, rewritten []int) {
	t.Helper()
	if before.ID() != after.ID() || len(before.Partitions()) != len(after.Partitions()) {
		t.Errorf("disk %s with %d partitions became %s with %d", before.ID(), len(before.Partitions()), after.ID(), len(after.Partitions()))
	}
	const code = 440 // bytes of boot code before an MBR's disk identifier
	first, second := make([]byte, code), make([]byte, code)
	_, errFirst := a.ReadAt(first, 0)
	_, errSecond := b.ReadAt(second, 0)
	if must(t, errors.Join(errFirst, errSecond)); !bytes.Equal(first, second) {
		t.Error("the boot code is another one")
	}
	for i, p := range before.Partitions() {
		q := after.Partitions()[i]
		same := p
		same.Size = q.Size // the last one grows
		if q != same {
			t.Errorf("partition %d was %+v and is %+v", p.Number, p, q)
		}
		if slices.Contains(rewritten, p.Number) {
			continue
		}
		x, y := sha256.New(), sha256.New()
		_, errX := io.Copy(x, io.NewSectionReader(a, p.Start, p.Size))
		_, errY := io.Copy(y, io.NewSectionReader(b, q.Start, p.Size))
		if must(t, errors.Join(errX, errY)); !bytes.Equal(x.Sum(nil), y.Sum(nil)) {
			t.Errorf("partition %d, which nobody had a reason to write, has other bytes", p.Number)
		}
	}
}

// sameFiles compares the files with all that they have, and the directories, in which others may have
// been made, with their modes and owners.
func sameFiles(t *testing.T, before, after *image.Image, changed []string) {
	t.Helper()
	old, err := before.Root(t.Context())
	must(t, err)
	now, err := after.Root(t.Context())
	must(t, err)
	compared := 0
	for i := range old.Tree.Len() {
		e := old.Tree.At(i)
		f, ok := now.Tree.Lookup(e.Path)
		if expected(e.Path, changed) {
			continue
		}
		if e.Type == tree.Dir {
			f.MTime = e.MTime
		}
		compared++
		if !ok {
			t.Errorf("/%s is gone", e.Path)
		} else if d := tree.DifferingAttributes(e, f); len(d) > 0 {
			t.Errorf("/%s has another %s", e.Path, strings.Join(d, ", "))
		} else if !sameContent(t, before, after, e, f) {
			t.Errorf("/%s has other bytes", e.Path)
		}
	}
	t.Logf("%d files and directories are as they were in the base", compared)
}

// expected reports whether a pattern matches name, or a directory above it.
func expected(name string, changed []string) bool {
	for ; name != "."; name = path.Dir(name) {
		if slices.ContainsFunc(changed, func(p string) bool { ok, err := path.Match(p, name); return ok && err == nil }) {
			return true
		}
	}
	return false
}

func sameContent(t *testing.T, before, after *image.Image, e, f tree.Entry) bool {
	t.Helper()
	if e.Type != tree.File {
		return true
	}
	a, err := before.Reader().Open(e.Content)
	must(t, err)
	b, err := after.Reader().Open(f.Content)
	must(t, err)
	x, y := sha256.New(), sha256.New()
	_, errX := io.Copy(x, a)
	_, errY := io.Copy(y, b)
	must(t, errors.Join(errX, errY))
	return bytes.Equal(x.Sum(nil), y.Sum(nil))
}

// installing is what the installation of packages changes in a Debian system.
func installing() []string {
	return []string{
		"var/lib/dpkg", "var/lib/systemd/deb-systemd-helper-enabled", "var/lib/systemd/deb-systemd-user-helper-enabled",
		"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid", "etc/ld.so.cache",
		"etc/alternatives", "var/lib/alternatives", "var/cache/debconf", "usr/lib/python3", "etc/systemd/system/*.wants",
	}
}
