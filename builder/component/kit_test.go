package component

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const testEpoch = 1_600_000_000

// upstream serves what profiles would get from the internet: URLs without their scheme.
type upstream struct {
	files   map[string][]byte
	mirrors []fetch.Mirror
}

func newUpstream(t testing.TB, files map[string][]byte) *upstream {
	u := &upstream{files: files}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := u.files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content) // a client that is gone notices itself
	}))
	t.Cleanup(server.Close)
	for _, host := range []string{"example.org", "github.com", "raw.githubusercontent.com", "dl.k8s.io", "storage.googleapis.com"} {
		u.mirrors = append(u.mirrors, fetch.Mirror{Prefix: "https://" + host, URL: server.URL + "/" + host})
	}
	return u
}

// newKit loads a profile of the given components, indented as a list; dir has the machine's files.
func newKit(t testing.TB, dir, arch, components string, u *upstream) Kit {
	t.Helper()
	text := "apiVersion: edgebake/v1\nname: test\nabstract: true\narch: " + arch + "\ncomponents:\n" + components
	if err := os.WriteFile(filepath.Join(dir, "test.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := profile.Load(context.Background(), profile.Options{Name: filepath.Join(dir, "test.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	store, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := fetch.Config{Store: store, Retries: -1}
	if u != nil {
		cfg.Mirrors = u.mirrors
	}
	return Kit{Store: store, Client: fetch.New(cfg), Profile: l}
}

// bake locks, fetches and builds; it returns the merged layers.
func bake(t testing.TB, k Kit) (tree.Tree, lock.Lock, error) {
	t.Helper()
	ctx := context.Background()
	pins, err := k.Resolve(ctx, nil)
	if err != nil {
		return tree.Tree{}, lock.Lock{}, err
	}
	l := lock.Lock{Version: lock.Version, Profile: "test", Arch: k.Profile.Profile.Arch, Epoch: testEpoch, Components: pins}
	if err := k.Fetch(ctx, pins); err != nil {
		return tree.Tree{}, l, err
	}
	if err := k.Client.All(ctx, l.Requests()); err != nil {
		return tree.Tree{}, l, err
	}
	layers, _, err := k.Build(ctx, l)
	if err != nil {
		return tree.Tree{}, l, err
	}
	out, err := tree.Merge(layers...)
	return out, l, err
}

func mustBake(t testing.TB, k Kit) (tree.Tree, lock.Lock) {
	t.Helper()
	out, l, err := bake(t, k)
	if err != nil {
		t.Fatal(err)
	}
	return out, l
}

func read(t testing.TB, k Kit, root tree.Tree, p string) string {
	t.Helper()
	e, ok := root.Lookup(p)
	if !ok || e.Type != tree.File {
		t.Fatalf("no file %s in:\n%s", p, listing(root))
	}
	src := tree.NewReader(k.Store)
	defer src.Close()
	r, err := src.Open(e.Content)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// listing is one line per entry but directories that nobody described.
func listing(root tree.Tree) string {
	var b strings.Builder
	for i := range root.Len() {
		e := root.At(i)
		switch e.Type {
		case tree.Dir:
			fmt.Fprintf(&b, "%04o %d:%d %s/\n", e.Mode, e.UID, e.GID, e.Path)
		case tree.Symlink, tree.Hardlink:
			fmt.Fprintf(&b, "%s -> %s (%s)\n", e.Path, e.Link, e.Type)
		default:
			fmt.Fprintf(&b, "%04o %d:%d %s (%s, %d bytes)\n", e.Mode, e.UID, e.GID, e.Path, e.Type, e.Content.Size)
		}
	}
	return b.String()
}

// tarOf makes an archive; the content of a file is in Linkname's place in body.
func tarOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.Header
		h.Size = int64(len(m.body))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type member struct {
	tar.Header
	body string
}

func program(name, body string) member {
	return member{tar.Header{Name: name, Mode: 0o755, Uid: 1234, Gid: 99}, body}
}

func directory(name string) member {
	return member{tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, ""}
}

func symlink(name, to string) member {
	return member{tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}, ""}
}

func hardlink(name, to string) member {
	return member{tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}, ""}
}

func newSite(t testing.TB, store *cas.Store, pin lock.Component) *site {
	return &site{ctx: t.Context(), store: store, pin: pin, arch: "amd64", epoch: testEpoch, cached: true, b: tree.NewBuilder(tree.Time{Sec: testEpoch})}
}
