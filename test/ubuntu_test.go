package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/faulty"
	"github.com/edgebake/edgebake/test/oracle"
	"github.com/edgebake/edgebake/test/standin"
)

// bench is a store with the locks that were made for it, which all tests that bake share: what one
// has downloaded, configured or compressed, the next finds. EDGEBAKE_TEST_DIR keeps it from run to run.
type bench struct{ store, locks, images string }

var sharedBench = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("EDGEBAKE_TEST_DIR"); dir != "" {
		return dir, nil
	}
	return os.MkdirTemp("", "edgebake-test")
})

func shared(t testing.TB) bench {
	t.Helper()
	dir, err := sharedBench()
	must(t, err)
	b := bench{filepath.Join(dir, "store"), filepath.Join(dir, "locks"), filepath.Join(dir, "images")}
	must(t, os.MkdirAll(b.locks, 0o755))
	return b
}

// TestMain removes the shared store when it is nobody's to keep. This process may also be the launcher of
// one that faulty.Run runs.
func TestMain(m *testing.M) {
	faulty.Launch()
	code := m.Run()
	if dir, err := sharedBench(); err == nil && os.Getenv("EDGEBAKE_TEST_DIR") == "" {
		_ = os.RemoveAll(dir) // a temporary directory: nobody misses it
	}
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alone keeps other tests, and other processes with the same directory, from doing the same work at
// the same time: they wait, and find it done.
func (b bench) alone(t testing.TB, work string) (done func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(b.locks, work+".busy"))
	must(t, err)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	return func() { _ = f.Close() } // nothing was written
}

// locked locks a profile once and returns its lock.
func (b bench) locked(t testing.TB, run func(...string) string, name string) lock.Lock {
	t.Helper()
	path := filepath.Join(b.locks, profileName(name)+lock.Extension)
	defer b.alone(t, "lock-"+profileName(name))()
	if _, err := os.Stat(path); err != nil {
		run("lock", name, "--store", b.store, "-o", b.locks)
	}
	data, err := os.ReadFile(path)
	must(t, err)
	l, err := lock.Parse(path, data)
	must(t, err)
	return l
}

// configured is the configured system of a profile from packages. It is made when nobody has done it.
func (b bench) configured(t testing.TB, run func(...string) string, l lock.Lock, name string) tree.Tree {
	t.Helper()
	store, err := cas.Open(b.store)
	must(t, err)
	defer b.alone(t, "configure-"+profileName(name))()
	c := builder.Config{Lock: l, Store: store}
	system, ok := c.ConfiguredTree()
	if !ok {
		bake(t, run, name, b.store, b.locks, noBoot)
		if system, ok = c.ConfiguredTree(); !ok {
			t.Fatalf("%s was baked and its configured system is not in the store", name)
		}
	}
	return system
}

// debianBase is the configured system of a Debian profile, to make stand-ins of Ubuntu's images from.
func debianBase(t testing.TB, run func(...string) string, name string) standin.Base {
	t.Helper()
	b := shared(t)
	l := b.locked(t, run, name)
	configured := b.configured(t, run, l, name)
	store, err := cas.Open(b.store)
	must(t, err)
	base, err := standin.New(t.Context(), store, l, configured)
	must(t, err)
	t.Cleanup(func() { _ = base.Reader.Close() }) // read only
	return base
}

// ubuntu is all that the Ubuntu profiles of one architecture download, as stand-ins on one server.
type ubuntu struct {
	t              testing.TB
	run            func(...string) string
	base           standin.Base
	up             *standin.Upstream
	server         string
	image, archive standin.Key
}

// onlyInUbuntu are packages that the Ubuntu profiles ask for and the Debian ones do not.
func onlyInUbuntu() []string { return []string{"ebtables", "libgpgme11", "python3-apt"} }

// newUbuntu publishes everything but the images. debian is the profile that the base is made of.
func newUbuntu(t testing.TB, run func(...string) string, debian string, release standin.Release, url string) *ubuntu {
	t.Helper()
	u := &ubuntu{t: t, run: run, base: debianBase(t, run, debian)}
	u.up = standin.NewUpstream(t.TempDir(), time.Unix(u.base.Lock.Epoch, 0))
	var err error
	u.image, err = standin.NewKey("Test Image Signing Key")
	must(t, err)
	u.archive, err = standin.NewKey("Test Archive Signing Key")
	must(t, err)
	programs, err := standin.BuildPrograms(t.Context(), "standin", t.TempDir(), u.base.Lock.Arch)
	must(t, err)
	must(t, u.up.Releases(programs))
	must(t, u.up.ControlPlaneImages(programs))
	must(t, u.up.Kubic(t, u.archive, release, programs))
	must(t, u.up.UbuntuArchive(url, u.archive, release, programs.Arch, u.packages(debian)...))
	server := u.up.Serve()
	t.Cleanup(server.Close)
	u.server = server.URL
	return u
}

// packages are those of the base, more with their dependencies, and a kernel for guests under Ubuntu's name.
func (u *ubuntu) packages(debian string) []standin.Package {
	u.t.Helper()
	name := filepath.Join(u.t.TempDir(), "archive-"+u.base.Lock.Arch+".yaml")
	u.yaml(name, map[string]any{"extends": []string{debian}, "packages": onlyInUbuntu()})
	b := shared(u.t)
	all := u.base
	all.Lock = b.locked(u.t, u.run, name)
	u.run("fetch", name, "--store", b.store, "--lock", filepath.Join(b.locks, filepath.Base(strings.TrimSuffix(name, ".yaml"))+lock.Extension))
	return append(all.LockedPackages(), u.base.GenericKernel(u.t)...)
}

// yaml writes a profile; JSON is YAML.
func (u *ubuntu) yaml(path string, fields map[string]any) {
	u.t.Helper()
	fields["apiVersion"] = "edgebake/v1"
	fields["name"] = strings.TrimSuffix(filepath.Base(path), ".yaml")
	data, err := json.MarshalIndent(fields, "", "  ")
	must(u.t, err)
	must(u.t, os.WriteFile(path, data, 0o644))
}

// flags send edgebake to the stand-ins.
func (u *ubuntu) flags() []string { return u.up.Mirrors(u.server) }

func (u *ubuntu) signing() standin.Signing {
	u.t.Helper()
	unknown, err := standin.NewKey("Retired Key")
	must(u.t, err)
	return standin.Signing{Key: u.image, Unknown: []standin.Key{unknown}}
}

// newFocal is Ubuntu 20.04 for the Raspberry Pi with its image.
func newFocal(t testing.TB, run func(...string) string, p standin.Pi) *ubuntu {
	t.Helper()
	u := newUbuntu(t, run, "edge-rpi-debian-12", standin.Focal(), "http://ports.ubuntu.com/ubuntu-ports")
	must(t, u.up.Pi(t.Context(), u.base, p, shared(t).images, oracle.Need(t, "xz"), u.signing()))
	return u
}

// newBionic is Ubuntu 18.04 for clouds with its image.
func newBionic(t testing.TB, run func(...string) string) *ubuntu {
	t.Helper()
	grub, err := standin.NewBIOSGRUB(t.Context(), oracle.Need(t, "grub-mkimage"), t.TempDir())
	must(t, err)
	u := newUbuntu(t, run, "edge-debian-12-amd64", standin.Bionic(), "http://archive.ubuntu.com/ubuntu")
	must(t, u.up.Cloud(t.Context(), u.base, standin.Cloud{GRUB: grub}, shared(t).images, oracle.Need(t, "qemu-img"), u.signing()))
	return u
}
