package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// The tests of this file go wrong on purpose, each in one way, with the built program and small
// archives made for them. Each looks at the exit code, at what the message says, and where that
// matters at whether the next run succeeds.

const (
	archiveURL  = "http://archive.example.org/debian"
	snapshotURL = "http://snapshot.example.org/archive/debian"
	// archiveDate is the Date of aptrepo's Release files, as snapshot archives write it.
	archiveDate = "20260102T030405Z"
)

// A workshop is a profile with an archive and a store of its own.
type workshop struct {
	t                            *testing.T
	bin, dir                     string
	archive                      string // directory
	profile, store, keyring, env string
	fingerprint                  string
}

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
		{"lock --update", testUpdate},
		{"lock --update of nothing", testUpdateUnknown},
	} {
		t.Run(test.name, func(t *testing.T) { t.Parallel(); test.run(t, bin) })
	}
}

// parts are the packages that every test profile needs: a kernel and what the guest starts from.
func parts() []aptrepo.Deb {
	return []aptrepo.Deb{
		{Name: "linux-image-test", Depends: "runtime", Files: map[string]string{"boot/vmlinuz-1": "kernel"}},
		{Name: "busybox-static", Files: map[string]string{"bin/busybox": "busybox"}},
		{Name: "runtime", Files: map[string]string{"usr/share/runtime/big": strings.Repeat("0123456789abcdef", 4096)}},
	}
}

func newWorkshop(t *testing.T, bin string, debs ...aptrepo.Deb) *workshop {
	t.Helper()
	w := &workshop{t: t, bin: bin, dir: t.TempDir()}
	repo := aptrepo.New(t).Add(parts()...).Add(debs...)
	w.archive = repo.Write(filepath.Join(w.dir, "archive"))
	w.store = filepath.Join(w.dir, "store")
	w.keyring, w.fingerprint = filepath.Join(w.dir, "keys.gpg"), repo.Fingerprint()
	w.env = "PATH=" + os.Getenv("PATH")
	w.write(w.keyring, repo.Keyring())
	w.want()
	return w
}

// want writes the profile with these packages.
func (w *workshop) want(packages ...string) {
	w.t.Helper()
	w.profile = filepath.Join(w.dir, "node.yaml")
	list, err := json.Marshal(append([]string{}, packages...))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(w.profile, fmt.Appendf(nil, `apiVersion: edgebake/v1
name: node
arch: arm64
base: {distribution: debian, suite: stable}
apt:
  sources:
    - name: test
      url: %s
      suites: [stable]
      components: [main]
      keyring: keys.gpg
      fingerprints: [%s]
      snapshot: %s
packages: %s
boot: {loader: none, kernel: linux-image-test}
disk:
  table: gpt
  size: 64MiB
  partitions: [{label: root, type: linux, fs: ext4, mount: /}]
`, archiveURL, w.fingerprint, snapshotURL, list))
}

func (w *workshop) write(path string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// command is the program with the archive at an address.
func (w *workshop) command(url string, args ...string) *exec.Cmd {
	args = append(args, w.profile, "--store", w.store, "--mirror", archiveURL+"="+url)
	cmd := exec.CommandContext(w.t.Context(), w.bin, args...)
	cmd.Dir = w.dir
	cmd.Env = []string{"HOME=" + w.dir, w.env}
	return cmd
}

// ends runs the program, wants an exit code and words on stderr, and returns all of stderr.
func (w *workshop) ends(code int, cmd *exec.Cmd, words ...string) string {
	w.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	return w.judge(code, err, stderr.String(), words...)
}

func (w *workshop) judge(code int, err error, stderr string, words ...string) string {
	w.t.Helper()
	got, exit := 0, (*exec.ExitError)(nil)
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		w.t.Fatal(err)
	}
	if got != code {
		w.t.Fatalf("exit code is %d, want %d\n%s", got, code, stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			w.t.Errorf("nothing of %q in:\n%s", word, stderr)
		}
	}
	return stderr
}

func (w *workshop) files() string { return "file://" + w.archive }

func (w *workshop) lock() { w.t.Helper(); w.ends(0, w.command(w.files(), "lock")) }

// locked returns the pins of the lock by name.
func (w *workshop) locked() map[string]lock.Package {
	w.t.Helper()
	path := filepath.Join(w.dir, "node"+lock.Extension)
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := lock.Parse(path, data)
	if err != nil {
		w.t.Fatal(err)
	}
	pins := map[string]lock.Package{}
	for _, p := range append(l.Guest, l.Packages...) {
		pins[p.Name] = p
	}
	return pins
}

// deb returns the path of a locked package in the archive.
func (w *workshop) deb(name string) string {
	return filepath.Join(w.archive, filepath.FromSlash(w.locked()[name].Path))
}

// keeps reports whether any file of the store has these bytes.
func (w *workshop) keeps(data []byte) (found bool) {
	w.t.Helper()
	err := filepath.WalkDir(w.store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		have, err := os.ReadFile(path)
		found = found || len(have) > 0 && bytes.HasPrefix(data, have)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// serve answers with what the archive has, after the handler had a look: it returns true when it
// has answered itself.
func (w *workshop) serve(handle func(http.ResponseWriter, *http.Request) bool) string {
	files := http.FileServer(http.Dir(w.archive))
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if !handle(out, r) {
			files.ServeHTTP(out, r)
		}
	}))
	w.t.Cleanup(s.Close)
	return s.URL
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

func testInterruptedLock(t *testing.T, bin string) {
	interrupt(newWorkshop(t, bin), "/InRelease", "lock")
}

func testInterruptedFetch(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	interrupt(w, "/pool/main/runtime_1_all.deb", "fetch")
}

// testInterruptedBake interrupts the downloads of a bake; a fetch goes on where it ended.
func testInterruptedBake(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	fakeQEMU(w)
	hang(w, "/pool/main/runtime_1_all.deb", "bake", "--no-boot")
	w.ends(0, w.command(w.files(), "fetch"))
}

// interrupt interrupts a command while it waits for a file, and runs it again.
func interrupt(w *workshop, path string, args ...string) {
	w.t.Helper()
	hang(w, path, args...)
	w.ends(0, w.command(w.files(), args...))
}

// hang runs a command against a server that sends half of a file and then nothing, interrupts it
// when it has come so far, and wants it to end as it should.
func hang(w *workshop, path string, args ...string) {
	w.t.Helper()
	halfway := make(chan struct{}, 16)
	url := w.serve(func(out http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, path) {
			return false
		}
		sendHalf(out, filepath.Join(w.archive, filepath.FromSlash(r.URL.Path)))
		halfway <- struct{}{}
		<-r.Context().Done()
		return true
	})
	cmd := w.command(url, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended, stop := context.WithCancel(w.t.Context())
	var result error
	go func() { result = cmd.Wait(); stop() }()
	select {
	case <-halfway:
	case <-ended.Done():
		w.t.Fatalf("it ended before it was interrupted: %v\n%s", result, stderr.String())
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	<-ended.Done()
	w.judge(130, result, stderr.String(), "interrupted", "run the same command")
}

func sendHalf(out http.ResponseWriter, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		http.Error(out, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = out.Write(data[:len(data)/2])
	_ = http.NewResponseController(out).Flush()
}

// fakeQEMU puts a program into PATH that says QEMU's version and can do no more.
func fakeQEMU(w *workshop) {
	w.t.Helper()
	dir := w.t.TempDir()
	script := "#!/bin/sh\necho QEMU emulator version 7.2.0\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-aarch64"), []byte(script), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.env = "PATH=" + dir
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
