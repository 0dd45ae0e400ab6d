package test

import (
	"bytes"
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
	"testing"

	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

const (
	archiveURL  = "http://archive.example.org/debian"
	snapshotURL = "http://snapshot.example.org/archive/debian"
	// archiveDate is the Date of aptrepo's Release files, as snapshot archives write it.
	archiveDate = "20260102T030405Z"
)

// A workshop is a profile with an archive and a store of its own.
type workshop struct {
	t                            testing.TB
	bin, dir                     string
	archive                      string // directory
	profile, store, keyring, env string
	fingerprint                  string
	size                         int      // of the image in MiB
	components                   string   // YAML of the profile's components, in brackets
	more                         []string // of the environment
}

// parts are the packages that every test profile needs: a kernel and what the guest starts from.
func parts() []aptrepo.Deb {
	return []aptrepo.Deb{
		{Name: "linux-image-test", Depends: "runtime", Files: map[string]string{
			"boot/vmlinuz-6.1": "kernel", "lib/modules/6.1/modules.builtin": "kernel/virtio_mmio.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n"}},
		{Name: "busybox-static", Files: map[string]string{"bin/busybox": "busybox"}},
		{Name: "runtime", Files: map[string]string{
			"usr/share/runtime/big": strings.Repeat("0123456789abcdef", 4096), "etc/runtime.conf": "runtime",
		}},
	}
}

func newWorkshop(t testing.TB, bin string, debs ...aptrepo.Deb) *workshop {
	t.Helper()
	w := &workshop{t: t, bin: bin, dir: t.TempDir(), size: 128, components: "[]"}
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
components: %s
boot: {loader: none, kernel: linux-image-test}
disk:
  table: gpt
  size: %dMiB
  partitions: [{label: root, type: linux, fs: ext4, mount: /}]
`, archiveURL, w.fingerprint, snapshotURL, list, w.components, w.size))
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
	cmd.Env = append([]string{"HOME=" + w.dir, w.env}, w.more...)
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

// goodGuest is what the console shows when every script succeeded. As there, dpkg's database on the
// scratch disk then says that all is configured.
const goodGuest = "echo @@EB boot; " + configures + "; echo @@EB clean; echo @@EB done"

// configures edits the scratch disk among QEMU's arguments.
const configures = `for arg; do case $arg in *scratch.img*) disk=${arg#*file=}; disk=${disk%%,*};; esac; done
status=/var/lib/dpkg/status
debugfs -R "cat $status" "$disk" 2>"$disk.log" | sed 's/ ok unpacked$/ ok installed/' >"$disk.status"
printf 'rm %s\nwrite "%s" %s\n' $status "$disk.status" $status | debugfs -w "$disk" >>"$disk.log" 2>&1`

// qemu leaves nothing in PATH but a stand-in for QEMU (it tells a version, and its console is what
// the shell script prints) and what that needs.
func (w *workshop) qemu(script string) {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, tool := range []string{"debugfs", "sed"} {
		if err := os.Symlink(oracle.Need(w.t, tool), filepath.Join(dir, tool)); err != nil {
			w.t.Fatal(err)
		}
	}
	script = "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 7.2.0 && exit\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-aarch64"), []byte(script), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.env = "PATH=" + dir
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
