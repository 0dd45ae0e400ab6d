package component

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/tree"
)

// hostileImage is a kit whose only container image has a layer of these members.
func hostileImage(t *testing.T, members ...member) Kit {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layerOf(t, members...))
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.ConfigFile(img, withPlatform(t, img, "arm64")); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/x:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, t.TempDir(), "arm64", "  - name: x\n    containerImages: {runtime: crio, images: [\"example.org/x:1\"]}\n", nil)
	k.Client = fetch.New(fetch.Config{Store: k.Store, Retries: -1, Mirrors: []fetch.Mirror{{Prefix: "https://example.org", URL: server.URL}}})
	return k
}

// TestHostileLayers: what a container's layer has stays in the layer's directory, which root alone can enter.
func TestHostileLayers(t *testing.T) {
	ok := program("fine", "x")
	for name, tt := range map[string]struct {
		members []member
		want    string
	}{
		"parent":            {[]member{ok, program("a/../../../etc/passwd", "x")}, "leaves the archive"},
		"hard link outside": {[]member{ok, hardlink("h", "../../etc/shadow")}, "leaves the archive"},
		"hard link nowhere": {[]member{ok, hardlink("h", "etc/shadow")}, "no file of the tree"},
		"through own link":  {[]member{ok, symlink("l", "/etc"), program("l/passwd", "x")}, "parent is not a directory"},
		"absolute":          {[]member{ok, program("/etc/passwd", "x")}, "absolute name"},
		"whiteout of all":   {[]member{ok, program(".wh...", "")}, "names nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := bake(t, hostileImage(t, tt.members...))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "example.org/x:1") {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("allowed", func(t *testing.T) {
		root, _ := mustBake(t, hostileImage(t, ok, symlink("out", "/etc/shadow"),
			member{tar.Header{Name: "su", Mode: 0o4755}, "s"}, member{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}, ""}))
		const own = "usr/lib/edgebake/images/x"
		if e, _ := root.Lookup(own); e.Mode != 0o700 || e.UID != 0 {
			t.Errorf("the store is %04o of %d", e.Mode, e.UID)
		}
		seen := 0
		for i := range root.Len() {
			e := root.At(i)
			if e.Mode&0o4000 != 0 || e.Type == tree.BlockDevice {
				seen++
			}
			if e.Type != tree.Dir && !strings.HasPrefix(e.Path, own+"/") && !strings.HasPrefix(e.Path, "etc/") {
				t.Errorf("%s is outside of the store", e.Path)
			}
		}
		if seen != 2 {
			t.Errorf("%d set-id files and devices, want 2", seen)
		}
	})
}

// TestBombs: archives of every compression end at their limit.
func TestBombs(t *testing.T) {
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 4<<20)
	for name, data := range map[string][]byte{"gz": gzipped(t, zeros), "xz": xzOf(t, zeros), "zst": zstdOf(t, zeros)} {
		blob, err := store.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = unpack(store, blob, 1<<20)
		if err == nil || !strings.Contains(err.Error(), "more than the allowed 1048576 bytes without its compression") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEndlessManifest: a registry whose manifest has no end does not fill memory.
func TestEndlessManifest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		for block := bytes.Repeat([]byte(" "), 1<<20); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	k := newKit(t, t.TempDir(), "arm64", "  - name: x\n    containerImages: {images: [\"example.org/x:1\"]}\n", nil)
	k.Client = fetch.New(fetch.Config{Store: k.Store, Retries: -1, Mirrors: []fetch.Mirror{{Prefix: "https://example.org", URL: server.URL}}})
	_, err := k.Resolve(t.Context(), nil)
	var large *fetch.TooLargeError
	if !errors.As(err, &large) || !strings.Contains(err.Error(), "--mirror https://example.org=URL") {
		t.Errorf("%v", err)
	}
}
