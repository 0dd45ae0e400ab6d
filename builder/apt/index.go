package apt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/fetch"
)

// Package is one version of a package in one source. Relation fields are as in the index.
type Package struct {
	Name, Version, Arch string
	// Path of the .deb below the archive's base URL.
	Path      string
	Size      int64
	SHA256    cas.Digest
	Source    int    // index into Universe.Sources, -1 for an installed package
	Priority  string // "required", "important", ...
	Essential bool
	MultiArch string // "same", "foreign", "allowed" or ""
	// SourcePackage is the index's field Source, "" when it has the name of the package.
	SourcePackage string

	PreDepends, Depends, Recommends, Provides, Conflicts, Breaks string
}

// String is "name=version".
func (p *Package) String() string { return p.Name + "=" + p.Version }

func (l loader) index(ctx context.Context, rel *Release, name string) (packed, error) {
	ext, file, ok := rel.file(name)
	if !ok {
		return "", fmt.Errorf("the Release does not list %s with a SHA-256", name)
	}
	req := fetch.Request{Name: l.source.Name + " " + name + ext, Size: file.size, Digest: file.digest, MaxSize: maxIndexFile}
	if strings.EqualFold(rel.fields.Get("Acquire-By-Hash"), "yes") {
		req.URLs = l.source.urls(path.Join(path.Dir(name), "by-hash/SHA256", string(file.digest)))
	}
	req.URLs = append(req.URLs, l.source.urls(name+ext)...)
	if _, err := l.client.Get(ctx, req); err != nil {
		return "", explainMismatch(err)
	}
	return l.unpacked(name+ext, ext, file.digest)
}

// explainMismatch says who claimed the other digest. An index that is not there is the same fault: the
// Release names it.
func explainMismatch(err error) error {
	var m *cas.MismatchError
	var gone *fetch.NotFoundError
	switch {
	case errors.As(err, &m) && m.Got != "" && m.Got != m.Want:
		return &MixedError{fmt.Errorf("SHA-256 is %s but InRelease says %s: %w", m.Got.Short(), m.Want.Short(), err)}
	case errors.As(err, &m), errors.As(err, &gone):
		return &MixedError{err}
	}
	return err
}

// packageFields are the fields of a stanza that a Package keeps, sorted out in one pass.
type packageFields struct {
	name, version, arch, path, size, sha256, priority, essential, multiArch, source string
	preDepends, depends, recommends, suggests, provides, conflicts, breaks          string
	replaces, enhances                                                              string
}

func sortFields(s deb.Stanza) packageFields {
	var f packageFields
	for i := range s.Fields {
		if p := f.slot(s.Fields[i].Name); p != nil {
			*p = s.Fields[i].Value
		}
	}
	return f
}

func (f *packageFields) slot(name string) *string {
	switch name {
	case "Package":
		return &f.name
	case "Version":
		return &f.version
	case "Architecture":
		return &f.arch
	case "Filename":
		return &f.path
	case "Size":
		return &f.size
	case "SHA256":
		return &f.sha256
	case "Priority":
		return &f.priority
	case "Essential":
		return &f.essential
	case "Multi-Arch":
		return &f.multiArch
	case "Source":
		return &f.source
	}
	return f.relationSlot(name)
}

func (f *packageFields) relationSlot(name string) *string {
	switch name {
	case "Pre-Depends":
		return &f.preDepends
	case "Depends":
		return &f.depends
	case "Recommends":
		return &f.recommends
	case "Suggests":
		return &f.suggests
	case "Provides":
		return &f.provides
	case "Conflicts":
		return &f.conflicts
	case "Breaks":
		return &f.breaks
	case "Replaces":
		return &f.replaces
	case "Enhances":
		return &f.enhances
	}
	return nil
}

// safePath is Filename without "./". It is relative to the archive's base URL, for the index of a
// flat archive in a subdirectory too (tried with apt 2.6).
func safePath(name string) (string, error) {
	p := path.Clean(name)
	if name == "" || p == ".." || strings.HasPrefix(p, "../") || strings.HasPrefix(p, "/") {
		return "", fmt.Errorf("file name %q leaves the archive", name)
	}
	return p, nil
}
