package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// The tests of this file go wrong on purpose, each in one way, with the built program and small
// archives made for them. Each looks at the exit code, at what the message says, and where that
// matters at whether the next run succeeds.

// TestFaults builds the program once for all.
func TestFaults(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "edgebake")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/edgebake").CombinedOutput(); err != nil {
		t.Fatalf("building edgebake: %v\n%s", err, out)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"wrong signature", testWrongSignature},
		{"wrong hash", testWrongHash},
		{"truncated file", testTruncatedFile},
		{"connection cut", testConnectionCut},
		{"unknown package", testUnknownPackage},
		{"unsatisfiable", testUnsatisfiable},
		{"package is gone", testGone},
		{"snapshot", testSnapshot},
		{"missing QEMU", testMissingQEMU},
		{"interrupted lock", testInterruptedLock},
		{"interrupted fetch", testInterruptedFetch},
		{"interrupted bake", testInterruptedBake},
		{"interrupted guest", testInterruptedGuest},
		{"interrupted stages", testInterruptedStages},
		{"failing script", testFailingScript},
		{"image too small", testImageTooSmall},
		{"foreign output", testForeignOutput},
		{"unwritable", testUnwritable},
		{"full disk", testFullDisk},
		{"damaged store", testDamagedStore},
		{"two bakes", testTwoBakes},
		{"killed", testKilled},
		{"negative", testNegative},
		{"lock --update", testUpdate},
		{"lock --update of nothing", testUpdateUnknown},
	} {
		t.Run(test.name, func(t *testing.T) { t.Parallel(); test.run(t, bin) })
	}
}

func testWrongSignature(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	other := aptrepo.New(t)
	signer := w.fingerprint
	w.fingerprint = other.Fingerprint()
	w.write(w.keyring, other.Keyring())
	w.want()
	w.ends(3, w.command(w.files(), "lock"), "checking signature", signer[24:], other.Fingerprint(), "fingerprints in the profile")
	if _, err := os.Stat(filepath.Join(w.dir, "node"+lock.Extension)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a lock: %v", err)
	}
}

func testWrongHash(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	path := w.deb("runtime")
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(right)
	wrong[len(wrong)/2] ^= 1
	w.write(path, wrong)
	for _, url := range []string{w.files(), w.serve(func(http.ResponseWriter, *http.Request) bool { return false })} {
		w.ends(3, w.command(url, "fetch"), "runtime", string(cas.Of(wrong)), string(cas.Of(right)), "--mirror")
		if w.keeps(wrong) {
			t.Errorf("%s: the store has the wrong bytes", url)
		}
	}
	w.write(path, right)
	w.ends(0, w.command(w.files(), "fetch"))
	if !w.keeps(right) {
		t.Error("the store lacks the right bytes, or keeps them in a form that this test cannot see")
	}
}

// testTruncatedFile has a mirror whose copy of a package is too short.
func testTruncatedFile(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	size := w.locked()["runtime"].Size
	if err := os.Truncate(w.deb("runtime"), size/2); err != nil {
		t.Fatal(err)
	}
	w.ends(3, w.command(w.files(), "fetch"), "runtime", fmt.Sprint(size/2)+" bytes", fmt.Sprint(size))
	url := w.serve(func(http.ResponseWriter, *http.Request) bool { return false })
	w.ends(3, w.command(url, "fetch"), "runtime", fmt.Sprint(size/2)+" bytes", fmt.Sprint(size))
}

// testConnectionCut has a server that ends the first answer halfway: the rest is asked for.
func testConnectionCut(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	data, err := os.ReadFile(w.deb("runtime"))
	if err != nil {
		t.Fatal(err)
	}
	ranges := make(chan string, 16)
	url := w.serve(func(out http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/runtime_") {
			return false
		}
		ranges <- r.Header.Get("Range")
		if r.Header.Get("Range") != "" {
			return false
		}
		out.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = out.Write(data[:len(data)/2])
		return true
	})
	w.ends(0, w.command(url, "fetch"))
	if first, second := <-ranges, <-ranges; first != "" || second != fmt.Sprintf("bytes=%d-", len(data)/2) {
		t.Errorf("asked for %q, then for %q", first, second)
	}
}

func testUnknownPackage(t *testing.T, bin string) {
	w := newWorkshop(t, bin, aptrepo.Deb{Name: "mosquitto"}, aptrepo.Deb{Name: "containerd"})
	w.want("mosquito")
	w.ends(1, w.command(w.files(), "lock"), "no package mosquito", "did you mean mosquitto?", "correct the name in the profile")
}

func testUnsatisfiable(t *testing.T, bin string) {
	w := newWorkshop(t, bin, aptrepo.Deb{Name: "node", Depends: "agent"}, aptrepo.Deb{Name: "agent", Depends: "library (>= 9)"},
		aptrepo.Deb{Name: "library", Version: "1.6"})
	w.want("node")
	w.ends(1, w.command(w.files(), "lock"), "library (>= 9)", "1.6", "agent is wanted by node", "node is requested")
}

// testGone has an archive that dropped a package, and a snapshot archive that never had it.
func testGone(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	path := w.locked()["runtime"].Path
	if err := os.Remove(w.deb("runtime")); err != nil {
		t.Fatal(err)
	}
	snapshot := "file://" + filepath.Join(w.dir, "snapshot")
	w.ends(1, w.command(w.files(), "fetch", "--mirror", snapshotURL+"="+snapshot),
		"runtime 1", "404", w.files()+"/"+path, snapshot+"/"+archiveDate+"/"+path, "edgebake lock "+w.profile)
}

// testSnapshot has an archive that dropped a package, and a snapshot archive that kept it.
func testSnapshot(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	at := filepath.Join(w.dir, "snapshot", archiveDate)
	if err := os.CopyFS(at, os.DirFS(w.archive)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.deb("runtime")); err != nil {
		t.Fatal(err)
	}
	w.ends(0, w.command(w.files(), "fetch", "--mirror", snapshotURL+"=file://"+filepath.Dir(at)))
}

func testMissingQEMU(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.env = "PATH=" + t.TempDir()
	w.ends(1, w.command(w.files(), "bake", "--no-boot"), "qemu-system-aarch64", "apt-get install qemu-system-arm", "edgebake doctor")
}

func large() aptrepo.Deb {
	return aptrepo.Deb{Name: "large", Files: map[string]string{"usr/share/large": strings.Repeat("x", 24<<20)}}
}

func testFailingScript(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.qemu(`echo @@EB boot
echo 'processing: configure: runtime'
echo 'cannot reach the moon'
echo 'status: runtime : error : installed runtime package post-installation script subprocess returned error exit status 7'
echo @@EB fail configure -a
echo @@EB clean`)
	stderr := w.ends(1, w.command(w.files(), "bake", "--no-boot"),
		"package runtime", "postinst", "exit code 7", "cannot reach the moon", "whole log is", "leave it out of the profile")
	_, after, _ := strings.Cut(stderr, "whole log is ")
	path, _, _ := strings.Cut(after, ")")
	log, err := os.ReadFile(filepath.Join(w.dir, path))
	if err != nil || !bytes.Contains(log, []byte("cannot reach the moon")) {
		t.Errorf("the log is %q, %v", log, err)
	}
}

// testImageTooSmall raises the size by what the message says, and bakes again.
func testImageTooSmall(t *testing.T, bin string) {
	w := newWorkshop(t, bin, large())
	w.size = 16
	w.want("large")
	w.lock()
	w.qemu(goodGuest)
	stderr := w.ends(1, w.command(w.files(), "bake", "--no-boot"), "partition 1 (root)", "the tree needs", "too few", "edgebake lock "+w.profile)
	var more int
	_, after, _ := strings.Cut(stderr, "by at least ")
	if _, err := fmt.Sscanf(after, "%d MiB", &more); err != nil {
		t.Fatalf("it does not say by how much: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "out", "*.img*")); len(left) > 0 && !strings.HasSuffix(left[0], ".log") {
		t.Errorf("left behind: %v", left)
	}
	w.size += more
	w.want("large")
	w.lock()
	w.ends(5, w.command(w.files(), "bake", "--no-boot"), "free-space") // it fits, but could not start
	w.size += 32
	w.want("large")
	w.lock()
	w.ends(0, w.command(w.files(), "bake", "--no-boot"))
}

// testUpdate takes the new version of one package and keeps the old one of the other.
func testUpdate(t *testing.T, bin string) {
	w := newWorkshop(t, bin, aptrepo.Deb{Name: "agent"}, aptrepo.Deb{Name: "broker"})
	w.want("agent", "broker")
	w.lock()
	repo := aptrepo.New(t).Add(parts()...).Add(aptrepo.Deb{Name: "agent"}, aptrepo.Deb{Name: "broker"},
		aptrepo.Deb{Name: "agent", Version: "2"}, aptrepo.Deb{Name: "broker", Version: "2"}, aptrepo.Deb{Name: "busybox-static", Version: "2"})
	repo.Write(w.archive)
	w.write(w.keyring, repo.Keyring())
	w.fingerprint = repo.Fingerprint()
	w.want("agent", "broker")
	w.ends(0, w.command(w.files(), "lock", "--update", "agent"))
	pins := w.locked()
	for name, version := range map[string]string{"agent": "2", "broker": "1", "runtime": "1", "busybox-static": "1"} {
		if pins[name].Version != version {
			t.Errorf("%s is locked at %q, want %q", name, pins[name].Version, version)
		}
	}
}

func testUpdateUnknown(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.ends(2, w.command(w.files(), "lock", "--update", "runtme"), "runtme", "lock of node")
}
