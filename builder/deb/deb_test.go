package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

// buildDeb has dpkg-deb make a package with the compression.
func buildDeb(t testing.TB, compression string) []byte {
	t.Helper()
	oracle.Need(t, "dpkg-deb")
	root := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control":   "Package: demo\nVersion: 1-1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: demo\n",
		"DEBIAN/conffiles": "/etc/demo\n",
		"DEBIAN/postinst":  "#!/bin/sh\n",
		"etc/demo":         strings.Repeat("setting\n", 100),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "DEBIAN/postinst"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "demo.deb")
	cmd := exec.Command("dpkg-deb", "--root-owner-group", "--uniform-compression", "-Z"+compression, "-b", root, out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpen(t *testing.T) {
	for _, compression := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(compression, func(t *testing.T) { checkDeb(t, buildDeb(t, compression)) })
	}
}

func checkDeb(t *testing.T, data []byte) {
	t.Helper()
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files, err := f.ControlFiles()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %o", files["conffiles"].Data, files["postinst"].Mode); len(files) != 3 || got != "/etc/demo\n 755" {
		t.Errorf("%d control files, %q", len(files), got)
	}
	if c, err := f.Control(); err != nil || c.Get("Version") != "1-1" {
		t.Errorf("control %v, %v", c, err)
	}
	for range 2 {
		r, err := f.Data()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for in := tar.NewReader(r); ; {
			h, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != "./ ./etc/ ./etc/demo" {
			t.Errorf("data.tar has %s", got)
		}
		r.Close()
	}
}

// ar puts members into an archive as they are.
func ar(members ...string) []byte {
	out := []byte("!<arch>\n")
	for i := 0; i < len(members); i += 2 {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", members[i], 0, 0, 0, "100644", len(members[i+1]), members[i+1])
		if len(members[i+1])%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func TestOpenFaults(t *testing.T) {
	whole := ar("debian-binary", "2.0\n", "control.tar", "", "data.tar", "")
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":   {nil, "no .deb"},
		"magic":   {[]byte("<html>404"), "no .deb"},
		"cut":     {whole[:len(whole)-1], "59 bytes left"},
		"short":   {ar("debian-binary", "2.0\n", "control.tar", strings.Repeat("x", 100))[:150], "cut short"},
		"format":  {ar("debian-binary", "3.0\n", "control.tar", "", "data.tar", ""), "only 2.x"},
		"order":   {ar("control.tar", "", "debian-binary", "2.0\n", "data.tar", ""), "not the first"},
		"no data": {ar("debian-binary", "2.0\n", "control.tar", ""), "data.tar*"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(bytes.NewReader(c.data), int64(len(c.data)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
	if _, err := Open(bytes.NewReader(whole), int64(len(whole))); err != nil {
		t.Error(err)
	}
	extra := ar("debian-binary/", "2.0\n", "_gpg", "x", "control.tar/", "", "data.tar.lzma", "")
	f, err := Open(bytes.NewReader(extra), int64(len(extra)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Data(); err == nil || !strings.Contains(err.Error(), ".lzma") {
		t.Errorf("data.tar.lzma: %v", err)
	}
}

func TestDecompressionIsBounded(t *testing.T) {
	r := &limited{name: "data.tar", r: io.NopCloser(bytes.NewReader(make([]byte, 100))), left: 99, limit: 99}
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "allowed 99") {
		t.Error(err)
	}
}
