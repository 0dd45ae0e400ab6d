package test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/system"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
)

const littleSystem = `apiVersion: edgebake/v1
name: little
extends: [debian-12]
arch: amd64
boot: {loader: none, kernel: linux-image-cloud-amd64}
disk:
  table: gpt
  size: 1GiB
  partitions:
    - {label: root, type: linux, fs: ext4, mount: /}
`

// TestBakeExtendsAnInterruptedSystem gives the guest a system whose dpkg was interrupted, and two
// packages from the archive. Then it shows what a failing and what an endless script look like.
func TestBakeExtendsAnInterruptedSystem(t *testing.T) {
	t.Parallel()
	run, dir := edgebake(t), t.TempDir()
	little, more := filepath.Join(dir, "little.yaml"), filepath.Join(dir, "more.yaml")
	write(t, little, littleSystem)
	write(t, more, strings.NewReplacer("name: little", "name: more", "arch:", "packages: [less, ed, ca-certificates, python3-yaml, rsync, locales, openssh-server]\narch:").Replace(littleSystem))
	store := filepath.Join(dir, "store")
	for _, p := range []string{little, more} {
		run("lock", p, "--store", store)
		run("fetch", p, "--store", store)
	}
	run("bake", little, "--store", store, "-o", filepath.Join(dir, "out"), "--no-boot")
	s := openSystem(t, store, readLock(t, filepath.Join(dir, "more.lock.json")))
	s.image = filepath.Join(dir, "out", "little.img")
	t.Run("unpacked", func(t *testing.T) { unpacksAsDpkg(t, s, readLock(t, filepath.Join(dir, "little.lock.json"))) })
	t.Run("repair and install", func(t *testing.T) { extendInterrupted(t, s) })
	t.Run("shortcuts", func(t *testing.T) { compareShortcuts(t, s, readLock(t, filepath.Join(dir, "little.lock.json"))) })
}

// compareShortcuts installs Python and certificates with and without what makes it fast.
func compareShortcuts(t *testing.T, s *extendable, little lock.Lock) {
	has := map[string]bool{}
	for _, p := range little.Packages {
		has[p.Name] = true
	}
	var names []string
	for _, p := range s.lock.Packages {
		if !has[p.Name] {
			names = append(names, p.Name)
		}
	}
	var trees [2]tree.Tree
	for i, plain := range []bool{true, false} {
		s.interrupt(t)
		console := s.install(t, s.archive(t, names...), 5*time.Minute, guest.Job{Plain: plain}, nil)
		if strings.Contains(console, "byte-compiling") == plain {
			t.Errorf("plain is %v:\n%s", plain, lastPart(console))
		}
		var err error
		if trees[i], err = system.Normalise(t.Context(), tree.Tree{}, s.read(t), s.src, s.lock.Epoch); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := trees[0].Lookup("usr/lib/python3/dist-packages/yaml/__pycache__/__init__.cpython-311.pyc"); !ok {
		t.Error("nothing was compiled")
	}
	layers, err := tree.Diff(t.Context(), s.src, trees[0], trees[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		for _, e := range l.Tree.Entries() {
			if e.Type != tree.Dir {
				t.Errorf("%s: %s", l.Name, e.Path)
			}
		}
	}
	if len(layers) > 0 {
		t.Error("the ways differ")
	}
}

func extendInterrupted(t *testing.T, s *extendable) {
	s.interrupt(t)

	look := guest.Job{Extra: []guest.Step{{Name: "look", Script: "dpkg --audit\necho the audit is over\ndpkg --verify less ed\n" +
		`dpkg-query -W -f '${Package} ${db:Status-Status}\n' less ed tzdata`}}}
	console := s.install(t, s.archive(t, "less", "ed"), time.Minute, look, nil)
	for _, want := range []string{"less installed", "ed installed", "tzdata installed", "the audit is over"} {
		if !strings.Contains(console, want) {
			t.Errorf("the console lacks %q:\n%s", want, lastPart(console))
		}
	}
	after := s.read(t)
	for _, p := range []string{"usr/bin/less", "usr/bin/ed", "var/lib/dpkg/info/less.list"} {
		if _, ok := after.Lookup(p); !ok {
			t.Errorf("%s is not there", p)
		}
	}
	for _, p := range []string{"usr/sbin/policy-rc.d", "boot/grub/grub.cfg"} {
		if _, ok := after.Lookup(p); ok {
			t.Errorf("%s was left behind", p)
		}
	}

	fails := s.add(t, aptrepo.Deb{Name: "acme-fails", Arch: "all", Scripts: map[string]string{"preinst": "#!/bin/sh\necho no licence\nexit 42\n"}})
	var script *guest.ScriptError
	s.install(t, fails, time.Minute, guest.Job{}, func(err error) bool { return errors.As(err, &script) })
	if script == nil || script.Package != "acme-fails" || script.Script != "preinst" || script.ExitCode != 42 || !strings.Contains(strings.Join(script.Output, "\n"), "no licence") {
		t.Errorf("got %+v", script)
	}
	hangs := s.add(t, aptrepo.Deb{Name: "acme-hangs", Arch: "all", Scripts: map[string]string{"postinst": "#!/bin/sh\necho asking nobody\nexec sleep 1000\n"}})
	var hang *guest.HangError
	s.install(t, hangs, 30*time.Second, guest.Job{}, func(err error) bool { return errors.As(err, &hang) })
	if hang == nil || hang.Package != "acme-hangs" || hang.Script != "postinst" || !strings.Contains(strings.Join(hang.Output, "\n"), "asking nobody") {
		t.Errorf("got %+v", hang)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readLock(t testing.TB, path string) lock.Lock {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := lock.Parse(path, data)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// extendable is an existing root file system, and what a guest needs to work on it.
type extendable struct {
	store          *cas.Store
	src            *tree.Reader
	lock           lock.Lock
	kernel, initrd []byte
	image          string // of the system
	scratch        string // a copy of it, to work on
}

func openSystem(t *testing.T, dir string, l lock.Lock) *extendable {
	t.Helper()
	store, err := cas.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(store)
	t.Cleanup(func() { _ = src.Close() }) // it was only read
	s := &extendable{store: store, src: src, lock: l}
	s.boot(t)
	return s
}

// boot makes the guest's kernel from packages, not from the system.
func (s *extendable) boot(t *testing.T) {
	t.Helper()
	var list []deb.Extracted
	for _, p := range append(append([]lock.Package{}, s.lock.Packages...), s.lock.Guest...) {
		if p.Name == "busybox-static" || strings.HasPrefix(p.Name, "linux-image-6") {
			list = append(list, s.extract(t, p.SHA256))
		}
	}
	in, err := deb.Install(list, s.src, s.lock.Arch, tree.Time{Sec: s.lock.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	s.kernel, s.initrd, err = guest.Payload(t.Context(), initramfs.Source{Arch: s.lock.Arch, Tree: in.Tree, Reader: s.src})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *extendable) extract(t *testing.T, blob cas.Digest) deb.Extracted {
	t.Helper()
	x, err := deb.Extract(t.Context(), s.store, blob)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (s *extendable) archive(t *testing.T, names ...string) (out []deb.Extracted) {
	t.Helper()
	for _, name := range names {
		for _, p := range s.lock.Packages {
			if p.Name == name {
				out = append(out, s.extract(t, p.SHA256))
			}
		}
	}
	return out
}

func (s *extendable) add(t *testing.T, d aptrepo.Deb) []deb.Extracted {
	t.Helper()
	blob, err := s.store.PutBytes(d.Build(t))
	if err != nil {
		t.Fatal(err)
	}
	return []deb.Extracted{s.extract(t, blob)}
}

// interrupt copies the system of an image to the scratch disk as it would be had somebody pulled
// the plug while dpkg configured tzdata.
func (s *extendable) interrupt(t *testing.T) {
	t.Helper()
	s.scratch = filepath.Join(t.TempDir(), "scratch.img")
	img, err := image.Open(s.image)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	root, err := img.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := tree.Time{Sec: s.lock.Epoch}
	b := tree.NewBuilder(now)
	for _, e := range root.Tree.Entries() {
		if e.Path == "var/lib/dpkg/status" {
			e.Content = tree.InlineContent(halfConfigure(t, img.Reader(), e.Content))
		}
		b.Add(e)
	}
	for _, p := range []string{"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"} {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o640, MTime: now})
	}
	all, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(s.scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 30
	if err := errors.Join(f.Truncate(size), ext4.Write(t.Context(), f, all, img.Reader(), ext4.Options{Size: size, Time: now})); err != nil {
		t.Fatal(err)
	}
}

func halfConfigure(t *testing.T, src *tree.Reader, c tree.Content) []byte {
	t.Helper()
	r, err := src.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	status, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return halfConfigured(t, status)
}

// halfConfigured changes what dpkg's database says of tzdata.
func halfConfigured(t testing.TB, status []byte) []byte {
	t.Helper()
	old, half := []byte("Package: tzdata\nStatus: install ok installed\n"), []byte("Package: tzdata\nStatus: install ok half-configured\n")
	if !bytes.Contains(status, old) {
		t.Fatal("tzdata is not installed")
	}
	return bytes.Replace(status, old, half, 1)
}

// install runs the guest and returns its console. Without expected the job must succeed.
func (s *extendable) install(t *testing.T, list []deb.Extracted, limit time.Duration, job guest.Job, expected func(error) bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "debs.img")
	debs, err := guest.WriteDebs(t.Context(), path, s.store, list, s.lock.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	job.Arch, job.Kernel, job.Initrd, job.Scratch, job.Epoch = s.lock.Arch, s.kernel, s.initrd, s.scratch, s.lock.Epoch
	job.Repair, job.Debs, job.DebsDisk, job.PackageTimeout, job.Log = true, debs, path, limit, &console
	_, err = guest.Configure(t.Context(), job)
	t.Logf("the guest ended with %v", err)
	if expected == nil && err != nil || expected != nil && !expected(err) {
		t.Fatalf("the guest ended with %v\n%s", err, lastPart(console.String()))
	}
	return console.String()
}

func (s *extendable) read(t *testing.T) tree.Tree {
	t.Helper()
	f, err := os.Open(s.scratch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // it was only read
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	id := cas.Of([]byte(s.scratch))
	s.src.Add(id, f)
	all, err := fs.Tree(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
