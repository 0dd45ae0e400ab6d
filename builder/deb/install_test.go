package deb_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

func install(t *testing.T, debs ...aptrepo.Deb) (deb.Installation, error) {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var blobs []cas.Digest
	for _, d := range debs {
		blob, err := store.PutBytes(d.Build(t))
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	extracted, err := deb.ExtractAll(context.Background(), store, blobs, 2, func() {})
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(store)
	t.Cleanup(func() { _ = src.Close() })
	return deb.Install(extracted, src, "amd64", tree.Time{Sec: 1_700_000_000})
}

func samples() []aptrepo.Deb {
	return []aptrepo.Deb{
		{Name: "base", Version: "1.0-1", Files: map[string]string{"etc/base.conf": "a=1\n", "usr/share/base/file": "x"},
			Scripts: map[string]string{"conffiles": "/etc/base.conf\n", "postinst": "#!/bin/sh\nexit 0\n",
				"triggers": "interest-noawait base-trigger\ninterest /usr/share/base\n"}},
		{Name: "libone", Version: "2:1.5", Arch: "amd64", MultiArch: "same", Depends: "base", Files: map[string]string{"usr/lib/libone.so.1": "lib"},
			Scripts: map[string]string{"md5sums": "e8acc63b1e238f3255c900eed37254b8  usr/lib/libone.so.1\n"}},
		{Name: "taker", Version: "3", Replaces: "base (<< 2)", Files: map[string]string{"usr/share/base/file": "y", "usr/bin/taker": "t"},
			Attributes: map[string]tar.Header{"usr/bin/taker": {Mode: 0o4711, Uid: 33, Gid: 70000}, "usr/share/base/file": {Mode: 0o2640, Gid: 4}}},
	}
}

// TestInstallIsDpkgUnpack compares with what the real dpkg leaves after --unpack.
func TestInstallIsDpkgUnpack(t *testing.T) {
	oracle.Need(t, "dpkg")
	root := t.TempDir()
	args := []string{"--root=" + root, "--force-not-root", "--force-architecture", "--log=/dev/null", "--unpack"}
	for i, d := range samples() {
		path := filepath.Join(t.TempDir(), d.Name+".deb")
		if err := os.WriteFile(path, d.Build(t), 0o600); err != nil {
			t.Fatal(i, err)
		}
		args = append(args, path)
	}
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"status", "available"} {
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg", f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("dpkg", args...).CombinedOutput(); err != nil {
		t.Fatalf("dpkg %v: %v\n%s", args, err, out)
	}
	in, err := install(t, samples()...)
	if err != nil {
		t.Fatal(err)
	}
	want, got := filesOf(t, root), treeFiles(t, in.Tree)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files differ from dpkg's (-dpkg +ours):\n%s", d)
	}
	compareStatus(t, filepath.Join(root, "var/lib/dpkg/status"), in.Tree)
	compareAttributes(t, root, in.Tree)
}

// compareAttributes compares modes, and for what packages contain owners and times too. dpkg's own files are as new
// as its run.
func compareAttributes(t *testing.T, root string, got tree.Tree) {
	t.Helper()
	n := 0
	for _, e := range got.Entries() {
		if !compared(e.Path) || e.Type != tree.File && e.Type != tree.Dir || strings.HasPrefix("var/lib/dpkg/info", e.Path) || e.Path == "." {
			continue
		}
		info, err := os.Lstat(filepath.Join(root, e.Path))
		if os.IsNotExist(err) && e.Type == tree.Dir {
			continue // of the merged /usr
		}
		if err != nil {
			t.Error(err)
			continue
		}
		n++
		st := info.Sys().(*syscall.Stat_t)
		ours, dpkgs := fmt.Sprintf("%04o", e.Mode), fmt.Sprintf("%04o", st.Mode&0o7777)
		if !strings.HasPrefix(e.Path, "var/lib/dpkg/") {
			if e.Type == tree.File { // directories are as new as what was put in last
				ours += fmt.Sprintf(" %d", e.MTime.Sec)
				dpkgs += fmt.Sprintf(" %d", st.Mtim.Sec)
			}
			if os.Geteuid() == 0 { // others cannot give files away
				ours += fmt.Sprintf(" %d:%d", e.UID, e.GID)
				dpkgs += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
			}
		}
		if ours != dpkgs {
			t.Errorf("%s: %s, dpkg has %s", e.Path, ours, dpkgs)
		}
	}
	if n < 10 {
		t.Errorf("only %d files and directories are compared", n)
	}
}

// compared are the files whose content must be dpkg's. The status file is compared field by field.
func compared(p string) bool {
	if !strings.HasPrefix(p, "var/lib/dpkg/") {
		return true
	}
	return strings.HasPrefix(p, "var/lib/dpkg/info/") || p == "var/lib/dpkg/triggers/base-trigger" || p == "var/lib/dpkg/triggers/File"
}

func filesOf(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil || !compared(rel) {
			return err
		}
		b, err := os.ReadFile(p)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func treeFiles(t *testing.T, root tree.Tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, e := range root.Entries() {
		if e.Type == tree.File && compared(e.Path) {
			out[e.Path] = content(t, e)
		}
	}
	return out
}

// content reads inline contents; those of packages are told by their size alone, which the samples
// make unique enough.
func content(t *testing.T, e tree.Entry) string {
	t.Helper()
	if e.Content.Inline != nil || e.Content.Size == 0 {
		return string(e.Content.Inline)
	}
	return packaged()[e.Path]
}

func packaged() map[string]string {
	return map[string]string{"etc/base.conf.dpkg-new": "a=1\n", "usr/share/base/file": "y", "usr/lib/libone.so.1": "lib", "usr/bin/taker": "t"}
}

func compareStatus(t *testing.T, path string, root tree.Tree) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := root.Lookup("var/lib/dpkg/status")
	if !ok {
		t.Fatal("no status file")
	}
	if d := cmp.Diff(statusFields(t, want), statusFields(t, e.Content.Inline)); d != "" {
		t.Errorf("status differs from dpkg's (-dpkg +ours):\n%s", d)
	}
}

func statusFields(t *testing.T, status []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for s, err := range deb.ParseStanzas(bytes.NewReader(status), 1<<20) {
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Fields {
			out[s.Get("Package")+" "+f.Name] = strings.Join(strings.Fields(f.Value), " ")
		}
	}
	return out
}

func TestInstallRefusesOneFileOfTwo(t *testing.T) {
	_, err := install(t, aptrepo.Deb{Name: "a", Files: map[string]string{"usr/bin/x": "1"}}, aptrepo.Deb{Name: "b", Files: map[string]string{"usr/bin/x": "2"}})
	if err == nil || !strings.Contains(err.Error(), "/usr/bin/x is also in a") {
		t.Fatalf("collision is not named: %v", err)
	}
}

func TestInstallMergesUsr(t *testing.T) {
	in, err := install(t, aptrepo.Deb{Name: "a", Files: map[string]string{"bin/tool": "1", "lib/x/y": "2"}, Scripts: map[string]string{"preinst": "#!/bin/sh\n"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"usr/bin/tool", "usr/lib/x/y"} {
		if e, ok := in.Tree.Lookup(p); !ok || e.Type != tree.File {
			t.Errorf("%s is not there", p)
		}
	}
	if e, _ := in.Tree.Lookup("bin"); e.Type != tree.Symlink || e.Link != "usr/bin" {
		t.Errorf("bin is %v", e)
	}
	list, _ := in.Tree.Lookup("var/lib/dpkg/info/a.list")
	if !slices.Contains(strings.Split(string(list.Content.Inline), "\n"), "/bin/tool") {
		t.Errorf("the list has not the package's own names:\n%s", list.Content.Inline)
	}
	if len(in.Preinsts) != 1 || in.Preinsts[0].Package != "a" {
		t.Errorf("preinsts: %v", in.Preinsts)
	}
}
