package test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/bundle"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/lock"
)

const registryURL = "https://registry.example.org"

// images publishes a container image under a tag, and another as an archive beside the profile. It
// adds components that want them.
func (w *workshop) images() (server string) {
	w.t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	w.t.Cleanup(s.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(s.URL, "http://")+"/edge/app:1.0", name.Insecure)
	must(w.t, err)
	must(w.t, remote.Write(ref, w.image("usr/bin/app")))
	ref, err = name.ParseReference("registry.example.org/edge/pause:3.2")
	must(w.t, err)
	must(w.t, tarball.WriteToFile(filepath.Join(w.dir, "pause.tar"), ref, w.image("pause")))
	w.components = strings.TrimSuffix(w.components, "]") +
		", {name: app, containerImages: {images: [\"registry.example.org/edge/app:1.0\"], runtime: crio}}" +
		", {name: pause, containerImages: {images: [\"registry.example.org/edge/pause:3.2\"], source: archive, path: pause.tar, runtime: crio}}]"
	return s.URL
}

// image has one layer with one file.
func (w *workshop) image(file string) v1.Image {
	w.t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(oneFile(w.t, file))), nil })
	must(w.t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	must(w.t, err)
	config, err := img.ConfigFile()
	must(w.t, err)
	config = config.DeepCopy()
	config.Architecture, config.OS = "arm64", "linux"
	img, err = mutate.ConfigFile(img, config)
	must(w.t, err)
	return img
}

// watched are settings with which every request to any host comes to a server that counts it.
func watched(t *testing.T) (server string, env []string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		t.Logf("%s %s", r.Method, r.URL)
		http.Error(out, "there is no network", http.StatusBadGateway)
	}))
	t.Cleanup(s.Close)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		env = append(env, name+"="+s.URL)
	}
	return s.URL, env, requests
}

// TestVendorBase vendors all kinds of inputs at once: a published image, the guest's packages, an archive,
// a file, a Go module, container images of a registry and of an archive. Another machine without a
// network bakes the same bytes from them, and asks nobody.
func TestVendorBase(t *testing.T) {
	bin, data := program(t), filtered(t, published(t, disk.MBR, piFiles()), "xz", "-0", "-c")
	for _, out := range []string{"inputs", "inputs.tar"} {
		t.Run(out, func(t *testing.T) {
			w := newWorkshop(t, bin, guestKernel())
			w.goTool()
			registry := w.images()
			w.onBase("x.img.xz", data, "")
			w.env += ":" + filepath.Dir(lookPath(t, "go"))
			mirrors := []string{"--mirror", registryURL + "=" + registry}
			said := w.ends(0, w.based(append([]string{"lock"}, mirrors...)...), "nobody publishes a hash of agent/archive", "nobody publishes a hash of app/registry.example.org/edge/app:1.0")
			if strings.Contains(said, "hash of pause") || strings.Contains(said, "hash of tool") {
				t.Errorf("what the profile pins itself is said to be pinned as it came:\n%s", said)
			}
			want := w.digest(w.based(append([]string{"bake", "--no-boot", "-o", filepath.Join(w.dir, "out")}, mirrors...)...))
			w.firstUse(filepath.Join(w.dir, "out"), "agent/archive", "app/registry.example.org/edge/app:1.0")
			path := filepath.Join(w.dir, out)
			w.ends(0, w.based(append([]string{"vendor", "-o", path}, mirrors...)...))
			other := w.moved(t, path)
			must(t, os.RemoveAll(filepath.Join(w.dir, "images")))
			must(t, os.RemoveAll(filepath.Join(w.dir, "pause.tar")))
			watcher, env, requests := watched(t)
			other.more = append(other.more, env...)
			if got := other.digest(other.command(watcher, "bake", "--no-boot", "--offline", "--vendor", path, "-o", filepath.Join(other.dir, "out"),
				"--mirror", imageURL+"="+watcher, "--mirror", registryURL+"="+watcher)); got != want {
				t.Errorf("baked from %s the image is %s, otherwise %s", out, got, want)
			}
			if n := requests.Load(); n > 0 {
				t.Errorf("%d requests left the machine", n)
			}
			b, err := bundle.Open(path)
			must(t, err)
			defer b.Close()
			if !hasFile(b, "inputs/images.example.org/release/x.img.xz") || !hasFile(b, "inputs/archive.example.org/debian/agent.tar") {
				t.Errorf("the bundle has %+v", b.Index.Files)
			}
		})
	}
}

func hasFile(b *bundle.Bundle, path string) bool {
	for _, f := range b.Index.Files {
		if f.Path == path {
			return true
		}
	}
	return false
}

// digest runs a bake and returns what it says of the image.
func (w *workshop) digest(cmd *exec.Cmd) string {
	w.t.Helper()
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	w.ends(0, cmd)
	digest, _, _ := strings.Cut(stdout.String(), " ")
	if len(digest) != 64 {
		w.t.Fatalf("a bake says %q", stdout.String())
	}
	return digest
}

// firstUse wants these names in the lock and in the manifest of a bake.
func (w *workshop) firstUse(out string, want ...string) {
	w.t.Helper()
	text := read(w.t, filepath.Join(w.dir, "node"+lock.Extension))
	l, err := lock.Parse("node", text)
	must(w.t, err)
	m, err := artifact.ReadManifest(out)
	must(w.t, err)
	for what, got := range map[string][]string{"lock": l.FirstUse(), "manifest": m.FirstUse} {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			w.t.Errorf("the %s names %q, want %q", what, got, want)
		}
	}
}

// oneFile is a tar archive with a small file.
func oneFile(t testing.TB, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	a := tar.NewWriter(&b)
	must(t, a.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(name)), Typeflag: tar.TypeReg}))
	_, err := a.Write([]byte(name))
	must(t, errors.Join(err, a.Close()))
	return b.Bytes()
}
