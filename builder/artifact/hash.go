package artifact

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/sparse"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

const bufferSize = 1 << 20

// HashFile returns the SHA-256 of all bytes of a file, holes included, and its size. Holes are
// hashed as zeros from memory and not read.
func HashFile(ctx context.Context, name string) (Artifact, error) {
	return hashFile(ctx, name, progress.Discard{})
}

func hashFile(ctx context.Context, name string, report progress.Reporter) (Artifact, error) {
	a := Artifact{Name: filepath.Base(name)}
	f, err := os.Open(name)
	if err != nil {
		return a, fmt.Errorf("hashing: %w", err)
	}
	defer f.Close()
	if a.Size, err = f.Seek(0, io.SeekEnd); err != nil {
		return a, fmt.Errorf("hashing %s: %w", name, err)
	}
	ranges, err := sparse.Ranges(f, a.Size)
	if err != nil {
		return a, err
	}
	h := hasher{ctx: ctx, f: f, hash: sha256.New(), task: report.Task("hash "+a.Name, a.Size, progress.Bytes)}
	err = h.run(ranges, a.Size)
	h.task.Done(err)
	if err != nil {
		return a, fmt.Errorf("hashing %s: %w", name, err)
	}
	a.SHA256 = sumOf(h.hash)
	return a, nil
}

// hasher feeds a file to a hash, in order.
type hasher struct {
	ctx  context.Context
	f    *os.File
	hash hash.Hash
	task progress.Task
	at   int64
}

func (h *hasher) run(ranges []sparse.Range, size int64) error {
	zeros, data := make([]byte, bufferSize), make([]byte, bufferSize)
	for _, r := range append(slices.Clone(ranges), sparse.Range{Offset: size}) {
		if err := h.feed(r.Offset, func(n int64) ([]byte, error) { return zeros[:n], nil }); err != nil {
			return err
		}
		err := h.feed(r.Offset+r.Length, func(n int64) ([]byte, error) {
			_, err := h.f.ReadAt(data[:n], h.at)
			return data[:n], err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// feed hashes up to end what next gives.
func (h *hasher) feed(end int64, next func(n int64) ([]byte, error)) error {
	for h.at < end {
		if err := h.ctx.Err(); err != nil {
			return err
		}
		b, err := next(min(bufferSize, end-h.at))
		if err != nil {
			return err
		}
		_, _ = h.hash.Write(b) // a hash never fails
		h.at += int64(len(b))
		h.task.Add(int64(len(b)))
	}
	return nil
}

func reporter(s Set) progress.Reporter {
	if s.Report == nil {
		return progress.Discard{}
	}
	return s.Report
}

// hashArtifacts hashes what the caller does not know yet, several files at once.
func hashArtifacts(ctx context.Context, s Set) ([]Artifact, error) {
	out := make([]Artifact, len(s.Artifacts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, name := range s.Artifacts {
		if k := slices.IndexFunc(s.Known, func(a Artifact) bool { return a.Name == name }); k >= 0 {
			out[i] = s.Known[k]
			continue
		}
		g.Go(func() error {
			a, err := hashFile(ctx, filepath.Join(s.Dir, name), reporter(s))
			a.Name = name
			out[i] = a
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Artifact) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// hashTrees hashes every file of the plan's trees where it appears in the running system.
func hashTrees(ctx context.Context, s Set) ([]File, error) {
	var all []File
	for _, p := range s.Plan.Partitions {
		files, err := HashTree(ctx, s.Reader, p.Tree)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			f.Path = path.Join("/", p.Mount, f.Path)
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b File) int { return tree.ComparePaths(a.Path[1:], b.Path[1:]) })
	return all, nil
}

// HashTree returns the digests of all files of t, in order, hard links included. It hashes
// several files at once.
func HashTree(ctx context.Context, src *tree.Reader, t tree.Tree) ([]File, error) {
	var files []tree.Entry
	for _, e := range t.Entries() {
		if e.Type == tree.Hardlink {
			file, _ := t.Lookup(e.Link)
			file.Path = e.Path
			e = file
		}
		if e.Type == tree.File {
			files = append(files, e)
		}
	}
	out := make([]File, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, e := range files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			sum, err := hashContent(src, e.Content)
			if err != nil {
				return fmt.Errorf("hashing %s: %w", e.Path, err)
			}
			out[i] = File{Path: tree.EscapeName(e.Path), Mode: fmt.Sprintf("%04o", e.Mode), Size: e.Content.Size, SHA256: sum}
			return nil
		})
	}
	return out, g.Wait()
}

func hashContent(src *tree.Reader, c tree.Content) (cas.Digest, error) {
	r, err := src.Open(c)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, r, make([]byte, min(bufferSize, c.Size+1))); err != nil {
		return "", err
	}
	return sumOf(h), nil
}
