package apt

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
)

// Release is a verified Release file.
type Release struct {
	Source string     // Source.Name
	Digest cas.Digest // of InRelease, or of Release beside Release.gpg
	Origin, Label, Suite, Codename,
	Version string
	Date       time.Time
	ValidUntil time.Time // zero when the archive never expires

	fields deb.Stanza
	files  map[string]indexFile
}

// indexFile is an entry of the Release's SHA256 list.
type indexFile struct {
	digest cas.Digest
	size   int64
}

func (l loader) release(ctx context.Context) (*Release, error) {
	pinned, err := pinnedKeys(l.source.Keyring, l.source.Fingerprints)
	if err != nil {
		return nil, err
	}
	data, digest, inErr := l.get(ctx, l.source.Name+" InRelease", l.source.urls("InRelease"))
	if inErr == nil {
		text, err := verifyClear(data, pinned, l.now)
		if err != nil {
			return nil, fmt.Errorf("reading InRelease: %w", err)
		}
		return parseRelease(l.source.Name, text, digest)
	}
	data, digest, err = l.get(ctx, l.source.Name+" Release", l.source.urls("Release"))
	if err != nil || ctx.Err() != nil {
		return nil, inErr
	}
	signature, _, err := l.get(ctx, l.source.Name+" Release.gpg", l.source.urls("Release.gpg"))
	if err != nil {
		return nil, fmt.Errorf("reading Release.gpg: %w", err)
	}
	if err := verifyDetached(data, signature, pinned, l.now); err != nil {
		return nil, fmt.Errorf("reading Release: %w", err)
	}
	return parseRelease(l.source.Name, data, digest)
}

func parseRelease(source string, text []byte, digest cas.Digest) (*Release, error) {
	s, err := deb.ParseStanza(text)
	if err != nil {
		return nil, fmt.Errorf("reading Release: %w", err)
	}
	r := &Release{Source: source, Digest: digest, Origin: s.Get("Origin"), Label: s.Get("Label"), Suite: s.Get("Suite"),
		Codename: s.Get("Codename"), Version: s.Get("Version"), fields: s, files: map[string]indexFile{}}
	if r.Date, err = releaseTime(s, "Date"); err != nil {
		return nil, err
	}
	if r.ValidUntil, err = releaseTime(s, "Valid-Until"); err != nil {
		return nil, err
	}
	for _, line := range s.Lines("SHA256") {
		if err := r.addFile(line); err != nil {
			return nil, fmt.Errorf("reading Release: SHA256 line %q: %w", line, err)
		}
	}
	return r, nil
}

func (r *Release) addFile(line string) error {
	f := strings.Fields(line)
	if len(f) != 3 {
		return fmt.Errorf("%d words instead of hash, size and path", len(f))
	}
	d, err := cas.ParseDigest(strings.ToLower(f[0]))
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("size %q is no number", f[1])
	}
	r.files[strings.TrimPrefix(f[2], "./")] = indexFile{digest: d, size: size}
	return nil
}

// releaseTime parses a date of RFC 822 as archives write it, with a zone of letters or digits.
func releaseTime(s deb.Stanza, name string) (time.Time, error) {
	text, ok := s.Lookup(name)
	if !ok {
		return time.Time{}, nil
	}
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("reading Release: %s %q is no date", name, text)
}

// maxAhead is how far a Release may be ahead of this machine's clock: that of a machine without a network is
// off by minutes, a wrong zone by hours.
const maxAhead = 24 * time.Hour

// checkTime refuses what is too old, older than what was there before, or not there yet.
func (r *Release) checkTime(s Source, now time.Time) error {
	switch {
	case !r.ValidUntil.IsZero() && now.After(r.ValidUntil) && !s.IgnoreValidUntil:
		return fmt.Errorf("checking Release: Valid-Until is %s, now is %s: the mirror stands still, or somebody holds updates back (freeze); name another mirror (--mirror), or for an archive that has ended set ignoreValidUntil",
			r.ValidUntil.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case r.Date.After(now.Add(maxAhead)):
		return fmt.Errorf("checking Release: its Date is %s, now is %s; set this machine's clock",
			r.Date.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case r.Date.Before(s.Known):
		return &RollbackError{Date: r.Date, Known: s.Known}
	}
	return nil
}

// check compares the Release with what was asked for.
func (r *Release) check(s Source, arch string, now time.Time) error {
	if err := r.checkTime(s, now); err != nil {
		return err
	}
	if s.flat() {
		return nil
	}
	asked := strings.TrimSuffix(strings.Trim(s.Suite, "/"), "/updates")
	if asked != r.Suite && asked != r.Codename {
		return fmt.Errorf("checking Release: suite %s was asked for, but this is suite %q, codename %q", s.Suite, r.Suite, r.Codename)
	}
	if list := r.fields.Get("Architectures"); !offered(list, arch) {
		return fmt.Errorf("checking Release: no architecture %s, there are %s", arch, strings.Join(strings.Fields(list), ", "))
	}
	return nil
}

// Offers reports whether the source has indexes of all its components for an architecture. A flat archive has one
// index for all, and does not say of which it is.
func (r *Release) Offers(s Source, arch string) bool {
	if s.flat() {
		return false
	}
	_, err := r.indexes(s, arch)
	return err == nil && offered(r.fields.Get("Architectures"), arch)
}

// offered takes a list that says nothing as one that allows all.
func offered(architectures, arch string) bool {
	list := strings.Fields(architectures)
	return len(list) == 0 || slices.Contains(list, arch)
}

func (r *Release) defaultPriority() int {
	switch {
	case !strings.EqualFold(r.fields.Get("NotAutomatic"), "yes"):
		return DefaultPriority
	case strings.EqualFold(r.fields.Get("ButAutomaticUpgrades"), "yes"):
		return 100
	}
	return 1
}

// indexes names the Packages indexes to read, without the extension of a compression.
func (r *Release) indexes(s Source, arch string) ([]string, error) {
	if s.flat() {
		return []string{"Packages"}, nil
	}
	var list []string
	for _, c := range s.Components {
		name := c + "/binary-" + arch + "/Packages"
		if _, _, ok := r.file(name); !ok {
			return nil, fmt.Errorf("checking Release: no %s; the components are %s", name, r.fields.Get("Components"))
		}
		list = append(list, name)
		all := c + "/binary-all/Packages"
		if _, _, ok := r.file(all); ok && r.separateAll() {
			list = append(list, all)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("checking Release: no component was asked for; there are %s", r.fields.Get("Components"))
	}
	return list, nil
}

// separateAll says whether packages for all architectures have an index of their own, as apt
// decides it: Debian's security archive lists one that it does not serve.
func (r *Release) separateAll() bool {
	return slices.Contains(strings.Fields(r.fields.Get("Architectures")), "all") &&
		r.fields.Get("No-Support-for-Architecture-all") != "Packages"
}

// file finds the best form of an index that the Release lists: smallest first.
func (r *Release) file(name string) (ext string, f indexFile, ok bool) {
	for _, ext := range []string{".xz", ".gz", ""} {
		if f, ok := r.files[name+ext]; ok {
			return ext, f, true
		}
	}
	return "", indexFile{}, false
}
