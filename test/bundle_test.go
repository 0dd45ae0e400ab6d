package test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/bundle"
	"github.com/edgebake/edgebake/builder/cas"
)

// TestVendor vendors a profile with packages, an archive, a file and a Go module that has a dependency, and bakes it on
// what looks like another machine: an empty store, an empty module cache and no network.
func TestVendor(t *testing.T) {
	bin := program(t)
	for _, out := range []string{"inputs", "inputs.tar"} {
		t.Run(out, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t, bin, large())
			w.goTool()
			w.want("large")
			w.lock()
			w.qemu(goodGuest)
			w.env += ":" + filepath.Dir(lookPath(t, "go"))
			want := w.bake()
			path := filepath.Join(w.dir, out)
			w.ends(0, w.command(w.files(), "vendor", "-o", path), "next: edgebake bake", "--offline --vendor "+path)
			w.ends(0, w.command(w.files(), "vendor", "-o", path)) // replaces its own
			other := w.moved(t, path)
			if got := other.bakeFrom(path); got != want {
				t.Errorf("baked from %s the image is %s, otherwise %s", out, got, want)
			}
		})
	}
}

// program builds edgebake.
func program(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "edgebake")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/edgebake").CombinedOutput(); err != nil {
		t.Fatalf("building edgebake: %v\n%s", err, out)
	}
	return bin
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// moved is the workshop on a machine that has the profile and the vendored inputs and nothing else.
func (w *workshop) moved(t *testing.T, path string) *workshop {
	t.Helper()
	other := *w
	other.t, other.dir = t, t.TempDir()
	other.store, other.keyring = filepath.Join(other.dir, "store"), filepath.Join(other.dir, "keys.gpg")
	for _, name := range []string{"node.yaml", "keys.gpg"} {
		data, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		other.write(filepath.Join(other.dir, name), data)
	}
	other.profile = filepath.Join(other.dir, "node.yaml")
	other.more = append(goEnv(other.dir, "off"), w.more[len(w.more)-1]) // the cache of compiled packages is shared
	for _, gone := range []string{w.archive, w.store, filepath.Join(w.dir, "proxy"), filepath.Join(w.dir, "modules")} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	return &other
}

func (w *workshop) bakeFrom(path string) string {
	w.t.Helper()
	cmd := w.command("http://nowhere.example.org", "bake", "--no-boot", "--offline", "--vendor", path)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	w.ends(0, cmd)
	digest, _, _ := strings.Cut(stdout.String(), " ")
	return digest
}

func goEnv(dir, proxy string) []string {
	return []string{"GOPROXY=" + proxy, "GOSUMDB=off", "GOFLAGS=-modcacherw", "GOMODCACHE=" + filepath.Join(dir, "modules"),
		"GOTOOLCHAIN=local", "GOENV=off"}
}

// goTool gives the profile a component that is a Go program with a dependency.
func (w *workshop) goTool() {
	w.t.Helper()
	proxy := filepath.Join(w.dir, "proxy")
	w.module(proxy, "example.org/dep", "v1.0.0", map[string]string{"go.mod": "module example.org/dep\n", "dep.go": "package dep\n\nconst Text = \"hello\"\n"})
	cache, err := exec.Command("go", "env", "GOCACHE").Output() // compiling the standard library takes minutes
	if err != nil {
		w.t.Fatal(err)
	}
	goCache := "GOCACHE=" + strings.TrimSpace(string(cache))
	w.more = append(goEnv(w.dir, "file://"+proxy), goCache)
	sum := w.sums("example.org/dep@v1.0.0")
	w.module(proxy, "example.org/tool", "v0.1.0", map[string]string{"go.mod": "module example.org/tool\n\ngo 1.21\n\nrequire example.org/dep v1.0.0\n",
		"go.sum":           fmt.Sprintf("example.org/dep v1.0.0 %s\nexample.org/dep v1.0.0/go.mod %s\n", sum[0], sum[1]),
		"cmd/tool/main.go": "package main\n\nimport \"example.org/dep\"\n\nfunc main() { println(dep.Text) }\n"})
	w.components = fmt.Sprintf("[{name: tool, goModule: {module: example.org/tool, version: v0.1.0, sum: %q, packages: [cmd/tool], destination: /usr/bin}}, %s, %s]",
		w.sums("example.org/tool@v0.1.0")[0], w.tarball(), w.localFile())
}

// tarball is a component that is an archive with an address.
func (w *workshop) tarball() string {
	w.t.Helper()
	var b bytes.Buffer
	a := tar.NewWriter(&b)
	err := a.WriteHeader(&tar.Header{Name: "bin/agent", Mode: 0o755, Size: 5, Typeflag: tar.TypeReg})
	if err == nil {
		_, err = a.Write([]byte("agent"))
	}
	if err := errors.Join(err, a.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(w.archive, "agent.tar"), b.Bytes())
	return "{name: agent, tarball: {urls: [" + archiveURL + "/agent.tar], destination: /opt}}"
}

// localFile is a component that lies beside the profile, and on the other machine nowhere.
func (w *workshop) localFile() string {
	w.write(filepath.Join(w.dir, "motd"), []byte("welcome"))
	return "{name: motd, files: {files: [{path: /etc/motd, source: motd}]}}"
}

// module puts a module where a GOPROXY serves it.
func (w *workshop) module(proxy, path, version string, files map[string]string) {
	w.t.Helper()
	dir := filepath.Join(proxy, path, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		f, err := z.Create(path + "@" + version + "/" + name)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(dir, version+".zip"), b.Bytes())
	w.write(filepath.Join(dir, version+".mod"), []byte(files["go.mod"]))
	w.write(filepath.Join(dir, "list"), []byte(version+"\n"))
	w.write(filepath.Join(dir, version+".info"), fmt.Appendf(nil, "{\"Version\":%q,\"Time\":\"2026-01-02T03:04:05Z\"}", version))
}

// sums are what the go command makes of a module: h1: of the zip and of the go.mod.
func (w *workshop) sums(module string) [2]string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "go", "mod", "download", "-json", module)
	cmd.Env, cmd.Dir = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir}, w.more...), w.dir
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("go mod download: %v\n%s", err, out)
	}
	var sums [2]string
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.Trim(strings.TrimSpace(line), ","), ": "); ok {
			switch key {
			case `"Sum"`:
				sums[0] = strings.Trim(value, `"`)
			case `"GoModSum"`:
				sums[1] = strings.Trim(value, `"`)
			}
		}
	}
	return sums
}

// TestVendorFaults damages vendored inputs, and points --vendor and -o at other things.
func TestVendorFaults(t *testing.T) {
	w := newWorkshop(t, program(t))
	w.lock()
	dir, archive := filepath.Join(w.dir, "inputs"), filepath.Join(w.dir, "inputs.tar")
	w.ends(0, w.command(w.files(), "vendor", "-o", dir))
	w.ends(0, w.command(w.files(), "vendor", "-o", archive))
	first, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	w.ends(0, w.command(w.files(), "vendor", "-o", archive))
	if again, err := os.ReadFile(archive); err != nil || !bytes.Equal(first, again) {
		t.Errorf("two archives of one lock differ (%v)", err)
	}
	w.store = filepath.Join(w.dir, "empty store")
	fetch := func(code int, from string, words ...string) {
		t.Helper()
		w.ends(code, w.command("http://nowhere.example.org", "fetch", "--offline", "--vendor", from), words...)
	}
	path := w.locked()["runtime"].Path
	deb := filepath.Join(dir, "inputs", "archive.example.org", "debian", path)
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	w.write(deb, data)
	fetch(3, dir, "inputs/archive.example.org/debian/"+path, string(cas.Of(data)), "edgebake vendor "+w.profile)
	if w.keeps(data) {
		t.Error("the store has the wrong bytes")
	}
	if err := os.Remove(deb); err != nil {
		t.Fatal(err)
	}
	fetch(3, dir, "inputs/archive.example.org/debian/"+path, "no such file")
	w.write(archive, first[:len(first)/2])
	fetch(2, archive, "tar archive", "edgebake vendor "+w.profile)
	fetch(2, w.archive, "it has no index.json")
	fetch(2, w.profile, "tar archive")
	fetch(1, filepath.Join(w.dir, "absent"), "absent")
	w.ends(6, w.command(w.files(), "vendor", "-o", w.dir), "edgebake vendor did not make it")
	w.ends(6, w.command(w.files(), "vendor", "-o", w.profile), "edgebake vendor did not make it")
}

// TestVendorIndex reads what a person sees.
func TestVendorIndex(t *testing.T) {
	w := newWorkshop(t, program(t))
	w.lock()
	cmd := w.command(w.files(), "vendor")
	w.ends(0, cmd)
	b, err := bundle.Open(filepath.Join(w.dir, "node.vendor"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var names []string
	for _, f := range b.Index.Files {
		names = append(names, f.Path)
	}
	want := "inputs/archive.example.org/debian/pool/main/busybox-static_1_all.deb inputs/archive.example.org/debian/pool/main/linux-image-test_1_all.deb " +
		"inputs/archive.example.org/debian/pool/main/runtime_1_all.deb node.lock.json"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the index lists %s, want %s", got, want)
	}
}
