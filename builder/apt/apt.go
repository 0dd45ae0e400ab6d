// Package apt reads Debian archives and chooses packages.
//
// A Source is one suite of an archive with the keys that may sign it. Load fetches and verifies its
// Release and indexes; every byte that is parsed is covered by a signature of a pinned key. A
// Universe is what all sources offer to one architecture. Its candidate of a name is the version
// that apt would install: highest priority of the source, then highest version. Solve chooses the
// packages a request needs, as apt-get install does, and puts them in an order to install. It may
// start from a base: the packages of a dpkg status file (ParseStatus). They satisfy relations and
// stay at their version, as with apt-get install --no-upgrade, unless a new package needs a newer
// one. Unlike apt it never removes a package of the base, and upgrades none only because another of
// the same source package is.
//
// Supported: InRelease and Release with Release.gpg, by-hash, indexes in xz, gzip or plain,
// flat archives, priorities. One architecture and "all" at a time: no foreign architectures beside
// it, so Multi-Arch only decides what ":any" means, and that a package which a base also has for
// another architecture keeps its version. No sources, translations or diffs.
package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
)

const (
	// DefaultPriority is apt's priority of a source that no pin names.
	DefaultPriority = 500
	// maxRelease bounds a Release file; Debian's have 150 KiB.
	maxRelease = 16 << 20
	// maxIndex bounds a decompressed Packages index; the largest of Debian has 60 MB.
	maxIndex = 512 << 20
	// maxIndexFile bounds the same as downloaded.
	maxIndexFile = 256 << 20
	// parallelLoads is the number of sources that load at once; memory bounds it.
	parallelLoads = 4
)

// Source is one suite of an archive.
type Source struct {
	Name string // in messages and the lock
	// URLs are base URLs of the same archive in the order to try: the directory above dists/, or the
	// one to which Suite and file names of a flat archive are relative.
	URLs       []string
	Suite      string   // below dists/; "/" or a path with "/" at its end for a flat archive
	Components []string // none for a flat archive
	Keyring    []byte   // OpenPGP public keys, binary or armored
	// Fingerprints of primary keys in Keyring, 40 or 64 hexadecimal digits; blanks do not count.
	Fingerprints []string
	// Priority as in apt_preferences(5). 0 is 500, or 1 or 100 when the Release has NotAutomatic
	// and ButAutomaticUpgrades. Packages of a source below 0 are never chosen.
	Priority         int
	IgnoreValidUntil bool
	// Known is the Date of a Release of this source that was seen before, or zero: an older one is a
	// RollbackError.
	Known time.Time
}

// flat goes by the slash at the end, as apt does.
func (s Source) flat() bool {
	return strings.HasSuffix(s.Suite, "/") || strings.HasPrefix(s.Suite, "./")
}

// dir is the directory of the Release file below the base URL.
func (s Source) dir() string {
	if s.flat() {
		return strings.Trim(path.Clean("/"+s.Suite), "/")
	}
	return "dists/" + strings.Trim(s.Suite, "/")
}

// urls are the addresses of a file in the directory of the Release file.
func (s Source) urls(name string) []string {
	list := make([]string, 0, len(s.URLs))
	for _, base := range s.URLs {
		list = append(list, strings.TrimRight(base, "/")+"/"+path.Join(s.dir(), name))
	}
	return list
}

// Load fetches the Release files and the indexes of the sources and returns their packages for arch.
// now is compared with Valid-Until and the lifetime of keys. Faults name the source.
func Load(ctx context.Context, client *fetch.Client, store *cas.Store, sources []Source, arch string, now time.Time) (*Universe, error) {
	loaded := make([]loadedSource, len(sources))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLoads)
	for i := range sources {
		group.Go(func() error {
			l := loader{client: client, store: store, source: sources[i], arch: arch, now: now}
			var err error
			if loaded[i], err = l.load(ctx); err != nil {
				return fmt.Errorf("loading source %s: %w", sources[i].Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	u := newUniverse(arch)
	for i, l := range loaded {
		if err := u.addSource(sources[i], l); err != nil {
			return nil, fmt.Errorf("loading source %s: %w", sources[i].Name, err)
		}
	}
	u.finish()
	return u, nil
}

// loadedSource is what one source gave.
type loadedSource struct {
	release  Release
	indexes  []packed
	priority int
}

type loader struct {
	client *fetch.Client
	store  *cas.Store
	source Source
	arch   string
	now    time.Time
}

// load reads the source. A mirror that was updated in between has a new Release, and then all is read again.
func (l loader) load(ctx context.Context) (loadedSource, error) {
	rel, err := l.checked(ctx)
	if err != nil {
		return loadedSource{}, err
	}
	out, err := l.read(ctx, rel)
	var mixed *MixedError
	if !errors.As(err, &mixed) {
		return out, err
	}
	again, fault := l.checked(ctx)
	if fault != nil || again.Digest == rel.Digest {
		return out, err
	}
	return l.read(ctx, again)
}

func (l loader) checked(ctx context.Context) (*Release, error) {
	rel, err := l.release(ctx)
	if err != nil {
		return nil, err
	}
	return rel, rel.check(l.source, l.arch, l.now)
}

func (l loader) read(ctx context.Context, rel *Release) (loadedSource, error) {
	var out loadedSource
	names, err := rel.indexes(l.source, l.arch)
	if err != nil {
		return out, err
	}
	for _, name := range names {
		x, err := l.index(ctx, rel, name)
		if err != nil {
			return out, fmt.Errorf("reading Packages index of %s: %w", indexLabel(l.source, name), err)
		}
		out.indexes = append(out.indexes, x)
	}
	out.release = *rel
	out.priority = cmp.Or(l.source.Priority, rel.defaultPriority())
	return out, nil
}

// indexLabel is "bookworm/main" for main/binary-arm64/Packages.
func indexLabel(s Source, name string) string {
	if s.flat() {
		return s.Name + " " + s.Suite
	}
	return s.Suite + "/" + path.Dir(path.Dir(name))
}

// get fetches a file and returns all of it. An empty digest takes what comes.
func (l loader) get(ctx context.Context, name string, urls []string) ([]byte, cas.Digest, error) {
	d, err := l.client.Get(ctx, fetch.Request{Name: name, URLs: urls, Size: -1, MaxSize: maxRelease})
	if err != nil {
		return nil, "", err
	}
	data, err := l.store.ReadAll(d, maxRelease)
	return data, d, err
}
