package apt

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
)

const testIndex = `Package: a
Architecture: arm64
Version: 1:2-3
Priority: required
Essential: yes
Multi-Arch: same
Source: src (1)
Pre-Depends: b
Depends: c | d (>= 1),
 e
Suggests: s
Provides: a-abi (= 2)
Filename: pool/a.deb
Size: 12
SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

Package: other
Architecture: riscv64
Version: 1
`

func TestPackIndex(t *testing.T) {
	var b bytes.Buffer
	must(t, packIndex(&b, strings.NewReader(testIndex), "arm64"))
	list, names, err := packed(b.String()).packages(nil, 3)
	must(t, err)
	want := []Package{{Name: "a", Version: "1:2-3", Arch: "arm64", Path: "pool/a.deb", Size: 12, SHA256: cas.Digest(strings.Repeat("0123456789abcdef", 4)), Source: 3,
		Priority: "required", Essential: true, MultiArch: "same", SourcePackage: "src (1)", PreDepends: "b", Depends: "c | d (>= 1),\n e", Provides: "a-abi (= 2)"}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	var mentions []string
	for name, err := names.next(); err == nil; name, err = names.next() {
		mentions = append(mentions, name)
	}
	if got := strings.Join(mentions, " "); got != "a b c d e s a-abi" {
		t.Errorf("mentions %s", got)
	}
}

func TestPackIndexFaults(t *testing.T) {
	for from, want := range map[string]string{"Package: a\n": "without Package", "Version: 1:2-3\n": "without Package or Version", "Size: 12": `size "" is no number`,
		"SHA256: 0": "a: ", "Filename: pool/a.deb\n": `file name "" leaves`} {
		err := packIndex(&bytes.Buffer{}, strings.NewReader(strings.Replace(testIndex, from, "", 1)), "arm64")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %q: %v, want %s", from, err, want)
		}
	}
	for _, path := range []string{"../a.deb", "/etc/passwd", "a/../../b"} {
		err := packIndex(&bytes.Buffer{}, strings.NewReader(strings.Replace(testIndex, "pool/a.deb", path, 1)), "arm64")
		if err == nil || !strings.Contains(err.Error(), "leaves the archive") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestPackedIsKept: the second load does not need the index, and a removed packed form is
// made again.
func TestPackedIsKept(t *testing.T) {
	store, err := cas.Open(t.TempDir())
	must(t, err)
	index, err := store.PutBytes([]byte(testIndex))
	must(t, err)
	l := loader{store: store, arch: "arm64", source: Source{Suite: "stable"}}
	first, err := l.unpacked("Packages", "", index)
	must(t, err)
	must(t, os.Remove(store.Path(index)))
	second, err := l.unpacked("Packages", "", index)
	must(t, err)
	if first != second || first == "" {
		t.Errorf("%q, then %q", first, second)
	}
	kept := store.Path(cas.Of([]byte(first)))
	must(t, os.Chmod(kept, 0o600))
	must(t, os.WriteFile(kept, []byte("\x05evil"), 0o600))
	_, err = store.PutBytes([]byte(testIndex))
	must(t, err)
	if _, err := l.unpacked("Packages", "", index); err == nil || !strings.Contains(err.Error(), "damaged: remove "+kept) {
		t.Errorf("damaged: %v", err)
	}
	must(t, os.Remove(kept))
	if again, err := l.unpacked("Packages", "", index); err != nil || again != first {
		t.Errorf("%q, %v", again, err)
	}
}

func FuzzPackages(f *testing.F) {
	f.Add(testIndex)
	f.Add("Package: a\nVersion: 1\nArchitecture: all\nFilename: a\nSize: 1\nSHA256: " + strings.Repeat("0", 64) + "\nProvides: b (= 1), c,,\nConflicts: a\n\n\nPackage: b")
	f.Fuzz(func(t *testing.T, text string) {
		var b bytes.Buffer
		if packIndex(&b, strings.NewReader(text), "arm64") != nil {
			return
		}
		u := newUniverse("arm64")
		must(t, u.addSource(Source{}, loadedSource{indexes: []packed{packed(b.String())}, priority: DefaultPriority}))
		u.finish()
		for i := range u.Packages {
			if p := &u.Packages[i]; p.Name == "" || p.Size < 0 || len(p.SHA256) != 64 || !filepath.IsLocal(p.Path) {
				t.Errorf("%+v", p)
			} else if _, err := Solve(u, Request{Install: []string{p.Name}, Recommends: true}); err != nil && err.Error() == "" {
				t.Error(err)
			}
		}
	})
}

// FuzzPacked: a damaged packed form gives an error, never a panic.
func FuzzPacked(f *testing.F) {
	var b bytes.Buffer
	if err := packIndex(&b, strings.NewReader(testIndex), "arm64"); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add("\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, text string) {
		list, names, err := packed(text).packages(nil, 0)
		if err == nil && len(list)*packageStrings+len(names) > len(text) {
			t.Errorf("%d packages and %d bytes of names out of %d bytes", len(list), len(names), len(text))
		}
	})
}
