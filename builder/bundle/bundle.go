// Package bundle carries the inputs of a bake to a machine without a network.
//
// A Bundle is a directory, or an uncompressed tar archive, with an Index (index.json), the lock, and
// every input under a readable path: inputs/HOST/PATH for what has an address, inputs/local for what
// has none, and go/ for Go modules as a file tree that a GOPROXY serves. Nothing in it is believed:
// each file is hashed when it is read, and inputs are what the lock pins, whatever the index says.
// A Bundle is a function of the lock: the same lock gives the same bytes.
package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
)

const (
	// Version of the format of index.json.
	Version = 1
	// IndexName is the file that every bundle has, in an archive the first.
	IndexName = "index.json"
	// InputDir and GoDir are the directories of inputs and Go modules.
	InputDir = "inputs"
	GoDir    = "go"
	// TarExtension makes Write write an archive.
	TarExtension = ".tar"

	// maxIndex bounds index.json: 1,000 inputs have 300 KiB.
	maxIndex = 64 << 20
	// maxFiles bounds the entries of an archive.
	maxFiles = 1 << 20
)

// Index is the content of index.json.
type Index struct {
	Version int `json:"version"`
	// Profile is the name of the profile, Lock the path of its lock in the bundle.
	Profile string `json:"profile"`
	Lock    string `json:"lock"`
	// Files are all files but the index, by path.
	Files []File `json:"files"`
}

// File is one file of a bundle.
type File struct {
	// Path has slashes and is relative to the bundle.
	Path string `json:"path"`
	// Name is what the lock calls the input; empty for the lock itself and Go modules.
	Name   string     `json:"name,omitempty"`
	Size   int64      `json:"size"`
	SHA256 cas.Digest `json:"sha256"`
}

// ParseIndex reads index.json.
func ParseIndex(data []byte) (Index, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var i Index
	if err := d.Decode(&i); err != nil {
		return Index{}, fmt.Errorf("reading %s: %w", IndexName, err)
	}
	if i.Version != Version {
		return Index{}, fmt.Errorf("reading %s: its version is %d and this program reads %d", IndexName, i.Version, Version)
	}
	return i, i.check()
}

func (i Index) check() error {
	seen := map[string]bool{IndexName: true}
	for _, f := range i.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || strings.ContainsAny(f.Path, "\\\x00") {
			return fmt.Errorf("reading %s: path %q leads out of the bundle", IndexName, f.Path)
		}
		if _, err := cas.ParseDigest(string(f.SHA256)); err != nil {
			return fmt.Errorf("reading %s: %s: %w", IndexName, f.Path, err)
		}
		if f.Size < 0 || seen[f.Path] {
			return fmt.Errorf("reading %s: %s is there twice or has %d bytes", IndexName, f.Path, f.Size)
		}
		seen[f.Path] = true
	}
	if !seen[i.Lock] || i.Lock == IndexName {
		return fmt.Errorf("reading %s: it names %q as the lock and has no such file", IndexName, i.Lock)
	}
	return nil
}

// NotBundleError says that something is there and is no bundle.
type NotBundleError struct {
	Path  string
	Cause error
}

func (e *NotBundleError) Error() string {
	return fmt.Sprintf("opening vendored inputs %s: %v", e.Path, e.Cause)
}

func (e *NotBundleError) Unwrap() error { return e.Cause }

// DamagedError says that a file of a bundle is not what its index or the lock says.
type DamagedError struct {
	Bundle, File string
	Want, Got    cas.Digest
	// Cause is why the file could not be read, if it could not.
	Cause error
}

func (e *DamagedError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("reading %s of %s: %v", e.File, e.Bundle, e.Cause)
	}
	return fmt.Sprintf("reading %s of %s: its SHA-256 is %s and should be %s", e.File, e.Bundle, e.Got, e.Want)
}

func (e *DamagedError) Unwrap() error { return e.Cause }

// Bundle is an open bundle.
type Bundle struct {
	Index Index
	path  string
	open  func(name string) (io.ReadCloser, error)
	close func() error
	// sections are the files of an archive; nil for a directory.
	sections map[string]section
}

// Open opens the directory or the archive at path. The caller closes it. What is no bundle is a *NotBundleError.
func Open(path string) (*Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening vendored inputs: %w", err)
	}
	b := &Bundle{path: path}
	if info.IsDir() {
		err = b.openDir()
	} else {
		err = b.openTar()
	}
	if err == nil {
		err = b.readIndex()
	}
	if err != nil {
		_ = b.Close() // opened for reading only
		return nil, &NotBundleError{Path: path, Cause: err}
	}
	return b, nil
}

// Close closes the archive.
func (b *Bundle) Close() error {
	if b.close == nil {
		return nil
	}
	return b.close()
}

func (b *Bundle) openDir() error {
	root, err := os.OpenRoot(b.path)
	if err != nil {
		return err
	}
	b.close = root.Close
	b.open = func(name string) (io.ReadCloser, error) { return root.Open(filepath.FromSlash(name)) }
	return nil
}

func (b *Bundle) openTar() error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	b.close = f.Close
	if b.sections, err = sectionsOf(f); err != nil {
		return err
	}
	b.open = func(name string) (io.ReadCloser, error) {
		s, ok := b.sections[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(io.NewSectionReader(f, s.offset, s.size)), nil
	}
	return nil
}

// section is where a file lies in an archive.
type section struct{ offset, size int64 }

func sectionsOf(f io.ReadSeeker) (map[string]section, error) {
	sections := map[string]section{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return sections, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading it as an uncompressed tar archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg || len(sections) >= maxFiles {
			return nil, fmt.Errorf("reading archive: %q is no plain file, or the %dth", h.Name, len(sections)+1)
		}
		// The tar reader takes whole blocks and no more: the file's bytes begin here.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		sections[h.Name] = section{at, h.Size}
	}
}

func (b *Bundle) readIndex() error {
	r, err := b.open(IndexName)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it has no %s", IndexName)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxIndex+1))
	if err == nil && len(data) > maxIndex {
		err = fmt.Errorf("reading %s: it has more than %d bytes", IndexName, maxIndex)
	}
	if err == nil {
		b.Index, err = ParseIndex(data)
	}
	if err == nil && b.sections != nil {
		err = b.whole()
	}
	return err
}

// whole finds an archive whose end is missing.
func (b *Bundle) whole() error {
	end, err := os.Stat(b.path)
	if err != nil {
		return err
	}
	for _, f := range b.Index.Files {
		if s, ok := b.sections[f.Path]; !ok || s.size != f.Size || s.offset+s.size > end.Size() {
			return fmt.Errorf("reading it as an uncompressed tar archive: it is cut short: %s is not whole", f.Path)
		}
	}
	return nil
}
