// Package aptrepo makes small signed Debian archives for tests, and runs the real apt-get over them.
//
// A Repo is one suite of generated packages. Write gives it the layout of a real archive: pool/,
// dists/ with Packages in several forms, by-hash and a clear-signed InRelease, or that of a flat
// archive. Nothing in it is faked: dpkg, apt and edgebake read it.
package aptrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// date is when a generated archive was made and its key begins.
var date = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Deb describes a package. Zero fields: version 1, architecture all, priority optional.
type Deb struct {
	Name, Version, Arch, Priority, MultiArch string
	Essential                                bool
	PreDepends, Depends, Recommends          string
	Provides, Conflicts, Breaks, Replaces    string
	Files                                    map[string]string // path without leading "/" to content
	Programs                                 map[string]string // the same, executable
	Scripts                                  map[string]string // control files: postinst, conffiles
	// Attributes are Mode, Uid and Gid of files that have others than usual.
	Attributes map[string]tar.Header
}

// Repo is a suite of an archive.
type Repo struct {
	t     testing.TB
	key   *openpgp.Entity
	debs  []Deb
	Suite string // default "stable"
	Arch  string // default "arm64"
	Other string // a second architecture; none when empty
	// Date of the Release; zero is a fixed one.
	Date time.Time
	// ValidUntil of the Release; zero leaves the field out.
	ValidUntil time.Time
	// Fields are further lines of the Release: "NotAutomatic: yes\n".
	Fields string
	// Flat has everything in the directory of the Release file, which is Suite below the root ("/",
	// "./sub/").
	Flat bool
	// Detached signs with Release.gpg beside Release; otherwise there is an InRelease.
	Detached bool
	// SplitAll gives packages of architecture "all" an index of their own.
	SplitAll bool
	// Forms of the index: "", ".gz", ".xz" (needs xz). None is plain and gzip.
	Forms  []string
	signer *packet.PrivateKey
}

// New returns an empty archive with a key of its own.
func New(t testing.TB) *Repo {
	t.Helper()
	key, err := openpgp.NewEntity("Test Archive", "", "archive@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return date }})
	if err != nil {
		t.Fatal(err)
	}
	return &Repo{t: t, key: key, signer: key.PrivateKey, Suite: "stable", Arch: "arm64"}
}

// Add adds packages and returns the archive.
func (r *Repo) Add(debs ...Deb) *Repo {
	r.debs = append(r.debs, debs...)
	return r
}

// Keyring is the public key, binary.
func (r *Repo) Keyring() []byte {
	var b bytes.Buffer
	if err := r.key.Serialize(&b); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

// Fingerprint of the primary key, 40 hexadecimal digits.
func (r *Repo) Fingerprint() string { return fmt.Sprintf("%X", r.key.PrimaryKey.Fingerprint) }

// Control is the stanza of the package without the fields of an index.
func (d Deb) Control() string {
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nPriority: %s\nMaintainer: Test <test@example.org>\n",
		d.Name, or(d.Version, "1"), or(d.Arch, "all"), or(d.Priority, "optional"))
	essential := ""
	if d.Essential {
		essential = "yes"
	}
	for _, f := range [][2]string{{"Essential", essential}, {"Multi-Arch", d.MultiArch}, {"Pre-Depends", d.PreDepends}, {"Depends", d.Depends},
		{"Recommends", d.Recommends}, {"Provides", d.Provides}, {"Conflicts", d.Conflicts}, {"Breaks", d.Breaks}, {"Replaces", d.Replaces}} {
		if f[1] != "" {
			text += f[0] + ": " + f[1] + "\n"
		}
	}
	return text + "Description: package of a test\n"
}

// Build returns the .deb.
func (d Deb) Build(t testing.TB) []byte {
	t.Helper()
	control := map[string]string{"control": d.Control()}
	maps.Copy(control, d.Scripts)
	files := maps.Clone(d.Programs)
	if files == nil {
		files = map[string]string{}
	}
	maps.Copy(files, d.Files)
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", compress(t, tarOf(t, control, control, nil))}, {"data.tar.gz", compress(t, tarOf(t, files, d.Programs, d.Attributes))}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, date.Unix(), 0, 0, "100644", len(m.data), m.data)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

// tarOf has the directories before the files, as dpkg-deb writes them.
func tarOf(t testing.TB, files, executable map[string]string, attributes map[string]tar.Header) []byte {
	t.Helper()
	names := map[string]bool{"./": true}
	for name := range files {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			names["./"+dir+"/"] = true
		}
		names["./"+name] = false
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		text := files[strings.TrimPrefix(name, "./")]
		mode := int64(0o644)
		if _, ok := executable[strings.TrimPrefix(name, "./")]; ok {
			mode = 0o755
		}
		h := &tar.Header{Name: name, Mode: mode, ModTime: date, Typeflag: tar.TypeReg, Size: int64(len(text)), Uname: "root", Gname: "root"}
		if names[name] {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		}
		if a, ok := attributes[strings.TrimPrefix(name, "./")]; ok {
			h.Mode, h.Uid, h.Gid, h.Uname, h.Gname = a.Mode, a.Uid, a.Gid, "", ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
