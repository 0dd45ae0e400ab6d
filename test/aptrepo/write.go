package aptrepo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/edgebake/edgebake/test/oracle"
)

// config dates signatures and keys.
func config() *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return date }}
}

// SignWithSubkey has a new subkey sign from now on, as Debian's archives do, and returns its
// fingerprint.
func (r *Repo) SignWithSubkey() string {
	r.t.Helper()
	if err := r.key.AddSigningSubkey(config()); err != nil {
		r.t.Fatal(err)
	}
	last := r.key.Subkeys[len(r.key.Subkeys)-1]
	r.signer = last.PrivateKey
	return fmt.Sprintf("%X", last.PublicKey.Fingerprint)
}

// Write makes the archive in dir and returns dir.
func (r *Repo) Write(dir string) string {
	r.t.Helper()
	var own, all, other strings.Builder
	for _, d := range r.debs {
		switch everywhere := or(d.Arch, "all") == "all"; {
		case r.SplitAll && everywhere:
			r.writeDeb(dir, d, &all)
		case everywhere:
			r.writeDeb(dir, d, &own, &other)
		case d.Arch == r.Other:
			r.writeDeb(dir, d, &other)
		default:
			r.writeDeb(dir, d, &own)
		}
	}
	var sums strings.Builder
	if r.Flat {
		r.writeIndex(dir, "", own.String(), &sums)
	} else {
		r.writeIndex(dir, "main/binary-"+r.Arch+"/", own.String(), &sums)
	}
	if r.Other != "" {
		r.writeIndex(dir, "main/binary-"+r.Other+"/", other.String(), &sums)
	}
	if r.SplitAll {
		r.writeIndex(dir, "main/binary-all/", all.String(), &sums)
	}
	r.writeRelease(dir, r.release(sums.String()))
	return dir
}

// base is the directory of the Release file.
func (r *Repo) base() string {
	if r.Flat {
		return path.Clean("/" + r.Suite)[1:]
	}
	return "dists/" + r.Suite
}

// writeDeb writes the package, and a stanza of it to each index. Its path in the index is relative to the root of the archive, for a
// flat one too.
func (r *Repo) writeDeb(dir string, d Deb, indexes ...*strings.Builder) {
	data := d.Build(r.t)
	name := fmt.Sprintf("%s_%s_%s.deb", d.Name, strings.ReplaceAll(or(d.Version, "1"), ":", "%3a"), or(d.Arch, "all"))
	if r.Flat {
		name = "./" + path.Join(r.base(), name)
	} else {
		name = "pool/main/" + name
	}
	r.put(dir, name, data)
	for _, index := range indexes {
		fmt.Fprintf(index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", d.Control(), name, len(data), sha256.Sum256(data))
	}
}

func (r *Repo) writeIndex(dir, at, text string, sums *strings.Builder) {
	forms := r.Forms
	if len(forms) == 0 {
		forms = []string{"", ".gz"}
	}
	if !slices.Contains(forms, "") {
		// Archives list the plain form even where they do not keep it, and apt insists on it.
		fmt.Fprintf(sums, " %x %d %sPackages\n", sha256.Sum256([]byte(text)), len(text), at)
	}
	for _, form := range forms {
		data := r.compress(form, []byte(text))
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		name := at + "Packages" + form
		r.put(dir, path.Join(r.base(), name), data)
		if !r.Flat {
			r.put(dir, path.Join(r.base(), at, "by-hash/SHA256", sum), data)
		}
		fmt.Fprintf(sums, " %s %d %s\n", sum, len(data), name)
	}
}

func (r *Repo) compress(form string, data []byte) []byte {
	switch form {
	case ".gz":
		return compress(r.t, data)
	case ".xz":
		cmd := exec.Command(oracle.Need(r.t, "xz"), "-c")
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			r.t.Fatalf("compressing with xz: %v", err)
		}
		return out
	}
	return data
}

func (r *Repo) release(sums string) string {
	at := date
	if !r.Date.IsZero() {
		at = r.Date.UTC()
	}
	text := "Origin: Test\nDate: " + at.Format(time.RFC1123) + "\n"
	if !r.Flat {
		archs := strings.TrimSpace(r.Arch + " " + r.Other)
		if r.SplitAll {
			archs += " all"
		}
		text += fmt.Sprintf("Suite: %s\nCodename: %s\nAcquire-By-Hash: yes\nArchitectures: %s\nComponents: main\n", r.Suite, r.Suite, archs)
	}
	if !r.ValidUntil.IsZero() {
		text += "Valid-Until: " + r.ValidUntil.UTC().Format(time.RFC1123) + "\n"
	}
	return text + r.Fields + "SHA256:\n" + sums
}

func (r *Repo) writeRelease(dir, text string) {
	if !r.Detached {
		r.put(dir, path.Join(r.base(), "InRelease"), r.sign(text))
		return
	}
	r.put(dir, path.Join(r.base(), "Release"), []byte(text))
	r.put(dir, path.Join(r.base(), "Release.gpg"), r.signature(text))
}

func (r *Repo) sign(text string) []byte {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, r.signer, config())
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

// signature is a detached one, armored.
func (r *Repo) signature(text string) []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	// The library picks the newest signing key by itself: the primary one, or the subkey.
	if err := openpgp.DetachSign(w, r.key, strings.NewReader(text), config()); err != nil {
		r.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

func (r *Repo) put(dir, name string, data []byte) {
	r.t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		r.t.Fatal(err)
	}
}
