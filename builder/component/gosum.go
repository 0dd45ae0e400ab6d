package component

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
)

// maxGoSum bounds the go.sum of a module; that of Kubernetes has 200 KiB.
const maxGoSum = 16 << 20

// verifyModules checks every zip and go.mod of the file tree dir without the checksum database: a
// module that is pinned must have the pin's sum, any other one that in the go.sum of a pinned one.
func verifyModules(dir string, pins []lock.Component) error {
	sums, err := goSums(dir, pins)
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return verifyModule(dir, name, sums)
	})
}

// goSums are the sums that the pinned modules in the file tree dir vouch for, by "MODULE VERSION"
// for a zip and "MODULE VERSION/go.mod" for a go.mod.
func goSums(dir string, pins []lock.Component) (map[string]string, error) {
	sums := map[string]string{}
	for _, pin := range pins {
		if err := readGoSum(dir, pin, sums); err != nil {
			return nil, fmt.Errorf("verifying Go module %s@%s: %w", pin.Module, pin.Version, err)
		}
	}
	return sums, nil
}

// sumKey is the key in a go.sum of a file of a tree; "" when it has none.
func sumKey(dir, name string) string {
	below, err := filepath.Rel(dir, name)
	if err != nil {
		return ""
	}
	module, file, _ := strings.Cut(filepath.ToSlash(below), "/@v/")
	ext := filepath.Ext(file)
	key := unescapeModule(module) + " " + unescapeModule(strings.TrimSuffix(file, ext))
	switch ext {
	case ".zip":
		return key
	case ".mod", ".info": // the name of a version belongs to its go.mod
		return key + "/go.mod"
	}
	return ""
}

func verifyModule(dir, name string, sums map[string]string) error {
	hash := hashZip
	switch filepath.Ext(name) {
	case ".zip":
	case ".mod":
		hash = hashMod
	default:
		return nil
	}
	key := sumKey(dir, name)
	got, err := hash(name)
	if err != nil {
		return fmt.Errorf("verifying Go module %s: %w", key, err)
	}
	if got != sums[key] {
		return &cas.MismatchError{Name: "Go module " + key, Want: cas.Digest(first(sums[key], "none in the go.sum of a pinned module")), Got: cas.Digest(got), WantSize: -1}
	}
	return nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// readGoSum adds the sums that a pinned module vouches for: its own from the pin, that of its go.mod
// from its zip, and those of other modules from its go.sum ("MODULE VERSION[/go.mod] h1:..." lines).
func readGoSum(dir string, pin lock.Component, sums map[string]string) error {
	at := filepath.Join(dir, filepath.FromSlash(escapeModule(pin.Module)), "@v", escapeModule(pin.Version)+".zip")
	got, err := hashZip(at)
	if err != nil {
		return err
	}
	if got != pin.Sum {
		return &cas.MismatchError{Name: "Go module " + pin.Module + "@" + pin.Version, Want: cas.Digest(pin.Sum), Got: cas.Digest(got), WantSize: -1}
	}
	z, err := zip.OpenReader(at)
	if err != nil {
		return err
	}
	defer z.Close()
	key, root := pin.Module+" "+pin.Version, pin.Module+"@"+pin.Version+"/"
	sums[key] = pin.Sum
	sums[key+"/go.mod"] = sumMod([]byte("module " + pin.Module + "\n")) // what a GOPROXY makes for a module without one
	for _, f := range z.File {
		if f.Name != root+"go.mod" && f.Name != root+"go.sum" {
			continue
		}
		text, err := readZipped(f)
		if err != nil {
			return err
		}
		if f.Name == root+"go.mod" {
			sums[key+"/go.mod"] = sumMod(text)
			continue
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 3 {
				sums[fields[0]+" "+fields[1]] = fields[2]
			}
		}
	}
	return nil
}

func readZipped(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxGoSum))
}

// hashZip is the h1: sum of a module's zip: golang.org/x/mod/sumdb/dirhash, Hash1.
func hashZip(name string) (string, error) {
	z, err := zip.OpenReader(name)
	if err != nil {
		return "", err
	}
	defer z.Close()
	sums := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return "", err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, r)
		r.Close()
		if err != nil {
			return "", err
		}
		sums[f.Name] = hex.EncodeToString(sum.Sum(nil))
	}
	return hash1(sums), nil
}

func hashMod(name string) (string, error) {
	data, err := os.ReadFile(name)
	return sumMod(data), err
}

func sumMod(data []byte) string {
	sum := sha256.Sum256(data)
	return hash1(map[string]string{"go.mod": hex.EncodeToString(sum[:])})
}

func hash1(sums map[string]string) string {
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	slices.Sort(names)
	var list bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&list, "%s  %s\n", sums[name], name)
	}
	sum := sha256.Sum256(list.Bytes())
	return "h1:" + base64.StdEncoding.EncodeToString(sum[:])
}

// escapeModule writes upper-case letters as a GOPROXY does: !a for A.
func escapeModule(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unescapeModule(s string) string {
	var b strings.Builder
	upper := false
	for _, r := range s {
		switch {
		case r == '!':
			upper = true
			continue
		case upper:
			r, upper = unicode.ToUpper(r), false
		}
		b.WriteRune(r)
	}
	return b.String()
}
