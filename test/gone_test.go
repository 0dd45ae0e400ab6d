package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// TestGoneUpstream locks when upstream no longer serves an input: each message names the address and what
// to supply, and how.
func TestGoneUpstream(t *testing.T) {
	bin := program(t)
	base := func(w *workshop) { w.onBase("x.img", published(w.t, disk.MBR, piFiles()), "") }
	with := func(components string) func(*workshop) {
		return func(w *workshop) { w.components = "[" + components + "]"; w.want() }
	}
	for name, tc := range map[string]struct {
		prepare func(w *workshop)
		gone    string // in the path of what is not there
		words   []string
	}{
		"tarball":           {with("{name: agent, tarball: {urls: [" + archiveURL + "/agent.tar], destination: /opt}}"), "agent.tar", []string{"/agent.tar: server answered 404", "component agent", "--mirror PREFIX=file:///DIR"}},
		"CRI-O bundle":      {with("{name: crio, crio: {version: 1.20.3, source: bundle, bundle: {urls: [" + archiveURL + "/cri-o.tar.gz]}}}"), "cri-o", []string{"/cri-o.tar.gz: server answered 404", "--mirror PREFIX=file:///DIR", "source: debs"}},
		"kubeedge":          {with("{name: kubeedge, kubeedge: {version: 1.8.2, releases: [\"" + archiveURL + "\"]}}"), "kubeedge", []string{"component kubeedge", "releases:", "--mirror"}},
		"package's file":    {with("{name: mine, debs: {files: [debs/mine.deb]}}"), "nothing", []string{"debs/mine.deb", "there is no /"}},
		"package's archive": {func(w *workshop) { w.want() }, "dists/", []string{"/dists/stable/InRelease", "source test", "--mirror PREFIX=file:///DIR", "debs:"}},
		"base image":        {base, "x.img", []string{"x.img", "--mirror PREFIX=file:///DIR", "base.image"}},
		"container image":   {with("{name: app, containerImages: {images: [\"archive.example.org/edge/app:1.0\"], runtime: crio}}"), "v2", []string{"component app", "--mirror https://archive.example.org=URL", "source: archive"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t, bin, guestKernel())
			tc.prepare(w)
			server := w.serve(func(out http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, tc.gone) {
					http.NotFound(out, r)
				}
				return strings.Contains(r.URL.Path, tc.gone)
			})
			cmd := w.command(server, "lock", "--mirror", imageURL+"="+server, "--mirror", "https://archive.example.org="+server)
			said := w.ends(1, cmd, tc.words...)
			if strings.Contains(said, "edgebake lock "+w.profile+" pins what") {
				t.Error("lock tells to lock")
			}
			t.Log(said)
			if _, err := os.Stat(filepath.Join(w.dir, "node.lock.json")); err == nil {
				t.Error("a lock was written")
			}
		})
	}
}

// TestFirstUseChanges serves other bytes under the address of a file whose hash nobody publishes.
func TestFirstUseChanges(t *testing.T) {
	w := newWorkshop(t, program(t))
	w.components = fmt.Sprintf("[%s]", w.tarball())
	w.want()
	const warning = "nobody publishes a hash of agent/archive: it is pinned as it came"
	w.ends(0, w.command(w.files(), "lock"), warning)
	if text := string(read(t, filepath.Join(w.dir, "node.lock.json"))); strings.Count(text, `"trustOnFirstUse": true`) != 1 {
		t.Errorf("the lock has\n%s", text)
	}
	w.ends(0, w.command(w.files(), "lock", "--keep"), warning)
	w.ends(0, w.command(w.files(), "lock"), warning)
	was := read(t, filepath.Join(w.dir, "node.lock.json"))
	w.write(filepath.Join(w.archive, "agent.tar"), oneFile(t, "other"))
	w.ends(3, w.command(w.files(), "lock"), "agent", "pinned on first use", "remove")
	if now := read(t, filepath.Join(w.dir, "node.lock.json")); string(now) != string(was) {
		t.Error("the lock was changed")
	}
}

// TestUpgradesOfTheBase names the packages of the base image whose version changes, and no others.
func TestUpgradesOfTheBase(t *testing.T) {
	w := newWorkshop(t, program(t), guestKernel(), aptrepo.Deb{Name: "tool", Depends: "runtime (>= 1), other"}, aptrepo.Deb{Name: "other", Version: "3"})
	files := piFiles()
	for _, p := range []string{"runtime 0.5", "other 2"} {
		name, version, _ := strings.Cut(p, " ")
		files["var/lib/dpkg/status"] += "Package: " + name + "\nStatus: install ok installed\nArchitecture: all\nVersion: " + version + "\n\n"
	}
	w.onBase("x.img", published(t, disk.MBR, files), "packages: [tool]\n")
	said := w.ends(0, w.based("lock"), "runtime 0.5 of the base image is replaced by 1 (")
	if strings.Contains(said, "other") {
		t.Errorf("what stays is named:\n%s", said)
	}
	if p := w.locked()["runtime"]; p.Upgrades != "0.5" {
		t.Errorf("the lock has %+v", p)
	}
}
