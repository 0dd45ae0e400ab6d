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
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/sparse"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/sha256mb"
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
	h := newHasher(f, report.Task("hash "+a.Name, a.Size, progress.Bytes))
	err = h.run(ctx, a.Size)
	h.task.Done(err)
	if err != nil {
		return a, fmt.Errorf("hashing %s: %w", name, err)
	}
	a.SHA256 = sumOf(h.hash)
	return a, nil
}

// hasher feeds a file to a hash, in order.
type hasher struct {
	f     *os.File
	hash  hash.Hash
	task  progress.Task
	at    int64
	zeros []byte
	data  []byte
}

func newHasher(f *os.File, task progress.Task) *hasher {
	return &hasher{f: f, hash: sha256.New(), task: task, zeros: make([]byte, bufferSize), data: make([]byte, bufferSize)}
}

// run hashes up to end.
func (h *hasher) run(ctx context.Context, end int64) error {
	for h.at < end {
		r, err := sparse.Next(h.f, h.at, end)
		if err != nil {
			return err
		}
		if err := h.feed(ctx, r.Offset, func(n int64) ([]byte, error) { return h.zeros[:n], nil }); err != nil {
			return err
		}
		err = h.feed(ctx, r.Offset+r.Length, func(n int64) ([]byte, error) {
			_, err := h.f.ReadAt(h.data[:n], h.at)
			return h.data[:n], err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// feed hashes up to end what next gives.
func (h *hasher) feed(ctx context.Context, end int64, next func(n int64) ([]byte, error)) error {
	for h.at < end {
		if err := ctx.Err(); err != nil {
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

// hashArtifacts hashes the artifacts, several at once.
func hashArtifacts(ctx context.Context, s Set) ([]Artifact, error) {
	out := make([]Artifact, len(s.Artifacts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, name := range s.Artifacts {
		g.Go(func() error {
			if k := slices.IndexFunc(s.Following, func(f *Following) bool { return f.sum.Name == name }); k >= 0 {
				a, err := s.Following[k].Wait()
				out[i] = a
				return err
			}
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
	known := loadDigests(s)
	for _, p := range s.Plan.Partitions {
		files, err := hashTree(ctx, s.Reader, p.Tree, known)
		if err != nil {
			return nil, err
		}
		for i, f := range files {
			files[i].Path = path.Join("/", p.Mount, f.Path)
		}
		all = append(all, files...)
	}
	slices.SortFunc(all, func(a, b File) int { return tree.ComparePaths(a.Path[1:], b.Path[1:]) })
	return all, known.save()
}

// HashTree returns the digests of all files of t, in order, hard links included. It hashes
// several files at once.
func HashTree(ctx context.Context, src *tree.Reader, t tree.Tree) ([]File, error) {
	return hashTree(ctx, src, t, loadDigests(Set{}))
}

func hashTree(ctx context.Context, src *tree.Reader, t tree.Tree, known *digests) ([]File, error) {
	var files []int32 // their places in t
	for i := range t.Len() {
		if fileAt(t, i).Type == tree.File {
			files = append(files, int32(i))
		}
	}
	w := &treeHasher{src: src, t: t, known: known, files: files, modes: newModes(t), out: make([]File, len(files))}
	g, ctx := errgroup.WithContext(ctx)
	for range min(runtime.NumCPU(), len(files)) {
		g.Go(func() error { return sha256mb.Sum(func() (sha256mb.Message, bool, error) { return w.next(ctx) }) })
	}
	return w.out, g.Wait()
}

// treeHasher hands out the files of a tree, to several that hash.
type treeHasher struct {
	src   *tree.Reader
	t     tree.Tree
	known *digests
	files []int32 // their places in t
	modes modeNames
	taken atomic.Int64
	out   []File // of files
}

// next returns the next file whose digest is not known.
func (w *treeHasher) next(ctx context.Context) (sha256mb.Message, bool, error) {
	for i := w.taken.Add(1) - 1; i < int64(len(w.files)); i = w.taken.Add(1) - 1 {
		if err := ctx.Err(); err != nil {
			return sha256mb.Message{}, false, err
		}
		e := fileAt(w.t, int(w.files[i]))
		w.out[i] = File{Path: tree.EscapeName(e.Path), Mode: w.modes.of(e.Mode), Size: e.Content.Size}
		place, sum, ok := w.known.find(e.Content)
		if ok {
			w.out[i].SHA256 = cas.FromSum(sum[:])
			continue
		}
		r, err := w.src.Open(e.Content)
		if err != nil {
			return sha256mb.Message{}, false, fmt.Errorf("hashing %s: %w", e.Path, err)
		}
		return sha256mb.Message{Name: e.Path, Reader: r, Done: func(sum [sha256.Size]byte) {
			w.known.add(place, sum)
			w.out[i].SHA256 = cas.FromSum(sum[:])
		}}, true, nil
	}
	return sha256mb.Message{}, false, nil
}

// modeNames are modes as manifest.json has them, one string for all files that share it.
type modeNames map[uint32]string

func newModes(t tree.Tree) modeNames {
	m := modeNames{}
	for i := range t.Len() {
		if mode := t.At(i).Mode; m[mode] == "" {
			m[mode] = fmt.Sprintf("%04o", mode)
		}
	}
	return m
}

func (m modeNames) of(mode uint32) string { return m[mode] }

// fileAt returns entry i, or for a hard link the file that it names, under the link's path.
func fileAt(t tree.Tree, i int) tree.Entry {
	e := t.At(i)
	if e.Type == tree.Hardlink {
		file, _ := t.Lookup(e.Link)
		file.Path = e.Path
		e = file
	}
	return e
}
