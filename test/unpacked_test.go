package test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// unpacksAsDpkg lays the packages of a lock over each other, and lets this host's dpkg unpack the same packages, without
// their preinst scripts, which would need a system around them. Both file systems are compared: names, kinds, modes,
// owners, times of files, contents, dpkg's lists, and its database field by field.
func unpacksAsDpkg(t *testing.T, s *extendable, l lock.Lock) {
	oracle.Need(t, "dpkg")
	var list []deb.Extracted
	var files []string
	debs := t.TempDir()
	for i, p := range l.Packages {
		x := s.extract(t, p.SHA256)
		list = append(list, x)
		files = append(files, filepath.Join(debs, fmt.Sprintf("%03d.deb", i)))
		must(t, os.WriteFile(files[i], withoutPreinst(t, s.store, x), 0o600))
	}
	in, err := deb.Install(list, s.src, l.Arch, tree.Time{Sec: l.Epoch})
	must(t, err)
	dpkgs := dpkgUnpacked(t, s, in.Tree, files)
	layers, err := tree.Diff(t.Context(), s.src, dpkgs, in.Tree)
	must(t, err)
	for _, layer := range layers {
		for _, e := range layer.Tree.Entries() {
			other, ok := dpkgs.Lookup(e.Path)
			if same, err := tree.Equal(s.src, e.Content, other.Content); err != nil || !expectedOfDpkg(e, other, ok, same) {
				t.Errorf("%s: %s differs from dpkg's in %v, the content is the same: %v (%v)", layer.Name, e.Path, tree.DifferingAttributes(e, other), same, err)
			}
		}
	}
	compareDatabases(t, s, dpkgs, in.Tree)
}

// expectedOfDpkg are the differences: preinst scripts, what is new with each run of dpkg, times of directories.
func expectedOfDpkg(ours, dpkgs tree.Entry, there, same bool) bool {
	if ours.Type == tree.Dir {
		return !there || onlyTimes(ours, dpkgs)
	}
	if !strings.Contains(ours.Path, "/") && ours.Type == tree.Symlink { // of the merged /usr
		return ours.Link == dpkgs.Link
	}
	return strings.HasSuffix(ours.Path, ".preinst") || strings.HasPrefix(ours.Path, "var/lib/dpkg/") && same && onlyTimes(ours, dpkgs) ||
		slices.Contains([]string{"status", "status-old", "available", "diversions", "statoverride", "lock", "lock-frontend", "triggers/Lock", "triggers/Unincorp"}, strings.TrimPrefix(ours.Path, "var/lib/dpkg/"))
}

func onlyTimes(a, b tree.Entry) bool {
	different := tree.DifferingAttributes(a, b)
	return len(different) == 0 || slices.Equal(different, []string{"mtime"})
}

// withoutPreinst is the package without that script and without compression.
func withoutPreinst(t *testing.T, store *cas.Store, x deb.Extracted) []byte {
	t.Helper()
	var control bytes.Buffer
	w := tar.NewWriter(&control)
	for _, m := range x.Control {
		if m.Name == "preinst" {
			continue
		}
		must(t, w.WriteHeader(&tar.Header{Name: "./" + m.Name, Mode: int64(m.Mode), Size: int64(len(m.Data))}))
		_, err := w.Write(m.Data)
		must(t, err)
	}
	must(t, w.Close())
	blob, err := store.Open(x.Data)
	must(t, err)
	defer blob.Close()
	data, err := io.ReadAll(blob.Reader())
	must(t, err)
	out := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", control.Bytes()}, {"data.tar", data}} {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// dpkgUnpacked has dpkg unpack files over the links that a merged /usr has.
func dpkgUnpacked(t *testing.T, s *extendable, ours tree.Tree, files []string) tree.Tree {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, name := range []string{"status", "available"} {
		must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg", name), nil, 0o644))
	}
	for _, e := range ours.Entries() {
		if e.Type == tree.Symlink && !strings.Contains(e.Path, "/") && e.Link == "usr/"+e.Path {
			must(t, errors.Join(os.MkdirAll(filepath.Join(root, e.Link), 0o755), os.Symlink(e.Link, filepath.Join(root, e.Path))))
		}
	}
	args := append([]string{"--root=" + root, "--log=/dev/null", "--force-depends,breaks,unsafe-io", "--no-triggers", "--unpack"}, files...)
	if out, err := exec.CommandContext(t.Context(), "dpkg", args...).CombinedOutput(); err != nil {
		t.Fatalf("dpkg: %v\n%s", err, lastPart(string(out)))
	}
	packed := filepath.Join(t.TempDir(), "root.tar")
	tool(t, "tar", "--format=pax", "--xattrs", "--xattrs-include=*", "-C", root, "-cf", packed, ".")
	f, err := os.Open(packed)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() }) // it was only read
	info, err := f.Stat()
	must(t, err)
	id := cas.Of([]byte(packed))
	s.src.Add(id, f)
	out, err := tree.FromTar(id, f, info.Size())
	must(t, err)
	return out
}

// compareDatabases compares the fields of every package's stanza in both status files.
func compareDatabases(t *testing.T, s *extendable, dpkgs, ours tree.Tree) {
	t.Helper()
	var all [2]map[string]string
	for i, root := range []tree.Tree{dpkgs, ours} {
		e, _ := root.Lookup("var/lib/dpkg/status")
		r, err := s.src.Open(e.Content)
		must(t, err)
		all[i] = map[string]string{}
		for stanza, err := range deb.ParseStanzas(r, 16<<20) {
			must(t, err)
			for _, f := range stanza.Fields {
				all[i][stanza.Get("Package")+" "+f.Name] = strings.Join(strings.Fields(f.Value), " ")
			}
		}
	}
	if len(all[0]) < 1000 {
		t.Errorf("dpkg's status has %d fields", len(all[0]))
	}
	for field, want := range all[0] {
		if got := all[1][field]; got != want {
			t.Errorf("%s is %q, dpkg says %q", field, got, want)
		}
	}
	for field := range all[1] {
		if _, ok := all[0][field]; !ok {
			t.Errorf("%s is not in dpkg's status", field)
		}
	}
}
