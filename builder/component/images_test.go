package component

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
)

func layerOf(t testing.TB, members ...member) v1.Layer {
	t.Helper()
	content := tarOf(t, members...)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// imageFor is a synthetic image of two layers whose second removes and hides what the first has.
func imageFor(t testing.TB, arch string) v1.Image {
	t.Helper()
	below := layerOf(t, directory("bin/"), program("bin/sh", arch), hardlink("bin/ash", "bin/sh"), directory("etc/"),
		member{tar.Header{Name: "etc/gone"}, "x"}, directory("data/"), member{tar.Header{Name: "data/old"}, "x"},
		member{tar.Header{Name: "bin/su", Mode: 0o4755}, "s"})
	above := layerOf(t, directory("etc/"), member{tar.Header{Name: "etc/.wh.gone"}, ""}, directory("data/"),
		member{tar.Header{Name: "data/.wh..wh..opq"}, ""}, member{tar.Header{Name: "data/new", Uid: 1000, Gid: 1000}, "n"})
	img, err := mutate.AppendLayers(empty.Image, below, above)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, withPlatform(t, img, arch))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func withPlatform(t testing.TB, img v1.Image, arch string) *v1.ConfigFile {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.Architecture, c.OS, c.Created = arch, "linux", v1.Time{Time: time.Unix(1_500_000_000, 0).UTC()}
	return c
}

func indexOf(t testing.TB) v1.ImageIndex {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: imageFor(t, arch),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return index
}

// newRegistry serves example.org/tools/box:1.0 for two architectures, example.org/single:1 for
// amd64 alone, and the named images of registry.k8s.io for two.
func newRegistry(t testing.TB, k8s ...string) *upstream {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	push := func(at string, write func(name.Reference) error) {
		t.Helper()
		ref, err := name.ParseReference(host + "/" + at)
		if err == nil {
			err = write(ref)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	index := indexOf(t)
	for _, at := range append([]string{"tools/box:1.0"}, k8s...) {
		push(at, func(ref name.Reference) error { return remote.WriteIndex(ref, index) })
	}
	push("single:1", func(ref name.Reference) error { return remote.Write(ref, imageFor(t, "amd64")) })
	u := newUpstream(t, map[string][]byte{})
	u.mirrors[0].URL = server.URL // example.org
	u.mirrors = append(u.mirrors, fetch.Mirror{Prefix: "https://registry.k8s.io", URL: server.URL})
	return u
}

const boxComponents = "  - name: boxes\n    containerImages: {images: [\"example.org/tools/box:1.0\"]}\n"

func TestImageStoreLayout(t *testing.T) {
	k := newKit(t, t.TempDir(), "arm64", boxComponents, newRegistry(t))
	root, l := mustBake(t, k)
	pin := l.Components[0].Images[0]
	if !pin.TrustOnFirstUse || pin.Index == nil || len(pin.Layers) != 2 || !strings.HasPrefix(pin.Layers[0].URL, "https://example.org/v2/tools/box/blobs/sha256:") {
		t.Errorf("pinned as %+v", pin)
	}
	store := tree.Sub(root, "usr/lib/edgebake/images/boxes")
	got := listing(store)
	for _, x := range []string{string(pin.Config.SHA256), string(pin.Manifest.SHA256), string(pin.Index.SHA256)} {
		got = strings.ReplaceAll(got, x, "ID")
		for _, key := range []string{"sha256:", "manifest-sha256:"} { // how layers are compressed decides digests
			got = strings.ReplaceAll(got, base64.StdEncoding.EncodeToString([]byte(key+x)), "BASE64("+key+"ID)")
		}
	}
	if d := cmp.Diff(goldenText(t, "testdata/imagestore.txt", got), got); d != "" {
		t.Errorf("layout: golden (-) and now (+)\n%s", d)
	}
	checkLists(t, k, root, pin)
}

// goldenText reads a golden file, after writing it anew under "-args update".
func goldenText(t testing.TB, file, got string) string {
	t.Helper()
	if len(os.Args) > 1 && os.Args[len(os.Args)-1] == "update" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(want)
}

// checkLists follows the references between the files of a store, as containers/storage does.
func checkLists(t *testing.T, k Kit, root tree.Tree, pin lock.Image) {
	t.Helper()
	const dir = "usr/lib/edgebake/images/boxes/"
	var images []storedImage
	var layers []storedLayer
	for file, list := range map[string]any{"overlay-images/images.json": &images, "overlay-layers/layers.json": &layers} {
		if err := json.Unmarshal([]byte(read(t, k, root, dir+file)), list); err != nil {
			t.Fatal(err)
		}
		if read(t, k, root, dir+strings.Replace(file, ".json", ".lock", 1)) != "" {
			t.Errorf("the lock of %s is not empty", file)
		}
	}
	i := images[0]
	if i.ID != string(pin.Config.SHA256) || i.Digest != "sha256:"+string(pin.Manifest.SHA256) || i.Layer != layers[1].ID || i.Names[0] != "example.org/tools/box:1.0" {
		t.Errorf("image is %+v", i)
	}
	if layers[0].Parent != "" || layers[0].ID != layers[0].Digest[7:] || layers[1].Parent != layers[0].ID || layers[1].Compression != asGzip {
		t.Errorf("layers are %+v", layers)
	}
	if want := string(cas.Of([]byte(layers[0].ID + "+" + layers[1].Digest[7:]))); layers[1].ID != want {
		t.Errorf("layer ID is %s instead of %s", layers[1].ID, want)
	}
	for _, l := range layers {
		short := read(t, k, root, dir+"overlay/"+l.ID+"/link")
		if e, ok := root.Lookup(dir + "overlay/l/" + short); !ok || e.Link != "../"+l.ID+"/diff" || len(short) != 26 {
			t.Errorf("link %s of %s leads to %q", short, l.ID, e.Link)
		}
	}
	if lower := read(t, k, root, dir+"overlay/"+layers[1].ID+"/lower"); lower != "l/"+read(t, k, root, dir+"overlay/"+layers[0].ID+"/link") {
		t.Errorf("lower is %q", lower)
	}
	if len(i.BigDataNames) != 4 {
		t.Errorf("big data: %q", i.BigDataNames)
	}
	data, ok := root.Lookup(path.Join(dir, "overlay", layers[1].ID, "diff/data"))
	if !ok || len(data.Xattrs) != 1 || data.Xattrs[0].Name != "trusted.overlay.opaque" || string(data.Xattrs[0].Value) != "y" {
		t.Errorf("the hiding directory is %+v", data)
	}
}

func TestImagesAreTheSameTwiceAndOffline(t *testing.T) {
	u := newRegistry(t)
	k := newKit(t, t.TempDir(), "arm64", boxComponents, u)
	first, l := mustBake(t, k)
	again, cached, err := k.Build(t.Context(), l)
	if err != nil || !cached {
		t.Fatalf("built again: %v %v", cached, err)
	}
	offline := k
	offline.Client = fetch.New(fetch.Config{Store: k.Store, Offline: true})
	if err := offline.Fetch(t.Context(), l.Components); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
	other := newKit(t, t.TempDir(), "arm64", boxComponents, u)
	second, _ := mustBake(t, other)
	merged, err := tree.Merge(again...)
	if err != nil {
		t.Fatal(err)
	}
	if a, b, c := treeDigest(t, first), treeDigest(t, second), treeDigest(t, merged); a != b || a != c {
		t.Error("two bakes differ")
	}
	empty := newKit(t, t.TempDir(), "arm64", boxComponents, u)
	empty.Client = offline.Client
	var refused *fetch.OfflineError
	if err := empty.Fetch(t.Context(), l.Components); !errors.As(err, &refused) {
		t.Errorf("an empty store offline: %v", err)
	}
	if err := other.Client.All(t.Context(), l.Requests()); err != nil {
		t.Errorf("requests of a store that has everything: %v", err)
	}
}

func treeDigest(t testing.TB, x tree.Tree) cas.Digest {
	t.Helper()
	d, err := tree.Digest(x)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestImageFaults(t *testing.T) {
	for _, tt := range []struct{ image, want string }{
		{"example.org/single:1", "it is for linux/amd64 and the profile for linux/arm64"},
		{"example.org/tools/box:2.0", "example.org/tools/box:2.0: "},
		{"example.org/tools/box@sha256:" + strings.Repeat("0", 64), "MANIFEST_UNKNOWN"},
	} {
		k := newKit(t, t.TempDir(), "arm64", "  - name: x\n    containerImages: {images: [\""+tt.image+"\"]}\n", newRegistry(t))
		if _, _, err := bake(t, k); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "locking component x: resolving container image ") {
			t.Errorf("%s: %v", tt.image, err)
		}
	}
	raw, err := indexOf(t).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := choose(raw, platform("riscv64", "")); err == nil || !strings.Contains(err.Error(), "it is for linux/amd64, linux/arm64") {
		t.Errorf("an architecture that is not there: %v", err)
	}
}

func TestHostileManifests(t *testing.T) {
	ok := `{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:` + strings.Repeat("0", 64) + `"}`
	for name, manifest := range map[string]string{
		"path":    `{"schemaVersion":2,"config":{"digest":"sha256:../../etc"}}`,
		"sha512":  `{"schemaVersion":2,"config":` + ok + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":1,"digest":"sha512:` + strings.Repeat("0", 128) + `"}]}`,
		"size":    `{"schemaVersion":2,"config":` + ok + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":-1,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
		"foreign": `{"schemaVersion":2,"config":` + ok + `,"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
		"chart":   `{"schemaVersion":2,"config":` + ok + `,"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","size":1,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
	} {
		if _, err := parseManifest([]byte(manifest)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestWhiteouts(t *testing.T) {
	for name, tt := range map[string]struct {
		members []member
		want    string
	}{
		"made again as a directory": {[]member{directory("d/"), program("d/x", "1"), program(".wh.d", "")}, "d* d/x"},
		"made again as a file":      {[]member{program("f", "1"), program(".wh.f", "")}, "f"},
		"removed":                   {[]member{program("a/.wh.f", "")}, "a a/f-"},
		"aufs":                      {[]member{program("a/.wh..wh.plnk", "")}, "a"},
		"names nothing":             {[]member{program("a/.wh.", "")}, "error"},
		"names the parent":          {[]member{program("a/.wh...", "")}, "error"},
	} {
		b := tarOf(t, tt.members...)
		in, err := tree.FromTar(cas.Of(b), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		entries, err := overlayForm(in)
		if err != nil {
			got = []string{"error"}
		}
		for _, e := range entries {
			mark := ""
			if e.Type == tree.CharDevice {
				mark = "-"
			}
			if len(e.Xattrs) > 0 {
				mark = "*"
			}
			if e.Path != "." {
				got = append(got, e.Path+mark)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %q instead of %q", name, s, tt.want)
		}
	}
}

func FuzzManifest(f *testing.F) {
	digest := "sha256:" + strings.Repeat("0", 64)
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"` + digest + `"},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":1,"digest":"` + digest + `"}]}`))
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest + `","platform":{"os":"linux","architecture":"arm64"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parseManifest(data); err == nil && m == nil {
			t.Error("neither a manifest nor a fault")
		}
		if d, err := choose(data, platform("arm64", "")); err == nil && d.Platform == nil {
			t.Error("a manifest without a platform is chosen")
		}
		_, _ = namedIn(data, "example.org/x:1") // must not panic
	})
}

// A registry, or what is in between, that changes bytes.
func TestChangedBlobsAreRefused(t *testing.T) {
	u := newRegistry(t)
	k := newKit(t, t.TempDir(), "arm64", boxComponents, u)
	pins, err := k.Resolve(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := url.Parse(u.mirrors[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "/blobs/") {
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", int(r.ContentLength))))
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	k.Client = fetch.New(fetch.Config{Store: k.Store, Mirrors: []fetch.Mirror{{Prefix: "https://example.org", URL: server.URL}}})
	var mismatch *cas.MismatchError
	if err := k.Fetch(t.Context(), pins); !errors.As(err, &mismatch) {
		t.Errorf("changed layers: %v", err)
	}
}
