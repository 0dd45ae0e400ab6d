package bundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/durable"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/progress"
)

// Content is a File and where its bytes come from.
type Content struct {
	File
	Open func() (io.ReadCloser, error)
}

// Bytes is a small file.
func Bytes(name string, data []byte) Content {
	return Content{File{Path: name, Size: int64(len(data)), SHA256: cas.Of(data)},
		func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil }}
}

// Inputs are the files for what the store has of requests, each under a path that tells where it is from.
func Inputs(store *cas.Store, requests []fetch.Request) []Content {
	used := map[string]bool{}
	out := make([]Content, 0, len(requests))
	for _, r := range requests {
		name := inputPath(r)
		if used[name] { // an address whose content has changed
			name = path.Join(path.Dir(name), string(r.Digest), path.Base(name))
		}
		used[name] = true
		out = append(out, Content{File{Path: name, Name: r.Name, Size: r.Size, SHA256: r.Digest}, func() (io.ReadCloser, error) {
			b, err := store.Open(r.Digest)
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{b.Reader(), b}, nil
		}})
	}
	return out
}

// inputPath is inputs/HOST/PATH of the first address, as upstream has it.
func inputPath(r fetch.Request) string {
	for _, raw := range r.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			continue
		}
		host := InputDir + "/" + plain(u.Hostname())
		if name := path.Join(host, path.Clean("/"+plain(u.Path))); strings.HasPrefix(name, host+"/") && filepath.IsLocal(name) {
			return name
		}
	}
	return path.Join(InputDir, "local", r.Digest.Short(), plain(strings.ReplaceAll(r.Name, "/", "_")))
}

// plain leaves letters that every file system takes.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, s)
}

// Dir returns the files below dir as files of the bundle below prefix.
func Dir(ctx context.Context, dir, prefix string) ([]Content, error) {
	var out []Content
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f := File{Path: path.Join(prefix, filepath.ToSlash(below))}
		if f.SHA256, f.Size, err = hashFile(name); err != nil {
			return err
		}
		out = append(out, Content{f, func() (io.ReadCloser, error) { return os.Open(name) }})
		return nil
	})
	return out, err
}

func hashFile(name string) (cas.Digest, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return cas.FromSum(sum.Sum(nil)), n, err
}

// ForeignError says that what a bundle would replace is none.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("writing vendored inputs: %s is there and edgebake vendor did not make it", e.Path)
}

// Write writes a bundle to path: an archive when that ends in .tar, otherwise a directory. It
// appears under that name when it is whole and on the disk; until then it is path.partial. An older bundle is
// replaced, anything else but an empty directory is a *ForeignError. epoch is the time of an archive's files.
func Write(ctx context.Context, path string, index Index, files []Content, epoch int64, report progress.Reporter) error {
	path = filepath.Clean(path)
	if err := replaceable(path); err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b Content) int { return strings.Compare(a.Path, b.Path) })
	index.Version = Version
	for _, f := range files {
		index.Files = append(index.Files, f.File)
	}
	if err := index.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(index, "", " ")
	if err != nil {
		return err
	}
	files = append([]Content{Bytes(IndexName, append(text, '\n'))}, files...)
	partial := path + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("writing vendored inputs: %w", err)
	}
	if strings.HasSuffix(path, TarExtension) {
		err = writeTar(ctx, partial, files, epoch, report)
	} else {
		err = writeDir(ctx, partial, files, report)
	}
	if err == nil {
		err = replace(partial, path)
	}
	if err != nil {
		_ = os.RemoveAll(partial) // the fault says more
		return fmt.Errorf("writing vendored inputs to %s: %w", path, err)
	}
	return nil
}

func replaceable(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 && !strings.HasSuffix(path, TarExtension) {
		return nil
	}
	b, err := Open(path)
	if err != nil {
		return &ForeignError{Path: path}
	}
	return b.Close()
}

// replace moves partial to path. A directory that is there is taken away first: a rename cannot replace it.
func replace(partial, path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return durable.Place(partial, path)
}

func writeDir(ctx context.Context, dir string, files []Content, report progress.Reporter) error {
	return eachFile(ctx, files, report, func(f Content) error {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		return errors.Join(f.writeTo(out), out.Close())
	})
}

func writeTar(ctx context.Context, name string, files []Content, epoch int64, report progress.Reporter) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = eachFile(ctx, files, report, func(f Content) error {
		h := tar.Header{Name: f.Path, Typeflag: tar.TypeReg, Mode: 0o644, Size: f.Size, ModTime: time.Unix(epoch, 0)}
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		return f.writeTo(w)
	})
	if err == nil {
		err = w.Close()
	}
	return errors.Join(err, out.Close())
}

func eachFile(ctx context.Context, files []Content, report progress.Reporter, write func(Content) error) error {
	var total int64
	for _, f := range files {
		total += f.Size
	}
	task := report.Task("vendoring", total, progress.Bytes)
	err := func() error {
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := write(f); err != nil {
				return err
			}
			task.Add(f.Size)
		}
		return nil
	}()
	task.Done(err)
	return err
}

// writeTo copies the content and compares it with what the index will say.
func (c Content) writeTo(w io.Writer) error {
	in, err := c.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(in, c.Size))
	if err != nil {
		return err
	}
	if got := cas.FromSum(sum.Sum(nil)); got != c.SHA256 {
		return &cas.MismatchError{Name: c.Path, Want: c.SHA256, Got: got, WantSize: -1, GotSize: n}
	}
	return nil
}
