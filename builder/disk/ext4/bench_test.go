package ext4

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

const (
	benchFiles = 20000
	benchBytes = 40 << 10 // in each file
)

// benchTree is 20,000 files of 40 KiB in 200 directories, as extents of one blob.
func benchTree(b *testing.B) (tree.Tree, *tree.Reader) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "blob")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	data := pattern(8 * mib)
	for range benchFiles*benchBytes/len(data) + 1 {
		if _, err := f.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	blob, src := cas.Digest("blob"), tree.NewReader(nil)
	src.Add(blob, f)
	es := []tree.Entry{dir(".")}
	for d := range 200 {
		es = append(es, dir(fmt.Sprintf("d%03d", d)))
		for i := range benchFiles / 200 {
			e := file(fmt.Sprintf("d%03d/f%03d", d, i), nil)
			e.Content = tree.BlobContent(blob, int64(d*benchFiles/200+i)*benchBytes, benchBytes)
			es = append(es, e)
		}
	}
	t, err := tree.New(es)
	if err != nil {
		b.Fatal(err)
	}
	return t, src
}

func BenchmarkWrite(b *testing.B) {
	t, src := benchTree(b)
	b.SetBytes(benchFiles * benchBytes)
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "image")
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Truncate(2 << 30); err != nil {
			b.Fatal(err)
		}
		if err := Write(context.Background(), f, t, src, testOptions(2<<30)); err != nil {
			b.Fatal(err)
		}
		f.Close()
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	t, src := benchTree(b)
	f, err := os.Create(filepath.Join(b.TempDir(), "image"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(2 << 30); err != nil {
		b.Fatal(err)
	}
	if err := Write(context.Background(), f, t, src, testOptions(2<<30)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		fs, err := Open(f, 2<<30)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fs.Tree(context.Background(), imageBlob, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMke2fs is what BenchmarkWrite competes with: the same files through mke2fs -d.
func BenchmarkMke2fs(b *testing.B) {
	mke2fs := oracle.Need(b, "mke2fs")
	t, src := benchTree(b)
	root := b.TempDir()
	for _, e := range t.Entries() {
		p := filepath.Join(root, e.Path)
		if e.Type == tree.Dir {
			if err := os.MkdirAll(p, 0o755); err != nil {
				b.Fatal(err)
			}
			continue
		}
		r, err := src.Open(e.Content)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, benchBytes)
		if _, err := r.Read(buf); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p, buf, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(benchFiles * benchBytes)
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "image")
		if out, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", "-d", root, path, "2G").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	}
}
