package deb

import (
	"archive/tar"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// The packages of this file want more than a package may. docs/errors.md names the tests.

func headers(t testing.TB, list ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const demoControl = "Package: demo\nVersion: 1-1\nArchitecture: all\nDescription: demo\n"

// unpackDebs installs packages as they come from a mirror.
func unpackDebs(t testing.TB, debs ...[]byte) (Installation, error) {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(store)
	defer src.Close()
	var list []Extracted
	for _, data := range debs {
		blob, err := store.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		x, err := Extract(t.Context(), store, blob)
		if err != nil {
			return Installation{}, err
		}
		list = append(list, x)
	}
	return Install(list, src, "arm64", tree.Time{Sec: 1_700_000_000})
}

func TestHostilePackages(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	deb := func(control string, data ...tar.Header) []byte {
		return ar("debian-binary", "2.0\n", "control.tar", string(tarText(t, "./control", control)), "data.tar", headers(t, data...))
	}
	withControl := func(name, text string) []byte {
		return ar("debian-binary", "2.0\n", "control.tar", string(tarText(t, "./control", demoControl, name, text)), "data.tar", headers(t, file("x")))
	}
	const elsewhere = "take the package from elsewhere, or leave it out of the profile"
	for name, tt := range map[string]struct {
		debs [][]byte
		want []string // words of the fault; none when it is allowed
		has  string   // a path that is there then
	}{
		"parent":            {debs: [][]byte{deb(demoControl, file("./usr/../../etc/passwd"))}, want: []string{"demo", "usr/../../etc/passwd", "leaves the archive"}},
		"hard link outside": {debs: [][]byte{deb(demoControl, tar.Header{Name: "./h", Linkname: "../../etc/shadow", Typeflag: tar.TypeLink})}, want: []string{"leaves the archive"}},
		"hard link nowhere": {debs: [][]byte{deb(demoControl, tar.Header{Name: "./h", Linkname: "/etc/shadow", Typeflag: tar.TypeLink})}, want: []string{"no file of the tree"}},
		"through own link":  {debs: [][]byte{deb(demoControl, link("./l", "/etc"), file("./l/passwd"))}, want: []string{"parent is not a directory"}},
		// dpkg writes through the links of other packages, as usr-merge needs it. That can't leave the tree.
		"through another's link": {debs: [][]byte{deb(demoControl, tar.Header{Name: "./srv/", Typeflag: tar.TypeDir, Mode: 0o755}, link("./l", "../../../../opt/../../srv")), deb(strings.Replace(demoControl, "demo", "other", 1), file("./l/f"))}, has: "srv/f"},
		"absolute link":          {debs: [][]byte{deb(demoControl, link("./etc/l", "/etc/shadow"))}, has: "etc/l"},
		"absolute name":          {debs: [][]byte{deb(demoControl, file("/etc/f"))}, has: "etc/f"},
		"device": {debs: [][]byte{deb(demoControl, tar.Header{Name: "./srv/disk", Typeflag: tar.TypeBlock, Devmajor: 8})},
			want: []string{"demo 1-1", "/srv/disk is a blockdevice (8:0) outside of /dev", elsewhere}},
		"device in /dev": {debs: [][]byte{deb(demoControl, tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})}, has: "dev/null"},
		"setuid":         {debs: [][]byte{deb(demoControl, tar.Header{Name: "./opt/su", Typeflag: tar.TypeReg, Mode: 0o4755})}, has: "opt/su"},
		"long name":      {debs: [][]byte{deb(demoControl, file(strings.Repeat("d/", 3000)+"f"))}, want: []string{"6001 bytes", "4096 are allowed"}},
		"package name":   {debs: [][]byte{deb(strings.Replace(demoControl, "demo", "../../../../etc/demo", 1), file("x"))}, want: []string{"Package is", "../etc/demo", elsewhere}},
		"architecture":   {debs: [][]byte{deb(strings.Replace(demoControl, "all", "$(id)", 1), file("x"))}, want: []string{"Architecture is", elsewhere}},
		"version":        {debs: [][]byte{deb(strings.Replace(demoControl, "1-1", "1;id", 1), file("x"))}, want: []string{"';'", "not allowed"}},
		"trigger":        {debs: [][]byte{withControl("./triggers", "interest ../../../../etc/cron.d/x\n")}, want: []string{"triggers of demo", "../etc/cron.d/x", elsewhere}},
		"control file":   {debs: [][]byte{withControl("./../postinst", "#!/bin/sh\n")}, want: []string{"../postinst", "not in the top directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := unpackDebs(t, tt.debs...)
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			for _, word := range tt.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v has nothing of %q", err, word)
				}
			}
			if _, ok := in.Tree.Lookup(tt.has); tt.has != "" && !ok {
				t.Errorf("there is no %s", tt.has)
			}
		})
	}
}

// TestPackageBombs: members of every compression end at their limit.
func TestPackageBombs(t *testing.T) {
	zeros := make([]byte, 4<<20)
	xz := exec.Command(oracle.Need(t, "xz"), "-0", "-c")
	xz.Stdin = bytes.NewReader(zeros)
	packed, err := xz.Output()
	if err != nil {
		t.Fatal(err)
	}
	for ext, data := range map[string][]byte{"": zeros, ".gz": gzipText(t, zeros), ".xz": packed, ".zst": zstdText(t, zeros)} {
		m := arMember{name: "data.tar" + ext, data: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}
		for limit, want := range map[int64]string{int64(len(zeros)): "", int64(len(zeros)) - 1: "decompressing data.tar" + ext + ": more than the allowed 4194303 bytes"} {
			r, err := openMember(m, limit)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, r)
			r.Close()
			if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
				t.Errorf("%s with a limit of %d: %v", m.name, limit, err)
			}
		}
	}
	// A real one: 1 MiB becomes 65 MiB of control files.
	control := gzipText(t, tarText(t, "./control", demoControl, "./md5sums", strings.Repeat("\x00", MaxControl)))
	_, err = unpackDebs(t, ar("debian-binary", "2.0\n", "control.tar.gz", string(control), "data.tar", ""))
	if err == nil || !strings.Contains(err.Error(), "decompressing control.tar.gz: more than the allowed 67108864 bytes") {
		t.Errorf("control.tar.gz: %v", err)
	}
}
