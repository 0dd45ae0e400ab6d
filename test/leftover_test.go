package test

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// The tests of this file bake from images in which apt or dpkg was killed, and install nothing.

// leftBy is the small published image with what somebody left in it; it returns its path.
func leftBy(t *testing.T, w *workshop, left map[string]string) (path string) {
	t.Helper()
	files := piFiles()
	maps.Copy(files, left)
	path = w.onBase("x.img", published(t, disk.MBR, files), "")
	w.ends(0, w.based("lock"))
	return path
}

// bakedRoot bakes, and returns the root file system of the image.
func (w *workshop) bakedRoot() (root tree.Tree, path string) {
	w.t.Helper()
	path = filepath.Join(w.dir, "out", "node.img")
	w.t.Log(w.ends(0, w.based("bake", "--no-boot", "-o", filepath.Dir(path))))
	img, err := image.Open(path)
	must(w.t, err)
	defer img.Close()
	r, err := img.Root(w.t.Context())
	must(w.t, err)
	return r.Tree, path
}

func none(t testing.TB, root tree.Tree, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, ok := root.Lookup(p); ok {
			t.Errorf("/%s is still there", p)
		}
	}
}

// TestStaleLocks wants them gone without a guest, and all else as it was: QEMU fails.
func TestStaleLocks(t *testing.T) {
	w := newWorkshop(t, program(t), guestKernel())
	left := map[string]string{"var/lib/apt/lists/partial/x": "kept"}
	for _, name := range staleLocks() {
		left[name] = ""
	}
	base := leftBy(t, w, left)
	w.qemu("echo nobody should start me; exit 1")
	root, path := w.bakedRoot()
	none(t, root, staleLocks()...)
	before, err := image.Open(base)
	must(t, err)
	defer before.Close()
	after, err := image.Open(path)
	must(t, err)
	defer after.Close()
	sameFiles(t, before, after, append(staleLocks(), "boot/firmware/cmdline.txt"))
}

// worksOff is a guest in which dpkg writes its database anew: its journal is gone.
const worksOff = `echo @@EB boot
for arg; do case $arg in *scratch.img*) disk=${arg#*file=}; disk=${disk%%,*};; esac; done
printf 'rm /var/lib/dpkg/updates/0001\n' | debugfs -w "$disk" >"$disk.log" 2>&1
echo @@EB clean; echo @@EB done`

// TestJournal wants the guest to run for the journal alone: the database says that all is well.
func TestJournal(t *testing.T) {
	w := newWorkshop(t, program(t), guestKernel())
	const entry = "Package: dpkg\nStatus: install ok half-configured\nArchitecture: arm64\nVersion: 1.19.7\n"
	leftBy(t, w, map[string]string{journal: entry, "var/lib/dpkg/lock": ""})
	w.qemu(worksOff)
	root, path := w.bakedRoot()
	none(t, root, journal, "var/lib/dpkg/lock")
	if log := read(t, path+".configure.log"); !strings.Contains(string(log), "@@EB done") {
		t.Errorf("the guest's log is %q", log)
	}
}
