package test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// notes is a script that writes down how it was called.
func notes(name string) string {
	return "#!/bin/sh -e\nmkdir -p /var/lib/wares\necho \"" + name + " $1 $2\" >>/var/lib/wares/calls\n"
}

// wares are the packages of a maker in version 1, and in version 2: there a configuration file is another one and a file is
// gone, wares has a file of wares-part, whose old version it breaks and whose new one depends on it, and needs the new library before
// it is unpacked.
func wares(version string) []aptrepo.Deb {
	scripts := map[string]string{"conffiles": "/etc/wares.conf\n", "preinst": notes("preinst"), "postinst": notes("postinst"),
		"prerm": notes("prerm"), "postrm": notes("postrm")}
	main := aptrepo.Deb{Name: "wares", Version: "1", Depends: "wares-part, wares-lib", Scripts: scripts,
		Files: map[string]string{"etc/wares.conf": "1", "usr/share/wares/text": "1", "usr/share/wares/gone": "1"}}
	part := aptrepo.Deb{Name: "wares-part", Version: version, Files: map[string]string{"usr/share/wares/moved": "part"}}
	if version == "2" {
		main.Version, main.Depends, main.PreDepends, main.Breaks, main.Replaces = "2", "wares-part (>= 2)", "wares-lib (>= 2)", "wares-part (<< 2)", "wares-part (<< 2)"
		main.Files = map[string]string{"etc/wares.conf": "2", "usr/share/wares/text": "2", "usr/share/wares/moved": "wares"}
		part.Depends, part.Files = "wares (>= 2)", map[string]string{"usr/share/wares/part": "2"}
	}
	lib := aptrepo.Deb{Name: "wares-lib", Version: version, Files: map[string]string{"usr/lib/wares/lib": version}}
	return []aptrepo.Deb{main, part, lib, {Name: "wares-tool", Files: map[string]string{"usr/share/wares/tool": "1"}}}
}

// waresArchive publishes the packages in a directory, where those of before stay, and returns the YAML of the source.
func waresArchive(t *testing.T, dir, version string, day int) string {
	t.Helper()
	repo := aptrepo.New(t).Add(wares(version)...)
	repo.Arch, repo.Date = "amd64", time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
	repo.Write(filepath.Join(dir, "archive"))
	write(t, filepath.Join(dir, "wares.gpg"), string(repo.Keyring()))
	return fmt.Sprintf("apt: {sources: [{name: wares, url: \"file://%s/archive\", suites: [stable], components: [main], keyring: wares.gpg, fingerprints: [%s]}]}\n",
		dir, repo.Fingerprint())
}

// TestBakeOnTop bakes a system, and again with new versions of a parent's packages on top: the lower layer is not configured
// anew, the system's own dpkg upgrades, and a bake from an empty store gives the same bytes.
func TestBakeOnTop(t *testing.T) {
	t.Parallel()
	tell, dir := telling(t), t.TempDir()
	run, store := quiet(tell), filepath.Join(dir, "store")
	child := filepath.Join(dir, "child.yaml")
	publish := func(version string, day int) {
		source := waresArchive(t, dir, version, day)
		write(t, filepath.Join(dir, "parent.yaml"), strings.NewReplacer("name: little", "name: parent", "arch:", source+"packages: [wares]\narch:").Replace(littleSystem))
	}
	write(t, child, "apiVersion: edgebake/v1\nname: child\nextends: [./parent.yaml]\npackages: [wares-tool]\n")
	publish("1", 2)
	run("lock", child, "--store", store)
	bake(t, run, child, store, dir, "--no-boot")

	publish("2", 3)
	_, said := tell("lock", child, "--store", store, "--update", "wares", "--update", "wares-part", "--update", "wares-lib", "--on-top")
	if strings.Count(said, "of the lower layer is replaced by") != 3 || !strings.Contains(said, "wares 1 of the lower layer is replaced by 2") {
		t.Errorf("the lock says\n%s", said)
	}
	telling := func(args ...string) (stdout string) { stdout, said = tell(args...); return stdout }
	start := time.Now()
	second := bake(t, telling, child, store, dir, "--no-boot", "-v")
	t.Logf("the second bake took %s", time.Since(start))
	if want := "the parents' packages are in the store, configured"; !strings.Contains(said, want) {
		t.Errorf("all packages were configured again:\n%s", said)
	}
	onlyWares(t, second)
	upgradedWares(t, second)
	fresh := bake(t, run, child, filepath.Join(dir, "fresh"), dir, "--no-boot")
	if x, y := digestOf(t, second), digestOf(t, fresh); x != y {
		difference, _, err := image.Diff(t.Context(), second.image, fresh.image)
		t.Errorf("the image is another one from an empty store: %s and %s: %v %v", x, y, difference, err)
	}
}

// onlyWares wants no script of another package to have run.
func onlyWares(t *testing.T, b baked) {
	t.Helper()
	var report struct {
		Guest struct {
			Scripts []struct{ Package, Script string }
		}
	}
	must(t, json.Unmarshal(read(t, filepath.Join(b.dir, "report.json")), &report))
	seen := map[string]bool{}
	for _, s := range report.Guest.Scripts {
		seen[s.Package] = true
		if !strings.HasPrefix(s.Package, "wares") && !strings.HasPrefix(s.Package, "(") {
			t.Errorf("%s of %s ran", s.Script, s.Package)
		}
	}
	if !seen["wares"] || !seen["wares-part"] || !seen["wares-lib"] || !seen["wares-tool"] {
		t.Errorf("these ran: %v", seen)
	}
}

// upgradedWares looks at files, database and manifest of an image whose wares was upgraded.
func upgradedWares(t *testing.T, b baked) {
	t.Helper()
	img, err := image.Open(b.image)
	must(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	must(t, err)
	none(t, root.Tree, "usr/share/wares/gone", "etc/wares.conf.dpkg-new", "etc/wares.conf.dpkg-dist", "etc/wares.conf.dpkg-old")
	for name, want := range map[string]string{"etc/wares.conf": "2", "usr/share/wares/text": "2", "usr/share/wares/moved": "wares", "usr/share/wares/part": "2", "usr/share/wares/tool": "1",
		"var/lib/wares/calls": "preinst install \npostinst configure \nprerm upgrade 2\npreinst upgrade 1\npostrm upgrade 2\npostinst configure 1\n"} {
		if got := textOf(t, img, root.Tree, name); got != want {
			t.Errorf("/%s has %q, want %q", name, got, want)
		}
	}
	status := textOf(t, img, root.Tree, "var/lib/dpkg/status")
	for _, name := range []string{"wares", "wares-part", "wares-lib"} {
		if s := stanza(status, name); !strings.Contains(s, "Status: install ok installed") || !strings.Contains(s, "Version: 2") || strings.Count(status, "Package: "+name+"\n") != 1 {
			t.Errorf("dpkg says of %s:\n%s", name, s)
		}
	}
	m, err := artifact.ReadManifest(b.dir)
	must(t, err)
	var listed []string
	for _, p := range m.Packages {
		if strings.HasPrefix(p.Name, "wares") {
			listed = append(listed, p.Name+" "+p.Version)
		}
	}
	if d := cmp.Diff([]string{"wares-lib 2", "wares-part 2", "wares-tool 1", "wares 2"}, listed); d != "" {
		t.Errorf("the manifest lists other packages: %s", d)
	}
}

// TestLockOnTop provokes what is refused, and looks at what is said.
func TestLockOnTop(t *testing.T) {
	bin := program(t)
	t.Run("layers", func(t *testing.T) {
		w := newWorkshop(t, bin)
		w.ends(2, w.command(w.files(), "lock", "--on-top"), "--on-top goes with --update PACKAGE or --keep")
		w.ends(4, w.command(w.files(), "lock", "--on-top", "--update", "runtime"), "there is no", "edgebake lock "+w.profile)
		w.lock()
		w.ends(1, w.command(w.files(), "lock", "--on-top", "--update", "busybox-static"), "is of the guest", "without --on-top")
		was := read(t, filepath.Join(w.dir, "node.lock.json"))
		w.upgrade(aptrepo.Deb{Name: "linux-image-test", Version: "2"}, aptrepo.Deb{Name: "runtime", Version: "2"})
		w.ends(1, w.command(w.files(), "lock", "--on-top", "--update", "linux-image-test"), "linux-image-test 2 is a kernel", "without --on-top")
		if string(read(t, filepath.Join(w.dir, "node.lock.json"))) != string(was) {
			t.Error("the lock was changed")
		}
		w.ends(0, w.command(w.files(), "lock", "--on-top", "--update", "runtime"), "runtime 1 of the lower layer is replaced by 2")
		now := read(t, filepath.Join(w.dir, "node.lock.json"))
		w.ends(0, w.command(w.files(), "lock", "--on-top", "--keep"), "runtime 1 of the lower layer")
		w.ends(0, w.command(w.files(), "lock", "--keep"), "runtime 1 of the lower layer")
		if string(read(t, filepath.Join(w.dir, "node.lock.json"))) != string(now) {
			t.Error("what was to be kept was changed")
		}
		w.ends(0, w.command(w.files(), "fetch"))
		w.ends(0, w.command(w.files(), "vendor", "-o", filepath.Join(w.dir, "vendored")))
		w.ends(0, w.command(w.files(), "lock", "--update", "busybox-static"))
		if p := w.locked()["runtime"]; p.Version != "2" || p.Layer != 0 || p.Upgrades != "" {
			t.Errorf("the lock afresh has %+v", p)
		}
	})
	t.Run("base image", func(t *testing.T) {
		w := newWorkshop(t, bin, guestKernel(), aptrepo.Deb{Name: "tool"})
		w.onBase("x.img", published(t, disk.MBR, piFiles()), "packages: [tool]\n")
		w.ends(0, w.based("lock"))
		w.ends(1, w.based("lock", "--on-top", "--update", "tool"), "base image", "without --on-top")
	})
}

// upgrade publishes the parts with new versions, and leaves what was published in the pool.
func (w *workshop) upgrade(debs ...aptrepo.Deb) {
	w.t.Helper()
	repo := aptrepo.New(w.t).Add(parts()...).Add(debs...)
	repo.Date = time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC)
	repo.Write(w.archive)
	w.write(w.keyring, repo.Keyring())
	w.fingerprint = repo.Fingerprint()
	w.want()
}
