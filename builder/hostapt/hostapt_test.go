package hostapt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func host(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "etc/apt", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Read(root)
}

func TestBaseURLs(t *testing.T) {
	const upstream = "http://ftp.debian.org/debian"
	tests := map[string]struct {
		files    map[string]string
		upstream string
		want     []string
	}{
		"nothing": {nil, upstream, []string{upstream}},
		"one line": {map[string]string{"sources.list": "# x\ndeb [arch=amd64 signed-by=/k.gpg] http://m.example/debian/ bookworm main contrib\n"},
			upstream, []string{"http://m.example/debian", upstream}},
		"deb822, several URIs": {map[string]string{"sources.list.d/debian.sources": "Types: deb deb-src\nURIs: http://a.example/debian\n https://b.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n"},
			upstream, []string{"http://a.example/debian", "https://b.example/debian", upstream}},
		"security by its suite and keyring": {map[string]string{"sources.list.d/x.sources": "Types: deb\nURIs: http://a.example/sec\nSuites: bookworm-security\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"},
			"http://security.debian.org/debian-security/", []string{"http://a.example/sec", "http://security.debian.org/debian-security"}},
		"a third party never stands in": {map[string]string{"sources.list.d/x.list": "deb http://third.example/apt bookworm main\n"}, upstream, []string{upstream}},
		"source packages and disabled ones": {map[string]string{
			"sources.list":             "deb-src http://m.example/debian bookworm main\n",
			"sources.list.d/x.sources": "Enabled: no\nTypes: deb\nURIs: http://n.example/debian\nSuites: bookworm\nComponents: main\n"}, upstream, []string{upstream}},
		"the same once":             {map[string]string{"sources.list": "deb http://ftp.debian.org/debian/ bookworm main\n"}, upstream, []string{upstream}},
		"other schemes":             {map[string]string{"sources.list": "deb cdrom:[x]/debian bookworm main\ndeb file:/srv/debian bookworm main\n"}, upstream, []string{upstream}},
		"other archives stay alone": {map[string]string{"sources.list": "deb http://m.example/debian bookworm main\n"}, "http://x.example/repo", []string{"http://x.example/repo"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, host(t, test.files).BaseURLs(test.upstream)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
