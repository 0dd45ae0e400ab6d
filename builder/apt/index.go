package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
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

// index is a parsed Packages index.
type index struct {
	packages []Package
	// mentions are the names in the order in which apt's cache meets them; see Universe.ids.
	mentions []string
}

func (l loader) index(ctx context.Context, rel *Release, name string) (*index, error) {
	ext, file, ok := rel.file(name)
	if !ok {
		return nil, fmt.Errorf("the Release does not list %s with a SHA-256", name)
	}
	req := fetch.Request{Name: l.source.Name + " " + name + ext, Size: file.size, Digest: file.digest, MaxSize: maxIndexFile}
	if strings.EqualFold(rel.fields.Get("Acquire-By-Hash"), "yes") {
		req.URLs = l.source.urls(path.Join(path.Dir(name), "by-hash/SHA256", string(file.digest)))
	}
	req.URLs = append(req.URLs, l.source.urls(name+ext)...)
	if _, err := l.client.Get(ctx, req); err != nil {
		return nil, explainMismatch(err)
	}
	blob, err := l.store.Open(file.digest)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	r, err := deb.Decompress(ext, blob.Reader())
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", name+ext, err)
	}
	defer r.Close()
	return readIndex(r, l.arch, l.source)
}

// explainMismatch says who claimed the other digest.
func explainMismatch(err error) error {
	var m *cas.MismatchError
	if errors.As(err, &m) && m.Got != "" && m.Got != m.Want {
		return fmt.Errorf("SHA-256 is %s but InRelease says %s: %w", m.Got.Short(), m.Want.Short(), err)
	}
	return err
}

// readIndex keeps the packages that fit arch.
func readIndex(r io.Reader, arch string, s Source) (*index, error) {
	b := indexBuilder{x: &index{}, arch: arch, seen: map[string]struct{}{}, interned: map[string]string{}}
	if s.flat() {
		b.prefix = s.dir()
	}
	for stanza, err := range deb.ParseStanzas(r, maxIndex) {
		if err != nil {
			return nil, err
		}
		if err := b.add(stanza); err != nil {
			return nil, err
		}
	}
	return b.x, nil
}

type indexBuilder struct {
	x        *index
	arch     string
	prefix   string // of paths, for flat archives
	seen     map[string]struct{}
	interned map[string]string
	text     strings.Builder
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

func (b *indexBuilder) add(s deb.Stanza) error {
	f := sortFields(s)
	if f.name == "" || f.version == "" {
		return fmt.Errorf("a stanza without Package or Version: %.60q", s.String())
	}
	if f.arch != b.arch && f.arch != "all" {
		return nil
	}
	size, err := strconv.ParseInt(f.size, 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("%s: size %q is no number", f.name, f.size)
	}
	digest, err := cas.ParseDigest(f.sha256)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	name, err := safePath(b.prefix, f.path)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	f.path, f.sha256 = name, string(digest)
	b.mention(f)
	b.x.packages = append(b.x.packages, b.pack(f, size))
	return nil
}

// safePath is Filename below the archive's base URL.
func safePath(prefix, name string) (string, error) {
	p := path.Join(prefix, name)
	if name == "" || p == ".." || strings.HasPrefix(p, "../") || strings.HasPrefix(p, "/") {
		return "", fmt.Errorf("file name %q leaves the archive", name)
	}
	return p, nil
}

// pack copies what is kept of a stanza into one string, so that the stanza's own can go.
func (b *indexBuilder) pack(f packageFields, size int64) Package {
	p := Package{Size: size, Priority: b.intern(f.priority), Essential: f.essential == "yes",
		Arch: b.intern(f.arch), MultiArch: b.intern(f.multiArch)}
	kept := []struct {
		to   *string
		from string
	}{{&p.Name, f.name}, {&p.Version, f.version}, {&p.Path, f.path}, {&p.SourcePackage, f.source},
		{&p.PreDepends, f.preDepends}, {&p.Depends, f.depends}, {&p.Recommends, f.recommends},
		{&p.Provides, f.provides}, {&p.Conflicts, f.conflicts}, {&p.Breaks, f.breaks}}
	b.text = strings.Builder{}
	total := len(f.sha256)
	for _, k := range kept {
		total += len(k.from)
	}
	b.text.Grow(total)
	b.text.WriteString(f.sha256)
	for _, k := range kept {
		b.text.WriteString(k.from)
	}
	text := b.text.String()
	p.SHA256, text = cas.Digest(text[:len(f.sha256)]), text[len(f.sha256):]
	for _, k := range kept {
		*k.to, text = text[:len(k.from)], text[len(k.from):]
	}
	return p
}

func (b *indexBuilder) intern(s string) string {
	if v, ok := b.interned[s]; ok {
		return v
	}
	s = strings.Clone(s)
	b.interned[s] = s
	return s
}

// mention notes the names of a stanza in the order of apt's pkgcachegen and deblistparser.
func (b *indexBuilder) mention(f packageFields) {
	b.mentionName(f.name)
	for _, field := range []string{f.preDepends, f.depends, f.conflicts, f.breaks, f.recommends, f.suggests, f.replaces, f.enhances, f.provides} {
		for field != "" {
			var part string
			if i := strings.IndexAny(field, ",|"); i >= 0 {
				part, field = field[:i], field[i+1:]
			} else {
				part, field = field, ""
			}
			part = strings.TrimLeft(part, " \n\t")
			if i := strings.IndexAny(part, " :("); i >= 0 {
				part = part[:i]
			}
			b.mentionName(part)
		}
	}
}

func (b *indexBuilder) mentionName(name string) {
	if _, ok := b.seen[name]; ok || name == "" {
		return
	}
	name = strings.Clone(name)
	b.seen[name] = struct{}{}
	b.x.mentions = append(b.x.mentions, name)
}
