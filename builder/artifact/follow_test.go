package artifact

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// TestFollow writes a sparse file in pieces, and renames it before it is read to its end.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	const size = 20 << 20
	f := Follow(t.Context(), filepath.Join(dir, "x.img"), size, progress.Discard{})
	defer f.Stop()
	out, err := os.Create(filepath.Join(dir, "x.img.partial"))
	must(t, err)
	must(t, out.Truncate(size))
	for at := int64(0); at < size; at += 1 << 20 {
		if at%(3<<20) == 0 {
			_, err := out.WriteAt([]byte("data"), at+12345)
			must(t, err)
		}
		must(t, f.Settled(out, at))
	}
	must(t, out.Close())
	must(t, os.Rename(out.Name(), filepath.Join(dir, "x.img")))
	must(t, f.Settled(out, size))
	got, err := f.Wait()
	must(t, err)
	want, err := HashFile(t.Context(), filepath.Join(dir, "x.img"))
	must(t, err)
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFollowEndsWithItsWriter(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := Follow(ctx, "x.img", 1000, progress.Discard{})
	cancel()
	if _, err := f.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	f.Stop()
	short := filepath.Join(t.TempDir(), "short")
	must(t, os.WriteFile(short, []byte("short"), 0o600))
	file, err := os.Open(short)
	must(t, err)
	defer file.Close()
	f = Follow(t.Context(), "short", 1000, progress.Discard{})
	defer f.Stop()
	must(t, f.Settled(file, 1000))
	if a, err := f.Wait(); err == nil {
		t.Errorf("a file that is too short has the digest %+v", a)
	}
}

// TestDigestsAreReused takes the contents away before the second set is described.
func TestDigestsAreReused(t *testing.T) {
	store, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	must(t, err)
	blob := cas.Of([]byte("the bytes of a blob"))
	b := tree.NewBuilder(tree.Time{})
	b.Add(tree.Entry{Path: "a", Type: tree.File, Content: tree.BlobContent(blob, 4, 5)})
	b.Add(tree.Entry{Path: "b", Type: tree.File, Content: tree.Content{Size: 9, Extents: []tree.Extent{{Blob: blob, Length: 3}, {Length: 6}}}})
	b.Add(tree.Entry{Path: "c", Type: tree.File, Content: tree.InlineContent([]byte("text"))})
	root, err := b.Tree()
	must(t, err)
	describe := func(src *tree.Reader, kin string) ([]File, error) {
		s := Set{Reader: src, Store: store, Kin: cas.Of([]byte(kin))}
		s.Plan.Partitions = append(s.Plan.Partitions, set(t, t.TempDir()).Plan.Partitions[1])
		s.Plan.Partitions[0].Tree = root
		return hashTrees(t.Context(), s)
	}
	if _, err := describe(tree.NewReader(store), "one"); err == nil {
		t.Fatal("contents were hashed that are nowhere")
	}
	_, err = store.PutBytes([]byte("the bytes of a blob"))
	must(t, err)
	first, err := describe(tree.NewReader(store), "one")
	must(t, err)
	if first[0].SHA256 != cas.Of([]byte("bytes")) || first[1].SHA256 != cas.Of([]byte("the\x00\x00\x00\x00\x00\x00")) {
		t.Errorf("got %+v", first)
	}
	must(t, os.Remove(store.Path(blob)))
	again, err := describe(tree.NewReader(store), "one")
	must(t, err)
	for i := range first {
		if again[i] != first[i] {
			t.Errorf("got %+v, want %+v", again[i], first[i])
		}
	}
	if _, err := describe(tree.NewReader(store), "another"); err == nil {
		t.Error("digests of other packages' files were taken")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
