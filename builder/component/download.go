package component

import (
	"bufio"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
)

const (
	// maxSums bounds a file of checksums; Debian's largest, of a whole release, has 5 MiB.
	maxSums = 16 << 20
	// maxDownload bounds a file whose size is not known yet: the largest release is below 1 GiB.
	maxDownload = 8 << 30
)

// download is one file that a component wants.
type download struct {
	// name is the component's word for the file.
	name string
	urls []string
	// sha256 and sha512 are published hashes; sums are URLs of files with them. Without any of
	// them, the hash is that of the first use.
	sha256 cas.Digest
	sha512 string
	sums   []string
	// source is a file of the machine instead, named at the profile's value path at.
	source, at string
}

func asDownload(name string, d profile.Download) download {
	out := download{name: name, urls: d.URLs, sha256: cas.Digest(d.SHA256), sha512: d.SHA512}
	if d.Sums != "" {
		out.sums = []string{d.Sums}
	}
	return out
}

// pin downloads or reads a file, and compares it with what was published. A file of an older lock
// that the store still has is not downloaded again, if it is what is published now.
func (k Kit) pin(ctx context.Context, d download, before lock.Component) (lock.File, error) {
	if d.source != "" {
		return k.pinLocal(d)
	}
	old, err := (&site{pin: before}).file(d.name)
	if err == nil && d.sha256 == "" && d.published() && slices.Equal(old.URLs, d.urls) && k.Store.Has(old.SHA256) {
		again := d
		again.sha256 = old.SHA256
		if f, err := k.pinDownload(ctx, again); err == nil {
			return f, nil
		}
	}
	return k.pinDownload(ctx, d)
}

// published says that there is a hash to compare with.
func (d download) published() bool { return d.sha256 != "" || d.sha512 != "" || len(d.sums) > 0 }

func (k Kit) pinDownload(ctx context.Context, d download) (lock.File, error) {
	digest, err := k.Client.Get(ctx, fetch.Request{Name: d.name, URLs: d.urls, Size: -1, Digest: d.sha256, MaxSize: maxDownload})
	if err != nil {
		return lock.File{}, err
	}
	size, err := k.size(digest)
	if err != nil {
		return lock.File{}, err
	}
	f := lock.File{Name: d.name, URLs: d.urls, Size: size, SHA256: digest}
	f.TrustOnFirstUse = !d.published()
	if d.sha512 != "" {
		err = k.compare512(d.name, digest, d.sha512)
	}
	if err == nil && len(d.sums) > 0 {
		err = k.compareSums(ctx, d, digest)
	}
	return f, err
}

func (k Kit) size(d cas.Digest) (int64, error) {
	b, err := k.Store.Open(d)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	return b.Size(), nil
}

// hashError says that a file is not what its publisher hashed.
func hashError(name, kind, want, got string) error {
	return &cas.MismatchError{Name: name + " (" + kind + ")", Want: cas.Digest(want), Got: cas.Digest(got), WantSize: -1}
}

func (k Kit) compare512(name string, digest cas.Digest, want string) error {
	got, err := sum512(k.Store, digest)
	if err != nil {
		return err
	}
	if got != want {
		return hashError(name, "SHA-512", want, got)
	}
	return nil
}

func sum512(store *cas.Store, digest cas.Digest) (string, error) {
	b, err := store.Open(digest)
	if err != nil {
		return "", err
	}
	defer b.Close()
	h := sha512.New()
	if _, err := bufio.NewReaderSize(b.Reader(), 1<<20).WriteTo(h); err != nil {
		return "", fmt.Errorf("hashing %s: %w", digest.Short(), err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// compareSums looks the file up in a published list of checksums.
func (k Kit) compareSums(ctx context.Context, d download, digest cas.Digest) error {
	list, err := k.Client.Get(ctx, fetch.Request{Name: "checksum of " + d.name, URLs: d.sums, Size: -1, MaxSize: maxSums})
	if err != nil {
		return err
	}
	text, err := k.Store.ReadAll(list, maxSums)
	if err != nil {
		return err
	}
	want, err := findSum(string(text), path.Base(d.urls[0]))
	if err != nil {
		return fmt.Errorf("reading checksum of %s from %s: %w", d.name, d.sums[0], err)
	}
	if len(want) == 128 {
		return k.compare512(d.name, digest, want)
	}
	if want != string(digest) {
		return hashError(d.name, "SHA-256", want, string(digest))
	}
	return nil
}

// findSum reads bare digits, or the line of the file called name from what sha256sum and
// sha512sum write ("DIGITS  NAME", "DIGITS *NAME", NAME with directories).
func findSum(text, name string) (string, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) == 1 && len(lines) == 1 {
			return hexDigits(fields[0])
		}
		if len(fields) == 2 && path.Base(strings.TrimPrefix(fields[1], "*")) == name {
			return hexDigits(fields[0])
		}
	}
	return "", fmt.Errorf("none of its %d lines is of %s", len(lines), name)
}

func hexDigits(s string) (string, error) {
	s = strings.ToLower(s)
	if _, err := hex.DecodeString(s); err != nil || len(s) != 64 && len(s) != 128 {
		return "", fmt.Errorf("%.140q is neither a SHA-256 nor a SHA-512", s)
	}
	return s, nil
}

// unchanged refuses a pin of first use that another one of the same URLs has replaced.
func unchanged(pin lock.Component, before []lock.Component) error {
	old, ok := find(before, pin.Name)
	if !ok {
		return nil
	}
	for _, now := range pin.Files {
		for _, was := range old.Files {
			if now.TrustOnFirstUse && was.TrustOnFirstUse && now.Name == was.Name && slices.Equal(now.URLs, was.URLs) && now.SHA256 != was.SHA256 {
				return &ChangedError{Component: pin.Name, File: now.Name, Was: was.SHA256, Now: now.SHA256}
			}
		}
	}
	return nil
}

// ChangedError says that a file whose hash nobody publishes is not what it was when it was pinned.
type ChangedError struct {
	Component, File string
	Was, Now        cas.Digest
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s has SHA-256 %s and had %s when it was pinned on first use; "+
		"find out why, then remove the pin from the lock", e.File, e.Now, e.Was)
}

// Unwrap says that bytes are not what they should be.
func (e *ChangedError) Unwrap() error {
	return &cas.MismatchError{Name: e.File, Want: e.Was, Got: e.Now, WantSize: -1}
}

// pinLocal puts a file of the machine into the store.
func (k Kit) pinLocal(d download) (lock.File, error) {
	digest, size, err := k.putLocal(d)
	if errors.Is(err, fs.ErrNotExist) {
		return lock.File{}, fmt.Errorf("reading %s: there is no %s", d.source, k.localPath(d))
	}
	return lock.File{Name: d.name, Source: d.source, Size: size, SHA256: digest}, err
}

func (k Kit) putLocal(d download) (cas.Digest, int64, error) {
	f, err := os.Open(k.localPath(d))
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxDownload {
		return "", 0, fmt.Errorf("reading %s: it is no file of at most %d bytes", k.localPath(d), int64(maxDownload))
	}
	return k.Store.Put(f)
}

// localPath is where a file of the machine is: relative to the profile's file that names it, or to
// the working directory when that is a built-in one.
func (k Kit) localPath(d download) string {
	if filepath.IsAbs(d.source) {
		return d.source
	}
	from := k.Profile.Origins[d.at].File
	if from == "" || strings.HasPrefix(from, "builtin:") {
		return d.source
	}
	return filepath.Join(filepath.Dir(from), d.source)
}

// Refresh returns the pins with the files of the machine as they are now. ok is false when one has
// changed that decides more than itself, a package or container images: then only Resolve will do.
func (k Kit) Refresh(pins []lock.Component) (fresh []lock.Component, ok bool, err error) {
	fresh = slices.Clone(pins)
	for i, c := range k.Profile.Profile.Components {
		r, err := k.recipe(i)
		if err != nil {
			return nil, false, err
		}
		at := slices.IndexFunc(fresh, func(p lock.Component) bool { return p.Name == c.Name })
		if at < 0 {
			return nil, false, nil
		}
		fresh[at].Files = slices.Clone(fresh[at].Files)
		for _, d := range r.files {
			n := slices.IndexFunc(fresh[at].Files, func(f lock.File) bool { return f.Name == d.name })
			if d.source == "" || n < 0 {
				continue
			}
			now, err := k.pinLocal(d)
			if err != nil {
				return nil, false, err
			}
			if now.SHA256 != fresh[at].Files[n].SHA256 && c.Files == nil {
				return nil, false, nil
			}
			fresh[at].Files[n] = now
		}
	}
	return fresh, true, nil
}

// adopt puts the files of the machine into the store again when they are what the lock says. A
// file that is gone does no harm as long as the store has it.
func (k Kit) adopt(r recipe, pin lock.Component) error {
	for _, d := range r.files {
		if d.source == "" {
			continue
		}
		want, err := (&site{pin: pin}).file(d.name)
		if err != nil {
			return err
		}
		got, _, err := k.putLocal(d)
		switch {
		case errors.Is(err, fs.ErrNotExist) && k.Store.Has(want.SHA256):
		case err != nil:
			return err
		case got != want.SHA256:
			return &lock.StaleError{Profile: k.Profile.Profile.Name, File: d.source, Locked: want.SHA256, Now: got}
		}
	}
	return nil
}
