package apt

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
)

// packedVersion changes when the same index is to be packed in another way.
const packedVersion = "2"

// packed is what is kept of a Packages index: a blob of the store that is read in a fraction of the
// time which decompressing and parsing take. It is a list of strings, each with its length as
// uvarint before it: packageStrings for each package, an empty one, then the names in the order in
// which apt's cache meets them (see Universe.ids).
type packed string

// packageStrings is the number of strings of a package; the first is its name and not empty.
const packageStrings = 16

// packedSize is about what one package of Debian takes, in bytes; it spares growing the list.
const packedSize = 400

var errPacked = errors.New("the packed form in the store is damaged")

// unpacked returns the packed form of an index in the store, which it makes when nobody did before.
func (l loader) unpacked(name, ext string, index cas.Digest) (packed, error) {
	key := cas.Of([]byte(strings.Join([]string{"apt index", packedVersion, l.arch, string(index)}, "\n")))
	if saved, ok, err := l.store.Result(key); err == nil && ok && l.store.Intact(cas.Digest(saved)) {
		return readPacked(l.store, cas.Digest(saved))
	}
	d, err := l.pack(name, ext, index)
	if err != nil {
		return "", err
	}
	if err := l.store.SaveResult(key, []byte(d)); err != nil {
		return "", err
	}
	return readPacked(l.store, d)
}

func readPacked(store *cas.Store, d cas.Digest) (packed, error) {
	blob, err := store.Open(d)
	if err != nil {
		return "", err
	}
	defer blob.Close()
	var text strings.Builder
	text.Grow(int(blob.Size()))
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(&text, sum), blob.Reader()); err != nil {
		return "", err
	}
	if cas.FromSum(sum.Sum(nil)) != d {
		return "", fmt.Errorf("%w: remove %s", errPacked, store.Path(d))
	}
	return packed(text.String()), nil
}

func (l loader) pack(name, ext string, index cas.Digest) (cas.Digest, error) {
	blob, err := l.store.Open(index)
	if err != nil {
		return "", err
	}
	defer blob.Close()
	r, err := deb.DecompressAt(ext, blob, blob.Size())
	if err != nil {
		return "", fmt.Errorf("decompressing %s: %w", name, err)
	}
	defer r.Close()
	w, err := l.store.Create()
	if err != nil {
		return "", err
	}
	defer w.Abort()
	if err := packIndex(w, r, l.arch); err != nil {
		return "", err
	}
	return w.Commit()
}

// packIndex keeps the packages that fit arch.
func packIndex(w io.Writer, r io.Reader, arch string) error {
	p := packer{w: bufio.NewWriterSize(w, 1<<18), arch: arch, seen: map[string]struct{}{}}
	for stanza, err := range deb.ParseStanzas(r, maxIndex) {
		if err != nil {
			return err
		}
		if err := p.add(sortFields(stanza)); err != nil {
			return err
		}
	}
	p.put("")
	for _, name := range p.mentions {
		p.put(name)
	}
	return p.w.Flush()
}

// packer writes a packed index. Faults of writing show in Flush.
type packer struct {
	w        *bufio.Writer
	arch     string
	seen     map[string]struct{}
	mentions []string
	length   []byte
}

func (p *packer) put(s string) {
	p.length = binary.AppendUvarint(p.length[:0], uint64(len(s)))
	_, _ = p.w.Write(p.length) // a bufio.Writer keeps its fault for Flush
	_, _ = p.w.WriteString(s)
}

func (p *packer) add(f packageFields) error {
	if f.name == "" || f.version == "" {
		return fmt.Errorf("a stanza without Package or Version: %q %q", f.name, f.version)
	}
	if f.arch != p.arch && f.arch != "all" {
		return nil
	}
	if size, err := strconv.ParseInt(f.size, 10, 64); err != nil || size < 0 {
		return fmt.Errorf("%s: size %q is no number", f.name, f.size)
	}
	if _, err := cas.ParseDigest(f.sha256); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	path, err := safePath(f.path)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	p.mention(f)
	for _, s := range [packageStrings]string{f.name, f.version, f.arch, path, f.size, f.sha256, f.priority, f.essential, f.multiArch,
		f.source, f.preDepends, f.depends, f.recommends, f.provides, f.conflicts, f.breaks} {
		p.put(s)
	}
	return nil
}

// mention notes the names of a stanza in the order of apt's pkgcachegen and deblistparser.
func (p *packer) mention(f packageFields) {
	p.mentionName(f.name)
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
			p.mentionName(part)
		}
	}
}

func (p *packer) mentionName(name string) {
	if _, ok := p.seen[name]; ok || name == "" {
		return
	}
	name = strings.Clone(name)
	p.seen[name] = struct{}{}
	p.mentions = append(p.mentions, name)
}

// next takes the first string off.
func (x *packed) next() (string, error) {
	var n uint64
	for i := 0; ; i++ {
		if i >= len(*x) || i >= binary.MaxVarintLen32 {
			return "", errPacked
		}
		c := (*x)[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			*x = (*x)[i+1:]
			break
		}
	}
	if n > uint64(len(*x)) {
		return "", errPacked
	}
	s := string((*x)[:n])
	*x = (*x)[n:]
	return s, nil
}

// packages appends the packages to list and returns what follows them, the mentioned names.
func (x packed) packages(list []Package, source int) ([]Package, packed, error) {
	list = slices.Grow(list, len(x)/packedSize)
	for {
		name, err := x.next()
		if name == "" || err != nil {
			return list, x, err
		}
		f := [packageStrings]string{name}
		for i := 1; i < len(f); i++ {
			if f[i], err = x.next(); err != nil {
				return nil, "", err
			}
		}
		size, err := strconv.ParseInt(f[4], 10, 64)
		if err != nil {
			return nil, "", errPacked
		}
		list = append(list, Package{Name: name, Version: f[1], Arch: f[2], Path: f[3], Size: size, SHA256: cas.Digest(f[5]), Source: source,
			Priority: f[6], Essential: f[7] == "yes", MultiArch: f[8], SourcePackage: f[9],
			PreDepends: f[10], Depends: f[11], Recommends: f[12], Provides: f[13], Conflicts: f[14], Breaks: f[15]})
	}
}
