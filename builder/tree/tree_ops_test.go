package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/edgebake/edgebake/builder/cas"
)

func file(p, content string) Entry {
	return Entry{Path: p, Type: File, Mode: 0o644, Content: InlineContent([]byte(content))}
}

func dir(p string, mode uint32) Entry { return Entry{Path: p, Type: Dir, Mode: mode} }
func link(p, to string) Entry         { return Entry{Path: p, Type: Hardlink, Link: to} }
func symlink(p, to string) Entry      { return Entry{Path: p, Type: Symlink, Mode: 0o777, Link: to} }
func white(p string) Entry            { return Entry{Path: p, Type: Whiteout} }
func layer(name string, t Tree) Layer { return Layer{Name: name, Tree: t} }
func contentOf(t Tree, p string) string {
	e, _ := t.Lookup(p)
	return string(inodeOf(t, e).Content.Inline)
}

func build(t *testing.T, entries ...Entry) Tree {
	t.Helper()
	b := NewBuilder(Time{Sec: 7})
	for _, e := range entries {
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listing(t Tree) string {
	var out []string
	for _, e := range t.entries {
		s := e.Path
		switch e.Type {
		case Dir:
			s += "/"
		case Hardlink, Symlink:
			s += ">" + e.Link
		case File:
			s += "=" + string(e.Content.Inline)
		case Whiteout:
			s += "-"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestMerge(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]Entry
		want   string
	}{
		{"replace", [][]Entry{{file("a/x", "1"), file("a/y", "2")}, {file("a/x", "3")}}, "./ a/ a/x=3 a/y=2"},
		{"whiteout file", [][]Entry{{file("a/x", "1"), file("a/y", "2")}, {white("a/x")}}, "./ a/ a/y=2"},
		{"whiteout directory, then file", [][]Entry{{file("a/x", "1"), file("ab", "2")}, {white("a")}, {file("a", "3")}}, "./ a=3 ab=2"},
		{"hard link stays when its file is replaced", [][]Entry{{file("a", "1"), link("b", "a"), link("c", "a")}, {file("a", "2")}}, "./ a=2 b=1 c>b"},
		{"hard link is promoted when its file is removed", [][]Entry{{file("a", "1"), link("b", "a")}, {white("a")}}, "./ b=1"},
		{"hard link name is replaced", [][]Entry{{file("a", "1"), link("b", "a")}, {file("b", "2")}}, "./ a=1 b=2"},
		{"directory over symlink to directory", [][]Entry{{dir("usr/bin", 0o755), symlink("bin", "usr/bin")}, {dir("bin", 0o755), file("bin/sh", "1")}}, "./ bin>usr/bin usr/ usr/bin/ usr/bin/sh=1"},
		{"hard link through symlink", [][]Entry{{dir("usr/bin", 0o755), symlink("bin", "usr/bin")}, {file("bin/a", "1"), link("bin/b", "bin/a")}}, "./ bin>usr/bin usr/ usr/bin/ usr/bin/a=1 usr/bin/b>usr/bin/a"},
		{"whiteout through symlink", [][]Entry{{file("usr/bin/x", "1"), symlink("bin", "/usr/bin")}, {white("bin/x")}}, "./ bin>/usr/bin usr/ usr/bin/"},
		{"empty directory gives way", [][]Entry{{dir("a", 0o755)}, {file("a", "1")}}, "./ a=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var layers []Layer
			for _, entries := range tt.layers {
				layers = append(layers, layer("l", build(t, entries...)))
			}
			got, err := Merge(layers...)
			if err != nil {
				t.Fatal(err)
			}
			if listing(got) != tt.want {
				t.Errorf("got  %s\nwant %s", listing(got), tt.want)
			}
		})
	}
}

func TestMergeNamesBothOwners(t *testing.T) {
	tests := map[string][2][]Entry{
		"file over full directory": {{file("a/x", "1")}, {file("a", "2")}},
		"directory over file":      {{file("a", "1")}, {dir("a", 0o755)}},
		"directory over dead link": {{symlink("a", "nowhere")}, {dir("a", 0o755)}},
		"directory over link loop": {{symlink("a", "b"), symlink("b", "a")}, {dir("a", 0o755)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Merge(layer("under", build(t, tt[0]...)), layer("over", build(t, tt[1]...)))
			var c *CollisionError
			if !errors.As(err, &c) || c.Path != "a" || c.Below != "under" || c.Above != "over" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMergeKeepsAttributesUnderImpliedDirectories(t *testing.T) {
	b := NewBuilder(Time{})
	b.Add(file("tmp/x", "1"))
	l, err := b.Layer("overlay")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Merge(layer("base", build(t, dir("tmp", 0o1777))), l)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := got.Lookup("tmp"); e.Mode != 0o1777 {
		t.Errorf("mode of tmp is %o", e.Mode)
	}
}

func TestDiffThenMergeGivesAfter(t *testing.T) {
	base := []Entry{file("a", "1"), link("b", "a"), file("d/x", "2"), file("d/y", "3"), symlink("s", "a"), dir("e", 0o755)}
	chmod := file("d/x", "2")
	chmod.Mode = 0o600
	tests := []struct {
		name  string
		after []Entry
		want  string
	}{
		{"nothing", base, ""},
		{"content", []Entry{file("a", "1"), link("b", "a"), file("d/x", "9"), file("d/y", "3"), symlink("s", "a"), dir("e", 0o755)}, "changed: ./ d/ d/x=9"},
		{"mode", []Entry{file("a", "1"), link("b", "a"), chmod, file("d/y", "3"), symlink("s", "a"), dir("e", 0o755)}, "changed: ./ d/ d/x=2"},
		{"file to directory", []Entry{file("a", "1"), link("b", "a"), file("d", "9"), file("s/t", "1"), dir("e", 0o755)}, "removed: ./ d- s- changed: ./ d=9 s/ s/t=1"},
		{"link broken", []Entry{file("a", "1"), file("b", "1"), file("d/x", "2"), file("d/y", "3"), symlink("s", "a"), dir("e", 0o755)}, "changed: ./ a=1 b=1"},
		{"link added", append(slices.Clone(base), link("c", "a")), "changed: ./ a=1 b>a c>a"},
		{"removed", []Entry{file("b", "1")}, "removed: ./ a- d- e- s- changed: ./ b=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := build(t, base...), build(t, tt.after...)
			layers, err := Diff(context.Background(), NewReader(nil), before, after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range layers {
				got = append(got, l.Name+": "+listing(l.Tree))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			again, err := Merge(append([]Layer{layer("before", before)}, layers...)...)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := digest(t, again), digest(t, after); a != b {
				t.Errorf("merging gives %s, not %s", listing(again), listing(after))
			}
		})
	}
}

func digest(t *testing.T, tr Tree) cas.Digest {
	t.Helper()
	d, err := Digest(tr)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDiffKeepsReferencesOfSameBytes(t *testing.T) {
	blob := cas.Of([]byte("hello"))
	src := NewReader(nil)
	src.Add(blob, strings.NewReader("hello"))
	old := Entry{Path: "a", Type: File, Mode: 0o644, Content: BlobContent(blob, 0, 5)}
	now := file("a", "hello")
	now.Mode = 0o600
	layers, err := Diff(context.Background(), src, build(t, old), build(t, now))
	if err != nil || len(layers) != 1 {
		t.Fatal(layers, err)
	}
	if e, _ := layers[0].Tree.Lookup("a"); e.Mode != 0o600 || len(e.Content.Extents) != 1 {
		t.Errorf("got %+v", e)
	}
}

func TestEncodeDecode(t *testing.T) {
	e := file("bad\xff\\name", "\x00\xff")
	e.Xattrs = []Xattr{{Name: "user.a", Value: []byte{0, 255}}}
	want := build(t, e, file("ü<&>", ""), symlink("l", "\xfe"), Entry{Path: "dev", Type: CharDevice, Major: 5, Minor: 1})
	var buf bytes.Buffer
	if err := Encode(&buf, want); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(bytes.NewReader(buf.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Lookup("bad\xff\\name"); !ok || digest(t, got) != digest(t, want) {
		t.Errorf("got %q", listing(got))
	}
}

func TestSubAndWithout(t *testing.T) {
	all := build(t, file("boot/a", "1"), link("boot/fw/b", "boot/a"), link("boot/fw/c", "boot/a"), file("boot/fwx", "2"))
	if got := listing(Sub(all, "boot/fw")); got != "./ b=1 c>b" {
		t.Errorf("Sub: %s", got)
	}
	if got := listing(Without(all, "boot/a", "boot/fwx")); got != "./ boot/ boot/fw/ boot/fw/b=1 boot/fw/c>boot/fw/b" {
		t.Errorf("Without: %s", got)
	}
}

func writeTar(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		body := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Size, h.Linkname = int64(len(body)), ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestFromTar(t *testing.T) {
	long := "./" + strings.Repeat("d/", 80) + strings.Repeat("f", 120)
	raw := writeTar(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./a", Typeflag: tar.TypeReg, Mode: 0o4755, Linkname: "hello", PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00"}},
		tar.Header{Name: "./b", Typeflag: tar.TypeLink, Linkname: "./a"},
		tar.Header{Name: "./c", Typeflag: tar.TypeLink, Linkname: "./b"},
		tar.Header{Name: long, Typeflag: tar.TypeReg, Linkname: "long", Format: tar.FormatGNU},
		tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
	)
	blob := cas.Of(raw)
	got, err := FromTar(blob, bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	src := NewReader(nil)
	src.Add(blob, bytes.NewReader(raw))
	a, _ := got.Lookup("a")
	if equal, err := Equal(src, a.Content, InlineContent([]byte("hello"))); !equal || err != nil {
		t.Errorf("content of a: %v %v", equal, err)
	}
	if a.Mode != 0o4755 || len(a.Xattrs) != 1 || a.Xattrs[0].Name != "security.capability" {
		t.Errorf("a is %+v", a)
	}
	if c, _ := got.Lookup("c"); c.Link != "a" {
		t.Errorf("c names %q", c.Link)
	}
	if _, ok := got.Lookup(long[2:]); !ok {
		t.Error("long name is missing")
	}
	if n, _ := got.Lookup("dev/null"); n.Type != CharDevice || n.Major != 1 || n.Minor != 3 {
		t.Errorf("device is %+v", n)
	}
}

func TestFromTarRefuses(t *testing.T) {
	for name, h := range map[string]tar.Header{
		"traversal":      {Name: "a/../../x", Typeflag: tar.TypeReg},
		"link traversal": {Name: "a", Typeflag: tar.TypeLink, Linkname: "../x"},
		"missing target": {Name: "a", Typeflag: tar.TypeLink, Linkname: "x"},
		"file as root":   {Name: ".", Typeflag: tar.TypeReg},
	} {
		raw := writeTar(t, h)
		if _, err := FromTar(cas.Of(raw), bytes.NewReader(raw), int64(len(raw))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	raw := writeTar(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "a/b", Typeflag: tar.TypeReg})
	if _, err := FromTar(cas.Of(raw), bytes.NewReader(raw), int64(len(raw))); err == nil {
		t.Error("file below a symbolic link: no error")
	}
}

func TestFromFS(t *testing.T) {
	got, err := FromFS(fstest.MapFS{"etc/x": {Data: []byte("1"), Mode: 0o444}, "bin/y": {Data: []byte("2"), Mode: 0o500}}, nil, Time{Sec: 9})
	if err != nil {
		t.Fatal(err)
	}
	x, _ := got.Lookup("etc/x")
	y, _ := got.Lookup("bin/y")
	if x.Mode != 0o644 || y.Mode != 0o755 || x.MTime.Sec != 9 || contentOf(got, "bin/y") != "2" {
		t.Errorf("got %+v %+v", x, y)
	}
}

func FuzzFromTar(f *testing.F) {
	f.Add([]byte{})
	f.Add(writeTar(f, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "./a", Typeflag: tar.TypeReg, Linkname: "hello"},
		tar.Header{Name: "./b", Typeflag: tar.TypeLink, Linkname: "./a"}, tar.Header{Name: "c", Typeflag: tar.TypeSymlink, Linkname: "../../etc"},
		tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}))
	f.Add(writeTar(f, tar.Header{Name: strings.Repeat("d/", 200) + "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1"}}))
	f.Add(writeTar(f, tar.Header{Name: "a/../../b", Typeflag: tar.TypeReg}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tr, err := FromTar(cas.Of(raw), bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		for _, e := range tr.Entries() {
			for _, x := range e.Content.Extents {
				if x.Offset < 0 || x.Offset+x.Length > int64(len(raw)) {
					t.Fatalf("%s reaches over the end: %+v", e.Path, x)
				}
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"path":".","type":2,"mode":493,"mtime":{"sec":0}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if tr, err := Decode(bytes.NewReader(raw)); err == nil {
			_ = digest(t, tr)
		}
	})
}
