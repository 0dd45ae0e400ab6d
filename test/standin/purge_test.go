package standin

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

// installed unpacks packages with the real dpkg and returns the root directory.
func installed(t *testing.T, debs ...aptrepo.Deb) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"updates", "info", "triggers"} {
		makeDir(t, filepath.Join(root, adminDir, dir))
	}
	write(t, filepath.Join(root, adminDir, "status"), "")
	install := []string{"-i"}
	for _, d := range debs {
		file := filepath.Join(t.TempDir(), d.Name+".deb")
		write(t, file, string(d.Build(t)))
		install = append(install, file)
	}
	dpkg(t, root, install...)
	return root
}

func dpkg(t *testing.T, root string, args ...string) string {
	t.Helper()
	args = append([]string{"--root=" + root, "--log=" + os.DevNull, "--force-not-root,depends,script-chrootless,architecture,unsafe-io"}, args...)
	out, err := exec.CommandContext(t.Context(), oracle.Need(t, "dpkg"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func testSystem() []aptrepo.Deb {
	return []aptrepo.Deb{
		{Name: "alpha", Files: map[string]string{"usr/share/alpha/x": "x", "usr/share/both/a": "a", "etc/alpha.conf": "kept"},
			Scripts: map[string]string{"conffiles": "/etc/alpha.conf\n", "triggers": "interest-noawait /usr/share/both\n"}},
		{Name: "beta", Files: map[string]string{"usr/share/both/b": "b", "usr/share/beta/deep/er/x": "x", "etc/beta/beta.conf": "gone", "usr/lib/systemd/system/beta.service": "[Unit]\n"},
			Scripts: map[string]string{"conffiles": "/etc/beta/beta.conf\n", "triggers": "interest-noawait /usr/share/beta\ninterest beta-trigger\n"}},
		{Name: "libbeta", Arch: "arm64", MultiArch: "same", Files: map[string]string{"usr/lib/libbeta.so.1": "elf"}},
	}
}

// TestPurgeLikeDpkg compares with "dpkg --purge" of the same packages.
func TestPurgeLikeDpkg(t *testing.T) {
	root := installed(t, testSystem()...)
	got, src := treeOf(t, root)
	got, err := Purge(got, src, "libbeta", "beta")
	if err != nil {
		t.Fatal(err)
	}
	dpkg(t, root, "--purge", "beta", "libbeta:arm64")
	want, wantSrc := treeOf(t, root)
	if g, w := names(got), names(want); !slices.Equal(g, w) {
		t.Errorf("files are\n%s\nwant\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	for _, name := range []string{"status", "triggers/File"} {
		g, w := text(t, got, src, adminDir+"/"+name), text(t, want, wantSrc, adminDir+"/"+name)
		if strings.TrimSpace(g) != strings.TrimSpace(w) {
			t.Errorf("%s is\n%s\nwant\n%s", name, g, w)
		}
	}
}

func treeOf(t *testing.T, dir string) (tree.Tree, *tree.Reader) {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := tree.FromFS(os.DirFS(dir), store, tree.Time{})
	if err != nil {
		t.Fatal(err)
	}
	src := tree.NewReader(store)
	t.Cleanup(func() { _ = src.Close() }) // read only
	return out, src
}

// names lists what a package manager decides: not dpkg's own locks, logs and copies.
func names(t tree.Tree) []string {
	var out []string
	for i := range t.Len() {
		e := t.At(i)
		in := func(dir string) bool { return strings.HasPrefix(e.Path, adminDir+"/"+dir) }
		if strings.HasPrefix(e.Path, adminDir+"/") && !in("info/") && !in("triggers/") || in("triggers/Lock") || in("triggers/Unincorp") {
			continue
		}
		out = append(out, e.Path)
	}
	return out
}

func text(t *testing.T, in tree.Tree, src *tree.Reader, name string) string {
	t.Helper()
	w := newWardrobe(in, src, tree.Time{})
	b := w.read(name)
	if w.err != nil {
		t.Fatal(w.err)
	}
	return string(b)
}

func TestPurgeRemovesLinksToUnits(t *testing.T) {
	root := installed(t, testSystem()...)
	before, src := treeOf(t, root)
	w := newWardrobe(before, src, tree.Time{})
	w.link("lib", "usr/lib")
	w.enable("multi-user.target", "beta.service")
	w.link("etc/alternatives/alpha", "/usr/share/alpha/x")
	w.text(helperDir+"/beta.service.dsh-also", "")
	w.text(helperDir+"/multi-user.target.wants/beta.service", "")
	dressed, err := w.tree()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Purge(dressed, src, "beta")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Len() {
		if name := got.At(i).Path; strings.Contains(name, "beta.service") {
			t.Errorf("%s is still there", name)
		}
	}
	if _, ok := got.Lookup("etc/alternatives/alpha"); !ok {
		t.Error("a link that leads to a file went")
	}
}

func TestPurgeRefusesWhatIsNotInstalled(t *testing.T) {
	before, src := treeOf(t, installed(t, testSystem()...))
	if _, err := Purge(before, src, "gamma"); err == nil || !strings.Contains(err.Error(), "gamma") {
		t.Errorf("error is %v", err)
	}
}
