// Package artifact describes and hashes what leaves a bake.
//
// An artifact set is a directory: the image, manifest.json, SHA256SUMS, and whatever else is named
// (the verdict, the console log). A Manifest says what is in the image: the lock it came from,
// its partitions, its packages, and the digest of every file. A File is one file of the image, an
// Artifact one file of the set.
//
// manifest.json and SHA256SUMS appear under their names when they and what they name are whole and on the disk. Nothing in the manifest
// depends on when or where the set was made: it is a function of the lock. SHA256SUMS covers the
// manifest, the image, and what only one bake has said: the logs and the verdict.
package artifact

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/durable"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	// ManifestName and SumsName are the names of the files that Write makes.
	ManifestName = "manifest.json"
	SumsName     = "SHA256SUMS"

	// maxManifest bounds manifest.json: 170 bytes for each of 750,000 files, ten times what a desktop has.
	maxManifest = 128 << 20

	// ManifestVersion is the version of the format of manifest.json.
	ManifestVersion = 1
)

// Manifest is the content of manifest.json.
type Manifest struct {
	Version int `json:"version"`
	// Profile, ProfileDigest, Arch and Epoch are the lock's.
	Profile       string     `json:"profile"`
	ProfileDigest cas.Digest `json:"profileDigest"`
	Arch          string     `json:"arch"`
	Epoch         int64      `json:"epoch"`
	// LockDigest is the SHA-256 of the lock file.
	LockDigest cas.Digest `json:"lockDigest"`
	// Checks are what a boot of the image must prove.
	Checks []string `json:"checks,omitempty"`
	// Base is the published image that it was made from.
	Base       *lock.Base  `json:"base,omitempty"`
	Disk       Disk        `json:"disk"`
	Packages   []Package   `json:"packages"`
	Components []Component `json:"components,omitempty"`
	// Artifacts are the files beside the manifest.
	Artifacts []Artifact `json:"artifacts"`
	// FirstUse names the inputs whose hash nobody published (lock.Lock.FirstUse).
	FirstUse []string `json:"firstUse,omitempty"`
	// Files are all files of the image, by path.
	Files []File `json:"files"`
}

// Disk is the layout of the image. Places and sizes are in bytes.
type Disk struct {
	Table      string      `json:"table"`
	Size       int64       `json:"size"`
	ID         string      `json:"id"`
	Partitions []Partition `json:"partitions"`
}

// Partition is one partition of the image.
type Partition struct {
	Number   int    `json:"number"`
	Label    string `json:"label,omitempty"`
	Type     string `json:"type"`
	FS       string `json:"fs"`
	Mount    string `json:"mount,omitempty"`
	Start    int64  `json:"start"`
	Size     int64  `json:"size"`
	UUID     string `json:"uuid,omitempty"`
	PartUUID string `json:"partUUID"`
	Grow     bool   `json:"grow,omitempty"`
}

// Package is one package of the image.
type Package struct {
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Arch    string     `json:"arch"`
	SHA256  cas.Digest `json:"sha256"`
}

// Component is one input that is not a package.
type Component struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Module  string `json:"module,omitempty"`
	Version string `json:"version,omitempty"`
	Sum     string `json:"sum,omitempty"`
	// Files and Images as the lock pins them; trustOnFirstUse marks those whose hash nobody published.
	Files  []lock.File  `json:"files,omitempty"`
	Images []lock.Image `json:"images,omitempty"`
}

// Artifact is one file of the set, named relative to the set's directory.
type Artifact struct {
	Name   string     `json:"name"`
	Size   int64      `json:"size"`
	SHA256 cas.Digest `json:"sha256"`
}

// File is one file of the image. A name that is not UTF-8 is written as in tree.Encode.
type File struct {
	Path   string     `json:"path"`
	Mode   string     `json:"mode"`
	Size   int64      `json:"size"`
	SHA256 cas.Digest `json:"sha256"`
}

// Set is an artifact set to be described.
type Set struct {
	// Dir is the directory; Artifacts are names of files that are in it already.
	Dir       string
	Artifacts []string
	// Lock and the digest of its file.
	Lock       lock.Lock
	LockDigest cas.Digest
	// Checks are the profile's.
	Checks []string
	Plan   disk.Plan
	// Reader opens the contents of the Plan's trees.
	Reader *tree.Reader
	// Following are artifacts that are hashed while they are written, or still were when Write was called.
	Following []*Following
	// Store keeps digests of files for the next set with the same Kin: the digest of what most of
	// their contents come from. Without a store every file is hashed.
	Store *cas.Store
	Kin   cas.Digest
	// Report is told of the hashing; nil is silence.
	Report progress.Reporter
}

// Write hashes the image's files and the artifacts, waits until the artifacts are on the disk, and writes manifest.json
// and SHA256SUMS.
func Write(ctx context.Context, s Set) (Manifest, error) {
	m := describe(s)
	// An artifact can be hashed on one core only; the files, meanwhile, on the others.
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) { m.Files, err = hashTrees(both, s); return err })
	g.Go(func() (err error) { m.Artifacts, err = hashArtifacts(both, s); return err })
	g.Go(func() error { return syncArtifacts(s) }) // the disk works while the processors hash
	if err := g.Wait(); err != nil {
		return m, err
	}
	own, err := m.write(s.Dir)
	if err != nil {
		return m, err
	}
	return m, WriteSums(s.Dir, append(slices.Clone(m.Artifacts), own))
}

// write writes manifest.json.
func (m Manifest) write(dir string) (own Artifact, err error) {
	own.Name = ManifestName
	h := sha256.New()
	err = durable.Write(filepath.Join(dir, ManifestName), func(w io.Writer) error {
		buf := bufio.NewWriter(io.MultiWriter(w, h))
		if own.Size, err = m.encode(buf); err != nil {
			return err
		}
		if own.Size > maxManifest {
			return fmt.Errorf("it has %d bytes for %d files, and %d are read again: put fewer files into the image", own.Size, len(m.Files), maxManifest)
		}
		return buf.Flush()
	})
	own.SHA256 = sumOf(h)
	return own, err
}

// encode writes the manifest as json.MarshalIndent does, one file after the other: three copies of all of them would be
// the most memory that a bake needs. It returns the number of bytes; a fault of w is for Flush to find.
func (m Manifest) encode(w *bufio.Writer) (size int64, err error) {
	files := m.Files
	m.Files = nil
	put := func(b []byte) { _, _ = w.Write(b); size += int64(len(b)) }
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil || len(files) == 0 {
		put(append(b, '\n'))
		return size, err
	}
	const none = "null\n}" // the files are the last field
	put(append(bytes.TrimSuffix(b, []byte(none)), '['))
	for i, f := range files {
		if i > 0 {
			put([]byte(","))
		}
		if b, err = json.MarshalIndent(f, "  ", " "); err != nil {
			return size, err
		}
		put([]byte("\n  "))
		put(b)
	}
	put([]byte("\n ]\n}\n"))
	return size, nil
}

// ReadManifest reads the manifest of the set in dir.
func ReadManifest(dir string) (Manifest, error) {
	var m Manifest
	b, err := readBounded(filepath.Join(dir, ManifestName), maxManifest)
	if err != nil {
		return m, fmt.Errorf("reading manifest: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("reading manifest of %s: %w", dir, err)
	}
	if m.Version != ManifestVersion {
		return m, fmt.Errorf("reading manifest of %s: its version is %d and this program reads %d", dir, m.Version, ManifestVersion)
	}
	return m, nil
}

// syncArtifacts sees to it that after a power cut no sums name what is not there.
func syncArtifacts(s Set) error {
	for _, name := range s.Artifacts {
		if err := durable.Sync(filepath.Join(s.Dir, name)); err != nil {
			return fmt.Errorf("waiting for %s to be on the disk: %w", name, err)
		}
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes, so no bake has written it: bake again into another directory", path, limit)
	}
	return b, err
}

func describe(s Set) Manifest {
	m := Manifest{
		Version: ManifestVersion, Profile: s.Lock.Profile, ProfileDigest: s.Lock.ProfileDigest,
		Arch: s.Lock.Arch, Epoch: s.Lock.Epoch, LockDigest: s.LockDigest, Checks: s.Checks, Base: s.Lock.Base, FirstUse: s.Lock.FirstUse(),
		Disk: Disk{Table: s.Plan.Table, Size: s.Plan.Size, ID: fmt.Sprintf("%08x", s.Plan.DiskID)},
	}
	if s.Plan.Table == disk.GPT {
		m.Disk.ID = disk.FormatUUID(s.Plan.DiskGUID)
	}
	for _, p := range s.Plan.Partitions {
		m.Disk.Partitions = append(m.Disk.Partitions, describePartition(s.Plan, p))
	}
	for _, p := range s.Lock.Installed() {
		m.Packages = append(m.Packages, Package{p.Name, p.Version, p.Arch, p.SHA256})
	}
	slices.SortFunc(m.Packages, func(a, b Package) int { return strings.Compare(a.Name+":"+a.Arch, b.Name+":"+b.Arch) })
	for _, c := range s.Lock.Components {
		m.Components = append(m.Components, Component{Name: c.Name, Kind: c.Kind, Module: c.Module, Version: c.Version, Sum: c.Sum, Files: c.Files, Images: c.Images})
	}
	return m
}

func describePartition(plan disk.Plan, p disk.Partition) Partition {
	out := Partition{
		Number: p.Number, Label: p.Label, Type: p.Type, FS: p.FS, Mount: p.Mount,
		Start: p.Start, Size: p.Size, Grow: p.Grow, PartUUID: fmt.Sprintf("%08x-%02x", plan.DiskID, p.Number),
	}
	if plan.Table == disk.GPT {
		out.PartUUID = disk.FormatUUID(p.PartUUID)
	}
	switch p.FS {
	case disk.Ext4:
		out.UUID = disk.FormatUUID(p.UUID)
	case disk.VFAT:
		out.UUID = fmt.Sprintf("%04X-%04X", p.VolumeID()>>16, p.VolumeID()&0xffff)
	}
	return out
}

// sumOf is the digest of h's bytes.
func sumOf(h interface{ Sum([]byte) []byte }) cas.Digest {
	var buf [sha256.Size]byte
	return cas.FromSum(h.Sum(buf[:0]))
}
