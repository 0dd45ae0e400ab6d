package fetch

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestParseMirror(t *testing.T) {
	tests := []struct {
		in   string
		want Mirror
		ok   bool
	}{
		{"http://a.example/debian=http://m.example/d", Mirror{"http://a.example/debian", "http://m.example/d"}, true},
		{"https://a.example/=file:///srv/m", Mirror{"https://a.example/", "file:///srv/m"}, true},
		{"https://a.example/?k=v=https://m.example", Mirror{"https://a.example/?k=v", "https://m.example"}, true},
		{"http://a.example", Mirror{}, false},
		{"a.example=http://m.example", Mirror{}, false},
		{"http://a.example=ftp://m.example", Mirror{}, false},
		{"http://a.example=file:relative", Mirror{}, false},
		{"=http://m.example", Mirror{}, false},
	}
	for _, tt := range tests {
		got, err := ParseMirror(tt.in)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("ParseMirror(%q) = %+v, %v", tt.in, got, err)
		}
	}
}

func TestURLs(t *testing.T) {
	sources := []HostSource{{URI: "http://near.example/debian/"}, {URI: "http://near.example/debian-security"}, {URI: "https://near.example/ubuntu"}}
	mirrors := []Mirror{
		{"http://ftp.debian.org/debian/pool", "file:///pool"},
		{"https://images.example", "http://m.example/all/"},
		{"https://images.example/pi", "http://m.example/pi"},
	}
	tests := []struct {
		in   string
		want []string
	}{
		{"http://ftp.debian.org/debian/dists/x", []string{"http://near.example/debian/dists/x", "http://ftp.debian.org/debian/dists/x"}},
		{"http://security.debian.org/debian-security", []string{"http://near.example/debian-security", "http://security.debian.org/debian-security"}},
		{"http://archive.ubuntu.com/ubuntu/pool/a", []string{"https://near.example/ubuntu/pool/a", "http://archive.ubuntu.com/ubuntu/pool/a"}},
		{"http://ports.ubuntu.com/ubuntu-ports/x", []string{"http://ports.ubuntu.com/ubuntu-ports/x"}},
		{"http://snapshot.debian.org/archive/debian/2024/x", []string{"http://snapshot.debian.org/archive/debian/2024/x"}},
		{"http://evil-debian.org/debian/x", []string{"http://evil-debian.org/debian/x"}},
		{"http://ftp.debian.org/debian/pool/a", []string{"file:///pool/a"}},
		{"http://ftp.debian.org/debian/poolside", []string{"http://near.example/debian/poolside", "http://ftp.debian.org/debian/poolside"}},
		{"https://images.example/pi/x.xz", []string{"http://m.example/pi/x.xz"}},
		{"https://images.example/x.xz", []string{"http://m.example/all/x.xz"}},
	}
	c := New(Config{Mirrors: mirrors, AptSources: sources})
	for _, tt := range tests {
		if got := c.urls([]string{tt.in}); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.in, got, tt.want)
		}
	}
}

const lineSources = `# a comment
deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main # end
deb-src http://a.example/src bookworm main
deb cdrom:[Debian]/ bookworm main
deb	https://b.example/debian-security	bookworm-security main
deb
`

const stanzaSources = `Types: deb deb-src
# a comment inside
URIs: http://c.example/debian
 http://d.example/debian
Suites: bookworm bookworm-updates
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF:x

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: x

Types: deb-src
URIs: http://src.example/debian
Suites: x
`

func TestHostSources(t *testing.T) {
	root := t.TempDir()
	if got, err := HostSources(root); err != nil || got != nil {
		t.Fatalf("a host without apt: %v, %v", got, err)
	}
	dir := filepath.Join(root, "etc/apt/sources.list.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"../sources.list": lineSources, "a.sources": stanzaSources, "b.list": "deb http://e.example/ubuntu noble main", "c.list.save": lineSources}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []HostSource{
		{"http://a.example/debian", []string{"bookworm"}},
		{"https://b.example/debian-security", []string{"bookworm-security"}},
		{"http://c.example/debian", []string{"bookworm", "bookworm-updates"}},
		{"http://d.example/debian", []string{"bookworm", "bookworm-updates"}},
		{"http://e.example/ubuntu", []string{"noble"}},
	}
	if got, err := HostSources(root); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
}

func FuzzParseSources(f *testing.F) {
	f.Add(lineSources)
	f.Add(stanzaSources)
	f.Add("deb [")
	f.Add(" \n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range append(parseLines(text), parseStanzas(text)...) {
			if !usable(s.URI) {
				t.Errorf("unusable URI %q", s.URI)
			}
		}
	})
}
