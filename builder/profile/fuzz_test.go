package profile_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/edgebake/edgebake/builder/profile"
)

// Whatever a file has, loading it gives a profile that can be shown, or faults that can be printed.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range append(files, "../../profiles/edge-rpi-debian-12.yaml", "../../profiles/debian-12.yaml") {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte("variables: {a: '${b}', b: '${a}'}\nname: '$${x} ${'"))
	f.Add([]byte("name: &a x\nsummary: *a\n<<: {}\n? [k]\n: v\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l, err := profile.Load(context.Background(), profile.Options{
			Name: "fuzz", Builtin: fstest.MapFS{"fuzz.yaml": {Data: content}},
		})
		var faults *profile.FaultsError
		if errors.As(err, &faults) {
			if faults.Error() == "" || len(faults.Faults) == 0 {
				t.Error("faults without a text")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := profile.Show(&bytes.Buffer{}, l); err != nil {
			t.Error(err)
		}
	})
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]profile.Size{
		"0": 0, "512": 512, "4GiB": 4 << 30, "256 MiB": 256 << 20, "1KiB": 1024, "4GB": 4e9, "10MB": 1e7, "1kB": 1000, "7B": 7, "2TiB": 2 << 40,
	} {
		if got, err := profile.ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1.5GiB", "4G", "4gib", "99999999TiB", "0x10", "1 2MiB", "4GiB4"} {
		if got, err := profile.ParseSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
	if got := profile.Size(256 << 20).String(); got != "256MiB" {
		t.Errorf("256 MiB is written %s", got)
	}
}

// A person's profile names files beside itself before built-in ones, and a null drops what a parent says.
func TestPersonsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("keyrings/debian-archive-keyring.gpg", "not the built-in one")
	write("mine/etc/motd", "hello ${x}\n")
	write("mine.yaml", "rules:\n  - {path: /etc/motd, mode: \"0600\", owner: \"0:4\"}\nlinks: {/etc/deep/link: ../motd}\n")
	write("base.yaml", "apiVersion: edgebake/v1\nname: base\nextends: [edge-debian-12-amd64]\nsummary: parent\n")
	write("p.yaml", "apiVersion: edgebake/v1\nname: mine\nextends: [./base.yaml, debian-12]\noverlays: [./mine]\npackages: [curl, vim-tiny]\ncomponents: null\nvariables: {size: 5GiB}\n")
	l := load(t, profile.Options{Name: filepath.Join(dir, "p.yaml")})
	p := l.Profile
	if p.Summary != "" || p.Name != "mine" || len(p.Components) != 0 || p.Disk.Size != 5<<30 || len(p.Apt.Sources) != 2 {
		t.Errorf("effective profile is %+v", p)
	}
	o := l.Overlays[len(l.Overlays)-1]
	if len(o.Files) != 4 || o.Files[3].Mode != 0o600 || o.Files[3].GID != 4 || o.Files[2].Target != "../motd" || !o.Files[1].Dir {
		t.Errorf("overlay is %+v", o)
	}
	// The keyring is named by the built-in debian-12, so the built-in one is meant.
	if bytes.Equal(l.Keyrings["debian"], []byte("not the built-in one")) {
		t.Error("a file beside the child replaces the keyring that a built-in profile names")
	}
}

// deepTexts lead a parser that calls itself as deep as a megabyte allows.
func deepTexts() []string {
	return []string{"name: " + strings.Repeat("[", 1<<20-10), strings.Repeat("{a: ", 1<<17), strings.Repeat("- ", 1<<18), strings.Repeat("? ", 1<<18)}
}

func TestDeep(t *testing.T) {
	for _, text := range deepTexts() {
		_, err := profile.Load(t.Context(), profile.Options{Name: "x", Builtin: fstest.MapFS{"x.yaml": {Data: []byte(text)}}})
		var faults *profile.FaultsError
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), "more than 200 brackets or list items are inside of each other") {
			t.Errorf("%.20q: %.200v", text, err)
		}
	}
}
