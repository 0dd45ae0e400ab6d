package lock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/durable"
)

// Extension is the end of a lock file's name; the beginning is the profile's name.
const Extension = ".lock.json"

// maxFile bounds a lock file: one of 1,000 packages has 400 KiB.
const maxFile = 32 << 20

// StaleError says that a lock doesn't belong to the profile as it is now.
type StaleError struct {
	Profile string
	// File is a local file that the profile names, when that is what has changed.
	File string
	// Locked and Now are the digests in the lock and of the profile, or file, itself.
	Locked, Now cas.Digest
}

func (e *StaleError) Error() string {
	what := "the profile"
	if e.File != "" {
		what = "file " + e.File
	}
	return fmt.Sprintf("checking lock of %s: %s has changed since it was locked (%s then, %s now)",
		e.Profile, what, e.Locked.Short(), e.Now.Short())
}

// MissingError says that a profile was never locked.
type MissingError struct {
	Profile string
	Path    string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("reading lock of %s: there is no %s", e.Profile, e.Path)
}

// ReadFile reads a lock file's content, no more of it than Parse needs to refuse a file that is too big.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse reads a lock file's content; name is for messages.
func Parse(name string, data []byte) (Lock, error) {
	if len(data) > maxFile {
		return Lock{}, fmt.Errorf("reading lock %s: it has more than %d bytes, which no lock has; name another file or lock again", name, maxFile)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var l Lock
	if err := d.Decode(&l); err != nil {
		return Lock{}, fmt.Errorf("reading lock %s: %w", name, err)
	}
	return l, l.check(name)
}

func (l Lock) check(name string) error {
	if l.Version != Version {
		return fmt.Errorf("reading lock %s: its version is %d and this edgebake reads %d; lock again", name, l.Version, Version)
	}
	for _, c := range l.Components {
		if err := c.check(); err != nil {
			return fmt.Errorf("reading lock %s: %w", name, err)
		}
	}
	for _, p := range l.all() {
		if _, err := cas.ParseDigest(string(p.SHA256)); err != nil {
			return fmt.Errorf("reading lock %s: package %s: %w", name, p.Name, err)
		}
		if p.Archive < 0 || p.Archive >= len(l.Archives) {
			return fmt.Errorf("reading lock %s: package %s names archive %d of %d", name, p.Name, p.Archive, len(l.Archives))
		}
		if p.Layer != 0 && p.Layer != 1 {
			return fmt.Errorf("reading lock %s: package %s is in layer %d; there are 0 and 1", name, p.Name, p.Layer)
		}
	}
	if err := l.checkTwice(); err != nil {
		return fmt.Errorf("reading lock %s: %w", name, err)
	}
	return nil
}

// checkTwice refuses a package that is there twice, unless it is in the lower layer and its new version in the upper one.
// Over a base image there is no such thing.
func (l Lock) checkTwice() error {
	var layers [2]map[string]string
	for i := range layers {
		layers[i] = map[string]string{}
	}
	for _, p := range l.Packages {
		if _, twice := layers[p.Layer][p.Name]; twice {
			return fmt.Errorf("package %s is in layer %d twice", p.Name, p.Layer)
		}
		layers[p.Layer][p.Name] = p.Version
	}
	for _, p := range l.Packages {
		below, isBelow := layers[0][p.Name]
		switch {
		case l.Base != nil && p.Layer == 1 && isBelow:
			return fmt.Errorf("package %s is in both layers over a base image", p.Name)
		case l.Base == nil && p.Layer == 1 && p.Upgrades != below, l.Base == nil && p.Layer == 0 && p.Upgrades != "":
			return fmt.Errorf("package %s replaces version %q, and the layer below has %q", p.Name, p.Upgrades, below)
		}
	}
	return nil
}

// Digest names the lock's content but for Host: two locks of one digest give the same image.
func (l Lock) Digest() (cas.Digest, error) {
	l.Host = nil
	b, err := json.Marshal(l)
	return cas.Of(b), err
}

// Write puts the lock into dir as NAME.lock.json, atomically, and returns the path.
func (l Lock) Write(dir string) (string, error) {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing lock of %s: %w", l.Profile, err)
	}
	path := filepath.Join(dir, l.Profile+Extension)
	if err := durable.WriteFile(path, append(b, '\n')); err != nil {
		return "", fmt.Errorf("writing lock of %s: %w", l.Profile, err)
	}
	return path, nil
}

// CheckProfile refuses a lock that was made for another state of the profile.
func (l Lock) CheckProfile(now cas.Digest) error {
	if l.ProfileDigest != now {
		return &StaleError{Profile: l.Profile, Locked: l.ProfileDigest, Now: now}
	}
	return nil
}
