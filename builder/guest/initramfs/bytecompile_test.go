package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/oracle"
)

// TestByteCompileIsPy3compile compares the files of both for the same sources: packages with
// directories of their own, one directory asked for twice, an excluded file.
func TestByteCompileIsPy3compile(t *testing.T) {
	oracle.Need(t, "py3compile")
	calls := [][]string{{"one"}, {"two", "-X", "skipped"}, {"one"}, {"-q", "three"}, {"many"}}
	dir := t.TempDir() // the same for both: a compiled file has its source's path
	var noted strings.Builder
	for _, call := range calls {
		run(t, dir, "py3compile", call...)
		noted.WriteString(strings.Join(call, "\x1f") + "\x1f\n")
	}
	script, list := filepath.Join(t.TempDir(), "bytecompile.py"), filepath.Join(t.TempDir(), "calls")
	for p, data := range map[string][]byte{script: byteCompile, list: []byte("wake\n" + noted.String() + "end\n")} {
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := takeCompiled(t, dir)
	run(t, dir, "python3", script, "none", "none", "64", "/usr/bin/py3compile", list)
	b := takeCompiled(t, dir)
	if len(a) == 0 {
		t.Fatal("py3compile made no files")
	}
	for name, data := range a {
		if !bytes.Equal(data, b[name]) {
			t.Errorf("%s differs:\n%q\n%q", name, data, b[name])
		}
	}
	if len(a) != len(b) {
		t.Errorf("py3compile made %d files, bytecompile.py %d", len(a), len(b))
	}
}

// TestByteCompilesCoveredLater asks for a file that is covered, among others: it is compiled once it is uncovered.
func TestByteCompilesCoveredLater(t *testing.T) {
	oracle.Need(t, "py3compile")
	oracle.Need(t, "unshare")
	dir, script, list := t.TempDir(), filepath.Join(t.TempDir(), "bytecompile.py"), filepath.Join(t.TempDir(), "calls")
	calls := "wake\n-q\x1fone\x1f\n" + "/usr/bin/python3\x1f-E\x1f-S\x1f/usr/lib/python3.11/py_compile.py\x1eone/a.py\n" + "end\n"
	for p, data := range map[string][]byte{script: byteCompile, list: []byte(calls)} {
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "unshare", "--mount", "--map-root-user", "sh", "-c", `mount -t tmpfs none three && cp -p one/a.py three && mount --bind three/a.py one/a.py && exec python3 "$@"`, "sh", script, "none", "none", "64", "/usr/bin/py3compile", list)
	if got := takeCompiled(t, dir); len(got) != 2 {
		t.Errorf("%d files are compiled, want those of one/b.py and one/sub/c.py", len(got))
	}
	run(t, dir, "python3", script, "none", "none", "64", "/usr/bin/py3compile", list+".late")
	if got := takeCompiled(t, dir); len(got) != 1 {
		t.Errorf("%d files are compiled later, want that of one/a.py", len(got))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.late")); err != nil || len(left) > 0 {
		t.Errorf("%v is left in the system (%v)", left, err)
	}
}

// TestByteCompilesElsewhere has modules written down instead of compiled, when they are for that version of Python, and the first way of
// asking counts.
func TestByteCompilesElsewhere(t *testing.T) {
	oracle.Need(t, "py3compile")
	version, err := exec.Command("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		t.Fatal(err)
	}
	python := strings.TrimSpace(string(version))
	dir, program, list := t.TempDir(), filepath.Join(t.TempDir(), "bytecompile.py"), filepath.Join(t.TempDir(), "calls")
	script := "/usr/bin/python" + python + "\x1f-E\x1f-S\x1f/usr/lib/python" + python + "/py_compile.py\x1e" + dir + "/one/a.py\n"
	other := "/usr/bin/python" + python + "\x1f-E\x1f-S\x1f-O\x1f/usr/lib/python" + python + "/py_compile.py\x1ethree/e.py\n"
	for p, data := range map[string][]byte{program: byteCompile, list: []byte(script + "-q\x1fone\x1f\n" + other + "end\n")} {
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asked := filepath.Join(t.TempDir(), "asked")
	run(t, dir, "python3", program, python, asked, "64", "/usr/bin/py3compile", list)
	got, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("script\x1f%[1]s/one/a.py\nmodule\x1f%[1]s/one/b.py\nmodule\x1f%[1]s/one/sub/c.py\n", dir); string(got) != want {
		t.Errorf("asked for is %q, want %q", got, want)
	}
	if made := takeCompiled(t, dir); len(made) != 1 {
		t.Errorf("%d modules are compiled, want the one that is asked for in another way", len(made))
	}
}

// sources are some of which the compiled files could differ, and more than a worker gets at once.
func sources() map[string]string {
	out := map[string]string{
		"one/a.py": "import os\n\n\nclass A:\n    'doc'\n    def f(self, x=1, *, y='text'):\n        return [os, x, y, 3.5, (1, 2)]\n",
		"one/b.py": "A = 'text'\nB = lambda a: a.A\n", "one/sub/c.py": "from .. import a as text\n",
		"two/d.py": "D = {'a': 1, 'text': b'x'}\n", "two/skipped.py": "S = 1\n", "three/e.py": "async def e():\n    await e()\n",
	}
	for i := range 100 {
		out[fmt.Sprintf("many/m%d.py", i)] = fmt.Sprintf("import os, text\nM = {'text': %d, 'm%d': frozenset({'a', 'b'}), (1, 'os'): os}\n", i, i/2)
	}
	return out
}

// run runs a command in a directory that has the sources.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	for p, text := range sources() {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(p); err == nil {
			continue
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Unix(1700000000, 0) // a file's time is in what is compiled of it
		if err := os.Chtimes(p, then, then); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// takeCompiled reads the compiled files and removes them.
func takeCompiled(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(p) != ".pyc" {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err == nil {
			out[rel], err = os.ReadFile(p)
		}
		return errors.Join(err, os.Remove(p))
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
