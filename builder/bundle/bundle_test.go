package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/progress"
)

// digest is of "x".
const digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

func TestParseIndexRefuses(t *testing.T) {
	file := func(path string) string { return `{"path":"` + path + `","size":1,"sha256":"` + digest + `"}` }
	index := func(lock, files string) string {
		return `{"version":1,"profile":"p","lock":"` + lock + `","files":[` + files + `]}`
	}
	for name, test := range map[string]struct{ text, want string }{
		"good":      {index("p.lock.json", file("p.lock.json")), ""},
		"version":   {`{"version":2}`, "version is 2"},
		"field":     {`{"version":1,"fils":[]}`, "fils"},
		"upwards":   {index("p", file("p")+","+file("a/../../etc/passwd")), "leads out"},
		"absolute":  {index("p", file("/etc/passwd")), "leads out"},
		"backslash": {index("p", file(`a\\b`)), "leads out"},
		"twice":     {index("p", file("p")+","+file("p")), "twice"},
		"itself":    {index("p", file("p")+","+file(IndexName)), "twice"},
		"size":      {`{"version":1,"lock":"p","files":[{"path":"p","size":-1,"sha256":"` + digest + `"}]}`, "-1 bytes"},
		"digest":    {`{"version":1,"lock":"p","files":[{"path":"p","size":1,"sha256":"x"}]}`, "SHA-256"},
		"no lock":   {index("q", file("p")), "as the lock"},
	} {
		if _, err := ParseIndex([]byte(test.text)); (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestInputPath(t *testing.T) {
	for raw, want := range map[string]string{
		"http://ftp.debian.org/debian/pool/a_1%3a2.deb":         "inputs/ftp.debian.org/debian/pool/a_1_2.deb",
		"https://registry.example:5000/v2/pause/blobs/sha256:1": "inputs/registry.example/v2/pause/blobs/sha256_1",
		"http://a.example/../../../etc/passwd":                  "inputs/a.example/etc/passwd",
		"http://../x":                                           "inputs/local/2d711642b726/my_thing_1",
		"http://a.example":                                      "inputs/local/2d711642b726/my_thing_1",
		":":                                                     "inputs/local/2d711642b726/my_thing_1",
	} {
		if got := inputPath(fetch.Request{Name: "my/thing 1", URLs: []string{raw}, Digest: digest}); got != want {
			t.Errorf("%s goes to %s, want %s", raw, got, want)
		}
	}
}

// TestRoundTrip writes bundles of each form and reads them.
func TestRoundTrip(t *testing.T) {
	store := open(t)
	blob, err := store.PutBytes([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	requests := []fetch.Request{
		{Name: "one", URLs: []string{"http://a.example/x"}, Size: 7, Digest: blob},
		{Name: "other content at the same address", URLs: []string{"http://a.example/x"}, Size: 1, Digest: cas.Of([]byte("y"))},
	}
	if _, err := store.PutBytes([]byte("y")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir", "archive.tar", "with/slash/"} {
		path := t.TempDir() + "/" + name
		if err := os.MkdirAll(filepath.Dir(strings.TrimSuffix(path, "/")), 0o755); err != nil {
			t.Fatal(err)
		}
		files := append(Inputs(store, requests), Bytes("p.lock.json", []byte("lock")), Bytes("go/m/@v/list", []byte("v1\n")))
		if err := Write(t.Context(), path, Index{Profile: "p", Lock: "p.lock.json"}, files, 1, progress.Discard{}); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(strings.TrimSuffix(path, "/") + "*.partial"); left != nil {
			t.Errorf("left behind: %v", left)
		}
		check(t, path, requests)
	}
}

func check(t *testing.T, path string, requests []fetch.Request) {
	t.Helper()
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, lock, err := b.Lock(); err != nil || string(lock) != "lock" {
		t.Errorf("%s: the lock is %q, %v", path, lock, err)
	}
	store := open(t)
	n, err := b.Import(t.Context(), store, requests, progress.Discard{})
	if err != nil || n != 2 || !store.Has(requests[0].Digest) || !store.Has(requests[1].Digest) {
		t.Errorf("%s: imported %d, %v", path, n, err)
	}
	dir := t.TempDir()
	if err := b.ExtractGo(t.Context(), dir); err != nil || !b.HasGo() {
		t.Error(err)
	}
	if list, err := os.ReadFile(filepath.Join(dir, "m/@v/list")); err != nil || string(list) != "v1\n" {
		t.Errorf("%s: list is %q, %v", path, list, err)
	}
}

func open(t *testing.T) *cas.Store {
	t.Helper()
	s, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWriteNoticesWrongContent: a store that changed under our hands must not be handed on.
func TestWriteNoticesWrongContent(t *testing.T) {
	wrong := Bytes("p.lock.json", []byte("lock"))
	wrong.SHA256 = digest
	path := filepath.Join(t.TempDir(), "b.tar")
	var mismatch *cas.MismatchError
	err := Write(t.Context(), path, Index{Lock: "p.lock.json"}, []Content{wrong}, 0, progress.Discard{})
	if !errors.As(err, &mismatch) {
		t.Errorf("writing wrong content: %v", err)
	}
	if left, _ := filepath.Glob(path + "*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// FuzzOpen gives archives of strangers to the reader.
func FuzzOpen(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{IndexName: `{"version":1,"lock":"l","files":[{"path":"l","size":1,"sha256":"` + digest + `"}]}`, "l": "x"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644}); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:700])
	path := filepath.Join(f.TempDir(), "bundle.tar")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		b, err := Open(path)
		if err != nil {
			return
		}
		defer b.Close()
		if _, lock, err := b.Lock(); err == nil && int64(len(lock)) > int64(len(data)) {
			t.Errorf("the lock has %d bytes, the archive %d", len(lock), len(data))
		}
		var damaged *DamagedError
		requests := []fetch.Request{{Name: "x", Digest: digest, Size: 1}}
		if _, err := b.Import(t.Context(), open(t), requests, progress.Discard{}); err != nil && !errors.As(err, &damaged) {
			t.Errorf("importing: %v", err)
		}
	})
}
