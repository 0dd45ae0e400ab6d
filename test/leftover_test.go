package test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// The tests of this file bake from images in which apt or dpkg was killed, and install nothing.

// leftBy is the small published image with what somebody left in it.
func leftBy(t *testing.T, w *workshop, left map[string]string) {
	t.Helper()
	files := piFiles()
	maps.Copy(files, left)
	w.onBase("x.img", published(t, disk.MBR, files), "")
	w.ends(0, w.based("lock"))
}

// bakedRoot bakes, and returns the root file system of the image.
func (w *workshop) bakedRoot() (root tree.Tree, out string) {
	w.t.Helper()
	out = filepath.Join(w.dir, "out")
	w.t.Log(w.ends(0, w.based("bake", "--no-boot", "-o", out)))
	img, err := image.Open(filepath.Join(out, "node.img"))
	must(w.t, err)
	defer img.Close()
	r, err := img.Root(w.t.Context())
	must(w.t, err)
	return r.Tree, out
}

func none(t testing.TB, root tree.Tree, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, ok := root.Lookup(p); ok {
			t.Errorf("/%s is still there", p)
		}
	}
}

// TestStaleLocks wants them gone without a guest: QEMU fails.
func TestStaleLocks(t *testing.T) {
	w := newWorkshop(t, program(t), guestKernel())
	left := map[string]string{"var/lib/apt/lists/partial/x": "kept"}
	for _, name := range staleLocks() {
		left[name] = ""
	}
	leftBy(t, w, left)
	w.qemu("echo nobody should start me; exit 1")
	root, _ := w.bakedRoot()
	none(t, root, staleLocks()...)
	for _, p := range []string{"var/lib/apt/lists/partial/x", "var/lib/dpkg/status"} {
		if _, ok := root.Lookup(p); !ok {
			t.Errorf("/%s is gone", p)
		}
	}
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
	leftBy(t, w, map[string]string{"var/lib/dpkg/updates/0001": entry, "var/lib/dpkg/lock": ""})
	w.qemu(worksOff)
	root, out := w.bakedRoot()
	none(t, root, "var/lib/dpkg/updates/0001", "var/lib/dpkg/lock")
	log, err := os.ReadFile(filepath.Join(out, "node.img.configure.log"))
	must(t, err)
	if !strings.Contains(string(log), "@@EB done") {
		t.Errorf("the guest's log is %q", log)
	}
}
