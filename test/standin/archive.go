package standin

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/deb"
)

// Package is one .deb for an archive: a File on disk, or Data.
type Package struct {
	File string
	Data []byte
	// Component of an archive with a pool; "" is main.
	Component string
}

// indexed is a package with its stanza in Packages, without Filename.
type indexed struct {
	Package
	name, version, arch, stanza string
}

func (p Package) index() (indexed, error) {
	data := p.Data
	if p.File != "" {
		var err error
		if data, err = os.ReadFile(p.File); err != nil {
			return indexed{}, err
		}
	}
	f, err := deb.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return indexed{}, err
	}
	c, err := f.Control()
	if err != nil {
		return indexed{}, err
	}
	if p.Component == "" {
		p.Component = "main"
	}
	x := indexed{Package: p, name: c.Get("Package"), version: c.Get("Version"), arch: c.Get("Architecture")}
	x.stanza = strings.TrimSpace(c.String()) + fmt.Sprintf("\nSize: %d\nMD5sum: %x\nSHA1: %x\nSHA256: %x\n",
		len(data), md5.Sum(data), sha1.Sum(data), sha256.Sum256(data))
	return x, nil
}

// file is the name of the package's file, without the epoch of its version.
func (x indexed) file() string {
	_, version, found := strings.Cut(x.version, ":")
	if !found {
		version = x.version
	}
	return fmt.Sprintf("%s_%s_%s.deb", x.name, version, x.arch)
}

func (x indexed) publish(u *Upstream, url string) error {
	if x.File != "" {
		return u.Link(url, x.File)
	}
	return u.Put(url, x.Data)
}

func indexAll(packages []Package) ([]indexed, error) {
	var out []indexed
	for _, p := range packages {
		x, err := p.index()
		if err != nil {
			return nil, fmt.Errorf("indexing %s: %w", p.File, err)
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b indexed) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// FlatArchive publishes a repository as the openSUSE Build Service lays it out: index and
// signatures in the directory of the URL, packages in one directory for each architecture.
func (u *Upstream) FlatArchive(url string, key Key, packages ...Package) error {
	list, err := indexAll(packages)
	if err != nil {
		return err
	}
	var index strings.Builder
	for _, x := range list {
		fmt.Fprintf(&index, "%sFilename: ./%s/%s\n\n", x.stanza, x.arch, x.file())
		if err := x.publish(u, url+"/"+x.arch+"/"+x.file()); err != nil {
			return err
		}
	}
	project := strings.Trim(strings.TrimPrefix(url, "https://download.opensuse.org/repositories/"), "/")
	release := fmt.Sprintf("Archive: %[1]s\nCodename: %[1]s\nOrigin: obs://build.opensuse.org/%[2]s\nLabel: %[2]s\nDate: %[3]s\n",
		path.Base(project), path.Dir(project), u.date.Format(time.RFC1123))
	public, err := key.Armored()
	if err != nil {
		return err
	}
	if err := u.Put(url+"/Release.key", public); err != nil {
		return err
	}
	return u.signedRelease(url, key, release, map[string][]byte{"Packages": []byte(index.String())})
}

// signedRelease writes the indexes, plain and compressed, and Release, Release.gpg and InRelease.
func (u *Upstream) signedRelease(url string, key Key, head string, indexes map[string][]byte) error {
	all := map[string][]byte{}
	for name, data := range indexes {
		z, err := gzipped(data)
		if err != nil {
			return err
		}
		all[name], all[name+".gz"] = data, z
	}
	release := head
	for _, sum := range []struct {
		field string
		of    func([]byte) string
	}{
		{"MD5Sum", func(b []byte) string { return fmt.Sprintf("%x", md5.Sum(b)) }},
		{"SHA256", sha256Hex},
	} {
		release += sum.field + ":\n"
		for _, name := range sortedNames(all) {
			release += fmt.Sprintf(" %s %16d %s\n", sum.of(all[name]), len(all[name]), name)
		}
	}
	return u.putRelease(url, key, release, all)
}

func (u *Upstream) putRelease(url string, key Key, release string, files map[string][]byte) error {
	inline, err := key.ClearSign(release)
	if err != nil {
		return err
	}
	detached, err := Detach([]byte(release), key)
	if err != nil {
		return err
	}
	files["Release"], files["InRelease"], files["Release.gpg"] = []byte(release), inline, detached
	for _, name := range sortedNames(files) {
		if err := u.Put(url+"/"+name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

func sha256Hex(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// UbuntuArchive publishes packages of one architecture as a release of Ubuntu at url: the release
// pocket has them all, -updates and -security are empty.
func (u *Upstream) UbuntuArchive(url string, key Key, r Release, arch string, packages ...Package) error {
	list, err := indexAll(packages)
	if err != nil {
		return err
	}
	components := []string{"main", "restricted", "universe", "multiverse"}
	text := map[string]*strings.Builder{}
	for _, c := range components {
		text[c] = &strings.Builder{}
	}
	for _, x := range list {
		to, ok := text[x.Component]
		if !ok {
			return fmt.Errorf("publishing %s: Ubuntu has no component %q", x.name, x.Component)
		}
		file := "pool/" + x.Component + "/" + section(x.name) + "/" + x.name + "/" + x.file()
		fmt.Fprintf(to, "%sFilename: %s\n\n", x.stanza, file)
		if err := x.publish(u, url+"/"+file); err != nil {
			return err
		}
	}
	for _, pocket := range []string{"", "-updates", "-security"} {
		indexes := map[string][]byte{}
		for _, c := range components {
			indexes[c+"/binary-"+arch+"/Packages"] = nil
			if pocket == "" {
				indexes[c+"/binary-"+arch+"/Packages"] = []byte(text[c].String())
			}
		}
		if err := u.suite(url, key, r, pocket, arch, components, indexes); err != nil {
			return err
		}
	}
	return nil
}

func (u *Upstream) suite(url string, key Key, r Release, pocket, arch string, components []string, indexes map[string][]byte) error {
	head := fmt.Sprintf("Origin: Ubuntu\nLabel: Ubuntu\nSuite: %[1]s%[2]s\nVersion: %[3]s\nCodename: %[1]s\nDate: %[4]s\nArchitectures: %[5]s\nComponents: %[6]s\nDescription: stand-in for tests\n",
		r.Codename, pocket, r.Version, u.date.Format(time.RFC1123), arch, strings.Join(components, " "))
	base := url + "/dists/" + r.Codename + pocket
	if err := u.signedRelease(base, key, head+"Acquire-By-Hash: yes\n", indexes); err != nil {
		return err
	}
	return u.byHash(base, indexes)
}

// byHash publishes the indexes under their digests too.
func (u *Upstream) byHash(base string, indexes map[string][]byte) error {
	for _, name := range sortedNames(indexes) {
		z, err := gzipped(indexes[name])
		if err != nil {
			return err
		}
		for _, data := range [][]byte{indexes[name], z} {
			if err := u.Put(base+"/"+path.Dir(name)+"/by-hash/SHA256/"+sha256Hex(data), data); err != nil {
				return err
			}
		}
	}
	return nil
}

// section is the directory of a package in the pool.
func section(name string) string {
	if strings.HasPrefix(name, "lib") && len(name) > 3 {
		return name[:4]
	}
	return name[:1]
}

// LockedPackages are the .debs that a lock pins, from its store: with the packages of a profile
// and their dependencies, an archive is complete.
func (b Base) LockedPackages() []Package {
	var out []Package
	for _, p := range append(slices.Clone(b.Lock.Packages), b.Lock.Guest...) {
		x := Package{File: b.Store.Path(p.SHA256)}
		if universe(p.Name) {
			x.Component = "universe"
		}
		out = append(out, x)
	}
	return out
}

// universe says which packages Ubuntu's main component lacks.
func universe(name string) bool {
	return slices.Contains([]string{"mosquitto", "libmosquitto1", "libdlt2", "libcjson1"}, name)
}
