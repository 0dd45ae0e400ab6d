package native

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// installed is what this machine has of packages, as a tree in which they are unpacked, with dpkg's lists of their files.
func installed(t *testing.T, packages ...string) *tree.Builder {
	t.Helper()
	b := tree.NewBuilder(tree.Time{})
	for _, name := range packages {
		list, err := exec.Command("dpkg", "-L", name).Output()
		if err != nil {
			oracle.Missing(t, "package "+name)
		}
		file(b, "var/lib/dpkg/info/"+name+":any.list", string(list), 0)
		for path := range strings.Lines(string(list)) {
			addFile(t, b, strings.TrimSpace(path))
		}
	}
	return b
}

// addFile adds a file of this machine; on one with a merged /usr packages name others by what is a link.
func addFile(t *testing.T, b *tree.Builder, path string) {
	t.Helper()
	if followed, err := os.Stat(path); err != nil || followed.IsDir() || strings.HasPrefix(path, "/usr/share/doc") {
		return
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, filepath.Base(path))
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	e := tree.Entry{Path: strings.TrimPrefix(path, "/"), Type: tree.File, Mode: uint32(info.Mode().Perm()), MTime: tree.Time{Sec: info.ModTime().Unix()}}
	if info.Mode()&os.ModeSymlink != 0 {
		if e.Link, err = os.Readlink(path); err != nil {
			t.Fatal(err)
		}
		e.Type = tree.Symlink
		b.Add(e)
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e.Content = tree.InlineContent(text)
	b.Add(e)
}

func file(b *tree.Builder, path, text string, at int64) {
	b.Add(tree.Entry{Path: path, Type: tree.File, Mode: 0o600, MTime: tree.Time{Sec: at}, Content: tree.InlineContent([]byte(text))})
}

// workshop is a job for this machine's own Python, and a system with what edit adds.
func workshop(t *testing.T, edit func(*tree.Builder)) (Job, Python, *Files) {
	t.Helper()
	oracle.Need(t, "py3compile")
	text, err := exec.Command("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(text))
	programs := installed(t, "python"+version+"-minimal", "libpython"+version+"-minimal", "libc6", "libexpat1", "zlib1g")
	for _, dir := range []string{"lib", "lib64"} {
		programs.Add(tree.Entry{Path: dir, Type: tree.Symlink, Link: "usr/" + dir})
	}
	system := installed(t, "python"+version+"-minimal", "libpython"+version+"-minimal", "libpython"+version+"-stdlib", "python3-minimal")
	edit(system)
	program, err := os.ReadFile(filepath.Join("..", "guest", "initramfs", "scripts", "bytecompile.py"))
	if err != nil {
		t.Fatal(err)
	}
	j := Job{Programs: treeOf(t, programs), System: treeOf(t, system), Reader: tree.NewReader(nil), Dir: t.TempDir(), Epoch: 99}
	out, err := NewFiles(j.Dir, j.Reader, j.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	return j, Python{Version: version, Program: program}, out
}

func bytesOf(t *testing.T, j Job, m Module) []byte {
	t.Helper()
	in, err := j.Reader.Open(m.Entry.Content)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestOwn compiles the library of this machine's Python, and compares some with what this machine's packages compiled.
func TestOwn(t *testing.T) {
	j, python, out := workshop(t, func(b *tree.Builder) {})
	dir := "usr/lib/python" + python.Version + "/"
	b := tree.NewBuilder(tree.Time{})
	for _, e := range j.System.Entries() {
		b.Add(e)
	}
	file(b, dir+"faulty.py", "def (\n", 5)
	file(b, "var/lib/dpkg/info/libpython"+python.Version+"-stdlib.list", "/"+dir+"faulty.py\n/"+dir+"absent.py\n/etc/passwd\n", 5)
	j.System = treeOf(t, b)
	made, err := python.Own(t.Context(), j, out)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for _, m := range made {
		theirs, err := os.ReadFile("/" + m.Entry.Path)
		if err == nil && bytes.Equal(theirs, bytesOf(t, j, m)) {
			same++
		}
		if m.How != ByScript || m.Entry.MTime.Sec != 99 || m.Entry.Mode != 0o644 || !m.Of(j.System) {
			t.Fatalf("%s was compiled to %v", m.Path, m.Entry)
		}
	}
	// Where a later version of Python's packages compiled, or somebody imported, this machine's may differ.
	if len(made) < 400 || same < len(made)*9/10 {
		t.Errorf("%d modules are compiled, %d of them as this machine's are", len(made), same)
	}
	if slices.ContainsFunc(made, func(m Module) bool { return strings.Contains(m.Path, "faulty") }) {
		t.Error("a module that can't be compiled is compiled")
	}
}

// TestCalls makes calls for a package with a public and a private module, as its scripts do.
func TestCalls(t *testing.T) {
	j, python, out := workshop(t, func(b *tree.Builder) {
		for _, name := range []string{"usr/bin/py3compile", "usr/bin/python3", "usr/share/python3/debian_defaults"} {
			addFile(t, b, "/"+name)
		}
		library, err := filepath.Glob("/usr/share/python3/debpython/*.py")
		if err != nil || len(library) == 0 {
			oracle.Missing(t, "package python3")
		}
		for _, name := range library {
			addFile(t, b, name)
		}
		file(b, "usr/lib/python3/dist-packages/acme/__init__.py", "A = 'acme'\n", 1234567)
		file(b, "usr/share/acme/private.py", "B = 1\n", 5)
		file(b, "usr/lib/python3/dist-packages/other.py", "C = 1\n", 5)
		file(b, "usr/lib/python3/dist-packages/broken.py", "def (\n", 5)
		file(b, "var/lib/dpkg/info/python3-acme.list", "/usr/lib/python3/dist-packages/acme/__init__.py\n/usr/share/acme/private.py\n", 5)
		file(b, "var/lib/dpkg/info/python3-broken.list", "/usr/lib/python3/dist-packages/broken.py\n", 5)
	})
	calls := []string{"-p\x1fpython3-acme:amd64\x1f", "-p\x1fpython3-acme\x1f/usr/share/acme\x1f"}
	made, err := python.Calls(t.Context(), j, "calls", calls, out)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, m := range made {
		paths = append(paths, m.Path)
		source, _ := j.System.Lookup(m.Path)
		if head := bytesOf(t, j, m)[8:16]; int64(binary.LittleEndian.Uint32(head)) != source.MTime.Sec || int64(binary.LittleEndian.Uint32(head[4:])) != source.Content.Size {
			t.Errorf("%s is of a source of other time or size: %x", m.Path, head)
		}
	}
	slices.Sort(paths)
	if want := []string{"usr/lib/python3/dist-packages/acme/__init__.py", "usr/share/acme/private.py"}; !slices.Equal(paths, want) {
		t.Errorf("compiled are %v, want %v", paths, want)
	}
	if _, err := python.Calls(t.Context(), j, "broken", []string{"-p\x1fpython3-broken\x1f"}, out); err == nil {
		t.Error("a module that can't be compiled is no error")
	}
	if _, err := python.Compile(t.Context(), j, []Ask{{ByModule, "usr/lib/python3/dist-packages/broken.py"}}, out); err == nil || !strings.Contains(err.Error(), "SyntaxError") {
		t.Errorf("asking for a module that can't be compiled: %v", err)
	}
}
