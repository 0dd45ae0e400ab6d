package component

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// xzOf compresses with the real program.
func xzOf(t testing.TB, b []byte) []byte {
	t.Helper()
	cmd := exec.Command(oracle.Need(t, "xz"), "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sampleTar(t testing.TB) []byte {
	return tarOf(t, directory("tool-1.2/"), directory("tool-1.2/bin/"), program("tool-1.2/bin/a", "A"), hardlink("tool-1.2/bin/b", "tool-1.2/bin/a"),
		symlink("tool-1.2/bin/c", "a"), member{tar.Header{Name: "tool-1.2/doc/README"}, "read"}, program("tool-1.2/sbin/d", "D"))
}

const wholeListing = `0755 0:0 ./
0755 0:0 opt/
0755 0:0 opt/tool/
0755 0:0 opt/tool/bin/
0755 0:0 opt/tool/bin/a (file, 1 bytes)
opt/tool/bin/b -> opt/tool/bin/a (hardlink)
opt/tool/bin/c -> a (symlink)
0755 0:0 opt/tool/doc/
0644 0:0 opt/tool/doc/README (file, 4 bytes)
0755 0:0 opt/tool/sbin/
0755 0:0 opt/tool/sbin/d (file, 1 bytes)
`

func TestTarballFormats(t *testing.T) {
	plain := sampleTar(t)
	for name, archive := range map[string][]byte{"a.tar": plain, "a.tar.gz": gzipped(t, plain), "a.tar.zst": zstdOf(t, plain), "a.tar.xz": xzOf(t, plain)} {
		u := newUpstream(t, map[string][]byte{"example.org/" + name: archive})
		k := newKit(t, t.TempDir(), "amd64", "  - name: tool\n    tarball: {urls: [https://example.org/"+name+"], strip: 1, destination: /opt/tool}\n", u)
		got, l := mustBake(t, k)
		if d := cmp.Diff(wholeListing, listing(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if f := l.Components[0].Files[0]; !f.TrustOnFirstUse || f.SHA256 != cas.Of(archive) || f.Size != int64(len(archive)) {
			t.Errorf("%s: pinned as %+v", name, f)
		}
		if got := l.FirstUse(); len(got) != 1 || got[0] != "tool/archive" {
			t.Errorf("first use: %q", got)
		}
		if _, cached, err := k.Build(t.Context(), l); err != nil || !cached {
			t.Errorf("%s: built again: %v %v", name, cached, err)
		}
	}
}

func TestTarballPicks(t *testing.T) {
	u := newUpstream(t, map[string][]byte{"example.org/a.tar": sampleTar(t)})
	for options, want := range map[string]string{
		// The link's file is not picked: the link becomes the file.
		`strip: 1, pick: [bin/b], owner: "7:8", mode: "0500"`: "0500 7:8 usr/bin/b (file, 1 bytes)",
		`strip: 2, pick: ["?"]`:                               "0755 0:0 usr/a (file, 1 bytes)\nusr/b -> usr/a (hardlink)\nusr/c -> a (symlink)\n0755 0:0 usr/d (file, 1 bytes)",
		`pick: [tool-1.2/doc]`:                                "0755 0:0 usr/tool-1.2/\n0755 0:0 usr/tool-1.2/doc/\n0644 0:0 usr/tool-1.2/doc/README (file, 4 bytes)",
	} {
		k := newKit(t, t.TempDir(), "amd64", "  - name: tool\n    tarball: {urls: [https://example.org/a.tar], destination: /usr, "+options+"}\n", u)
		root, _ := mustBake(t, k)
		got := strings.TrimPrefix(listing(root), "0755 0:0 ./\n0755 0:0 usr/\n")
		got = strings.TrimPrefix(got, "0755 0:0 usr/bin/\n")
		if d := cmp.Diff(want+"\n", got); d != "" {
			t.Errorf("%s: %s", options, d)
		}
	}
}

func TestTarballIsRefused(t *testing.T) {
	ok := program("dir/fine", "x")
	capability := member{tar.Header{Name: "dir/cap", PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01"}, Format: tar.FormatPAX}, "x"}
	for name, tt := range map[string]struct {
		members []member
		options string
		want    string
	}{
		"parent":            {[]member{ok, program("dir/../../etc/passwd", "x")}, "", `member "dir/../../etc/passwd": name "dir/../../etc/passwd" leaves the archive`},
		"absolute":          {[]member{ok, program("/etc/passwd", "x")}, "", "member /etc/passwd has an absolute name"},
		"link out":          {[]member{ok, symlink("dir/l", "../../../etc")}, "", "member dir/l is a symbolic link to ../../../etc, which is out of /opt/x"},
		"link above root":   {[]member{ok, symlink("dir/l", "../../../../../opt/x/dir")}, "", "out of /opt/x"},
		"link absolute":     {[]member{ok, symlink("dir/l", "/etc/shadow")}, "", "member dir/l is a symbolic link to /etc/shadow"},
		"through link":      {[]member{ok, symlink("a", "dir"), program("a/b", "x")}, "", "parent is not a directory"},
		"device":            {[]member{ok, {tar.Header{Name: "dir/sda", Typeflag: tar.TypeBlock, Devmajor: 8}, ""}}, "", "member dir/sda is a blockdevice"},
		"fifo":              {[]member{ok, {tar.Header{Name: "dir/f", Typeflag: tar.TypeFifo}, ""}}, "", "member dir/f is a fifo"},
		"setuid":            {[]member{ok, {tar.Header{Name: "dir/su", Mode: 0o4755}, "x"}}, "", "member dir/su has mode 4755"},
		"capabilities":      {[]member{ok, capability}, "", "member dir/cap has file capabilities"},
		"hard link outside": {[]member{ok, hardlink("dir/h", "../../etc/shadow")}, "", "leaves the archive"},
		"hard link nowhere": {[]member{ok, hardlink("dir/h", "etc/shadow")}, "", "no file of the tree"},
		"nothing picked":    {[]member{ok}, ", pick: [bin/*]", `no member matches "bin/*"; the first ones are dir, dir/fine`},
		"all stripped":      {[]member{ok}, ", strip: 9", "nothing is left of it with 9 directories stripped"},
		"no tar":            {nil, "", "it is no tar, or an empty one"},
	} {
		u := newUpstream(t, map[string][]byte{"example.org/a.tar.gz": gzipped(t, tarOf(t, tt.members...))})
		k := newKit(t, t.TempDir(), "amd64", "  - name: tool\n    tarball: {urls: [https://example.org/a.tar.gz], destination: /opt/x"+tt.options+"}\n", u)
		_, _, err := bake(t, k)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "building component tool: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnpackedSizeIsBounded(t *testing.T) {
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bomb, err := store.PutBytes(gzipped(t, make([]byte, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := unpack(store, bomb, 1<<20); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	// Kept results are measured again.
	if _, _, err := unpack(store, bomb, 1<<20-1); err == nil || !strings.Contains(err.Error(), "more than the allowed 1048575 bytes") {
		t.Errorf("above the limit: %v", err)
	}
	cut, err := store.PutBytes(gzipped(t, sampleTar(t))[:60])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := unpack(store, cut, 1<<20); err == nil {
		t.Error("a truncated archive is unpacked")
	}
}

func TestPublishedHashes(t *testing.T) {
	archive := sampleTar(t)
	sum := sha512.Sum512(archive)
	digits := hex.EncodeToString(sum[:])
	other := strings.Repeat("0", 128)
	for name, tt := range map[string]struct{ options, sums, want string }{
		"sha256":        {"sha256: " + string(cas.Of(archive)), "", ""},
		"wrong sha256":  {"sha256: " + other[:64], "", "instead of " + other[:64]},
		"sha512":        {"sha512: " + digits, "", ""},
		"wrong sha512":  {"sha512: " + `"` + other + `"`, "", "archive (SHA-512) has SHA-256 " + digits},
		"bare sum":      {"sums: https://example.org/sums", digits + "\n", ""},
		"lines":         {"sums: https://example.org/sums", other + "  b.tar\n" + string(cas.Of(archive)) + " *./x/a.tar\n", ""},
		"wrong line":    {"sums: https://example.org/sums", other + "  a.tar\n" + digits + "  b.tar\n", "instead of"},
		"not listed":    {"sums: https://example.org/sums", digits + "  b.tar\n", "none of its 1 lines is of a.tar"},
		"web page":      {"sums: https://example.org/sums", "<html>\n", "is neither a SHA-256 nor a SHA-512"},
		"no such file":  {"sums: https://example.org/none", digits, "checksum of archive: not there any more"},
		"sha1 in lines": {"sums: https://example.org/sums", other[:40] + "  a.tar\n", "neither a SHA-256 nor a SHA-512"},
	} {
		u := newUpstream(t, map[string][]byte{"example.org/a.tar": archive, "example.org/sums": []byte(tt.sums)})
		k := newKit(t, t.TempDir(), "amd64", "  - name: tool\n    tarball: {urls: [https://example.org/a.tar], destination: /opt, "+tt.options+"}\n", u)
		_, l, err := bake(t, k)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want == "" && l.Components[0].Files[0].TrustOnFirstUse:
			t.Errorf("%s: is trusted on first use", name)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChangedFirstUseIsRefused(t *testing.T) {
	u := newUpstream(t, map[string][]byte{"example.org/a.tar": sampleTar(t)})
	k := newKit(t, t.TempDir(), "amd64", "  - name: tool\n    tarball: {urls: [https://example.org/a.tar], destination: /opt}\n", u)
	pins, err := k.Resolve(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	u.files["example.org/a.tar"] = tarOf(t, program("evil", "x"))
	_, err = k.Resolve(t.Context(), pins)
	var changed *ChangedError
	if !errors.As(err, &changed) || changed.Was != pins[0].Files[0].SHA256 {
		t.Errorf("a changed file is pinned: %v", err)
	}
}

// What is published and in the store is not downloaded again.
func TestLockingAgain(t *testing.T) {
	archive := sampleTar(t)
	u := newUpstream(t, map[string][]byte{"example.org/a.tar": archive, "example.org/sums": []byte(cas.Of(archive))})
	k := newKit(t, t.TempDir(), "amd64", "  - name: tool\n    tarball: {urls: [https://example.org/a.tar], sums: https://example.org/sums, destination: /opt}\n", u)
	pins, err := k.Resolve(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	delete(u.files, "example.org/a.tar")
	again, err := k.Resolve(t.Context(), pins)
	if err != nil || again[0].Files[0].SHA256 != pins[0].Files[0].SHA256 || again[0].Files[0].TrustOnFirstUse {
		t.Errorf("locking again: %+v, %v", again, err)
	}
	// A new release under the same name has a new checksum.
	other := tarOf(t, program("new", "x"))
	u.files["example.org/a.tar"], u.files["example.org/sums"] = other, []byte(cas.Of(other))
	again, err = k.Resolve(t.Context(), pins)
	if err != nil || again[0].Files[0].SHA256 != cas.Of(other) {
		t.Errorf("locking what is published anew: %+v, %v", again, err)
	}
}

func TestFilesOfTheMachine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("motd", "hello")
	components := `  - name: motd
    files:
      files:
        - {path: /etc/motd, source: motd, mode: "0600", owner: 5, group: 6}
        - {path: /etc/issue, content: "text\n"}
`
	k := newKit(t, dir, "amd64", components, nil)
	root, l := mustBake(t, k)
	want := "0755 0:0 ./\n0755 0:0 etc/\n0644 0:0 etc/issue (file, 5 bytes)\n0600 5:6 etc/motd (file, 5 bytes)\n"
	if d := cmp.Diff(want, listing(root)); d != "" {
		t.Error(d)
	}
	if f := l.Components[0].Files[0]; f.Source != "motd" || len(f.URLs) > 0 || f.TrustOnFirstUse {
		t.Errorf("pinned as %+v", f)
	}
	// A change makes the lock stale; a file that is gone does not, as long as the store has it.
	write("motd", "other")
	var stale *lock.StaleError
	if err := k.Fetch(t.Context(), l.Components); !errors.As(err, &stale) || stale.File != "motd" {
		t.Errorf("changed file: %v", err)
	}
	fresh, ok, err := k.Refresh(l.Components)
	if err != nil || !ok || fresh[0].Files[0].SHA256 != cas.Of([]byte("other")) || l.Components[0].Files[0].SHA256 != cas.Of([]byte("hello")) {
		t.Errorf("refreshed to %+v, %v, %v", fresh, ok, err)
	}
	if err := os.Remove(filepath.Join(dir, "motd")); err != nil {
		t.Fatal(err)
	}
	if err := k.Fetch(t.Context(), l.Components); err != nil {
		t.Errorf("file that is gone: %v", err)
	}
	if _, err := k.Resolve(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "reading motd: there is no "+filepath.Join(dir, "motd")) {
		t.Errorf("locking a file that is gone: %v", err)
	}
}

// A changed package may need other packages: the solver must look at it.
func TestChangedPackagesAreNotRefreshed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.deb")
	k := newKit(t, dir, "amd64", "  - name: local\n    debs: {files: [a.deb]}\n", nil)
	for i, text := range []string{"one", "one", "two"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		pins := []lock.Component{{Name: "local", Kind: "debs", Files: []lock.File{{Name: "a.deb", Source: "a.deb", Size: 3, SHA256: cas.Of([]byte("one"))}}}}
		if _, ok, err := k.Refresh(pins); err != nil || ok != (text == "one") {
			t.Errorf("%d: %v %v", i, ok, err)
		}
	}
}

func TestCNIFromTheRelease(t *testing.T) {
	release := gzipped(t, tarOf(t, directory("./"), program("./bridge", "B"), program("./loopback", "L")))
	name := "cni-plugins-linux-arm64-v0.9.1.tgz"
	u := newUpstream(t, map[string][]byte{"storage.googleapis.com/k8s-artifacts-cni/release/v0.9.1/" + name: release})
	k := newKit(t, t.TempDir(), "arm64", "  - name: cni\n    cni: {version: v0.9.1, sum: "+string(cas.Of(release))+"}\n", u)
	root, l := mustBake(t, k)
	if got := read(t, k, root, "opt/cni/bin/loopback"); got != "L" || l.Components[0].Files[0].TrustOnFirstUse {
		t.Errorf("loopback is %q, %+v", got, l.Components[0])
	}
	// The known version has its published hash: something else in its place is no v0.8.7.
	u.files["github.com/containernetworking/plugins/releases/download/v0.8.7/cni-plugins-linux-arm64-v0.8.7.tgz"] = release
	k = newKit(t, t.TempDir(), "arm64", "  - name: cni\n    cni: {version: v0.8.7}\n", u)
	if _, _, err := bake(t, k); err == nil || !strings.Contains(err.Error(), "instead of ae13d7b5c05b") {
		t.Errorf("wrong tarball: %v", err)
	}
}

// FuzzArchive places anything that FromTar reads; nothing may panic or leave the destination.
func FuzzArchive(f *testing.F) {
	f.Add(sampleTar(f), 1)
	f.Add(tarOf(f, symlink("a", "../.."), hardlink("b", "a")), 0)
	f.Fuzz(func(t *testing.T, data []byte, strip int) {
		if strip < 0 || strip > 4 || countMembers(io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))) != nil {
			return
		}
		in, err := tree.FromTar("", bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		s := newSite(t, nil, lock.Component{})
		if s.place(in, placement{destination: "/opt/x", strip: strip, mode: -1}) != nil {
			return
		}
		layer, err := s.b.Layer("fuzz")
		if err != nil {
			return
		}
		for i := range layer.Tree.Len() {
			e := layer.Tree.At(i)
			if e.Path != "." && e.Path != "opt" && e.Path != "opt/x" && !strings.HasPrefix(e.Path, "opt/x/") {
				t.Errorf("%s is out of the destination", e.Path)
			}
			if e.Mode&0o7000 != 0 || e.Type > tree.Hardlink {
				t.Errorf("%s is a %s of mode %o", e.Path, e.Type, e.Mode)
			}
		}
	})
}

// FuzzUnpack decompresses anything.
func FuzzUnpack(f *testing.F) {
	f.Add(gzipped(f, sampleTar(f)))
	f.Add(zstdOf(f, sampleTar(f)))
	f.Add([]byte("\xfd7zXZ\x00"))
	f.Add([]byte("BZh9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, err := decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		const limit = 1 << 20
		if n, _ := io.Copy(io.Discard, &bounded{r: r, left: limit, limit: limit}); n > limit {
			t.Errorf("%d bytes come out, more than %d", n, limit)
		}
	})
}

// FuzzSums reads any list of checksums.
func FuzzSums(f *testing.F) {
	f.Add(strings.Repeat("0", 64) + "  a.tar\n")
	f.Add(strings.Repeat("f", 128))
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := findSum(text, "a.tar"); err == nil && len(got) != 64 && len(got) != 128 {
			t.Errorf("the sum has %d digits", len(got))
		}
	})
}
