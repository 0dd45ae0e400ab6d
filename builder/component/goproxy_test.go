package component

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
)

// module writes a module into a GOPROXY tree and returns its h1: sum and that of its go.mod.
func module(t *testing.T, proxy, path, version string, files map[string]string) (sum, mod string) {
	t.Helper()
	dir := filepath.Join(proxy, escapeModule(path), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(path + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, escapeModule(version))
	for ext, data := range map[string][]byte{".zip": b.Bytes(), ".mod": []byte(files["go.mod"]), ".info": []byte(`{"Version":"` + version + `"}`)} {
		if err := os.WriteFile(base+ext, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := hashZip(base + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	return sum, sumMod([]byte(files["go.mod"]))
}

func moduleTree(t *testing.T) (proxy string, pin lock.Component) {
	t.Helper()
	proxy = t.TempDir()
	sum, mod := module(t, proxy, "example.org/Dep", "v1.2.3", map[string]string{"go.mod": "module example.org/Dep\n", "dep.go": "package dep\n"})
	main, _ := module(t, proxy, "example.org/tool", "v0.1.0", map[string]string{"go.mod": "module example.org/tool\n",
		"go.sum": "example.org/Dep v1.2.3 " + sum + "\nexample.org/Dep v1.2.3/go.mod " + mod + "\n"})
	return proxy, lock.Component{Module: "example.org/tool", Version: "v0.1.0", Sum: main}
}

func TestVerifyModules(t *testing.T) {
	const dep = "example.org/!dep/@v/v1.2.3"
	for name, test := range map[string]struct {
		spoil func(proxy string, pin *lock.Component) error
		want  string
	}{
		"good": {func(string, *lock.Component) error { return nil }, ""},
		"pin":  {func(_ string, pin *lock.Component) error { pin.Sum = "h1:x"; return nil }, "example.org/tool@v0.1.0"},
		"dependency": {func(p string, _ *lock.Component) error {
			return os.Rename(p+"/example.org/tool/@v/v0.1.0.zip", p+"/"+dep+".zip")
		}, "no such file"},
		"go.mod": {func(p string, _ *lock.Component) error {
			return os.WriteFile(filepath.Join(p, dep+".mod"), []byte("module other\n"), 0o644)
		}, "example.org/Dep v1.2.3/go.mod"},
		"a module that nobody vouches for": {func(p string, _ *lock.Component) error {
			return os.CopyFS(filepath.Join(p, "example.org/evil/@v"), os.DirFS(filepath.Join(p, "example.org/!dep/@v")))
		}, "example.org/evil v1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, pin := moduleTree(t)
			if err := test.spoil(proxy, &pin); err != nil {
				t.Fatal(err)
			}
			err := verifyModules(proxy, []lock.Component{pin})
			if test.want == "" && err == nil {
				return
			}
			var mismatch *cas.MismatchError
			if err == nil || !strings.Contains(err.Error(), test.want) || name != "dependency" && !errors.As(err, &mismatch) {
				t.Errorf("got %v, want a mismatch of %q", err, test.want)
			}
		})
	}
}

// TestHash1 compares with the go command, on a module that this program is built from.
func TestHash1(t *testing.T) {
	out, err := exec.Command("go", "mod", "download", "-json", "golang.org/x/term").Output()
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Zip, GoMod, Sum, GoModSum string }
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	if got, err := hashZip(want.Zip); err != nil || got != want.Sum {
		t.Errorf("%s has sum %s, want %s (%v)", want.Zip, got, want.Sum, err)
	}
	if got, err := hashMod(want.GoMod); err != nil || got != want.GoModSum {
		t.Errorf("%s has sum %s, want %s (%v)", want.GoMod, got, want.GoModSum, err)
	}
}
