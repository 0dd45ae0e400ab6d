package component

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestLocalImages(t *testing.T) {
	dir := t.TempDir()
	l, err := layout.Write(filepath.Join(dir, "oci"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendIndex(indexOf(t), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1.0"})); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.org/tools/box:1.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "docker.tar"), tag, imageFor(t, "arm64")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "oci.tar"), tarOfDir(t, filepath.Join(dir, "oci")), 0o644); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, source := range []string{"source: layout, path: oci", "source: archive, path: oci.tar", "source: archive, path: docker.tar"} {
		k := newKit(t, dir, "arm64", "  - name: boxes\n    containerImages: {images: [\"example.org/tools/box:1.0\"], "+source+"}\n", nil)
		root, lck := mustBake(t, k)
		layers := read(t, k, root, "usr/lib/edgebake/images/boxes/overlay-layers/layers.json")
		if want == "" {
			want = layers
		}
		if layers != want {
			t.Errorf("%s: layers differ:\n%s\n%s", source, layers, want)
		}
		if lck.Components[0].Images[0].TrustOnFirstUse || len(lck.Components[0].Files) != 1 {
			t.Errorf("%s: pinned as %+v", source, lck.Components[0])
		}
		// A store that has nothing reads the file again.
		fresh := newKit(t, dir, "arm64", "  - name: boxes\n    containerImages: {images: [\"example.org/tools/box:1.0\"], "+source+"}\n", nil)
		if err := fresh.Fetch(t.Context(), lck.Components); err != nil {
			t.Errorf("%s: %v", source, err)
		}
		if _, _, err := fresh.Build(t.Context(), lck); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	k := newKit(t, dir, "arm64", "  - name: x\n    containerImages: {images: [\"example.org/other:1\"], source: archive, path: docker.tar}\n", nil)
	if _, _, err := bake(t, k); err == nil || !strings.Contains(err.Error(), `no such image; it has ["example.org/tools/box:1.0"]`) {
		t.Errorf("an image that is not there: %v", err)
	}
}

func tarOfDir(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImagesForContainerd(t *testing.T) {
	k := newKit(t, t.TempDir(), "amd64", "  - name: boxes\n    containerImages: {images: [\"example.org/tools/box:1.0\"], runtime: containerd}\n", newRegistry(t))
	root, l := mustBake(t, k)
	file := filepath.Join(t.TempDir(), "boxes.tar")
	if err := os.WriteFile(file, []byte(read(t, k, root, "usr/lib/edgebake/images/boxes.tar")), 0o644); err != nil {
		t.Fatal(err)
	}
	// What is written can be read as an archive again, and means the same image.
	back := newKit(t, filepath.Dir(file), "amd64", "  - name: boxes\n    containerImages: {images: [\"example.org/tools/box:1.0\"], source: archive, path: boxes.tar}\n", nil)
	_, again := mustBake(t, back)
	if a, b := l.Components[0].Images[0].Manifest.SHA256, again.Components[0].Images[0].Manifest.SHA256; a != b {
		t.Errorf("manifest is %s after the archive, %s before", b, a)
	}
	if e, ok := root.Lookup("etc/systemd/system/multi-user.target.wants/edgebake-images-boxes.service"); !ok || e.Link != "/usr/lib/systemd/system/edgebake-images-boxes.service" {
		t.Errorf("the unit is enabled as %+v", e)
	}
}
