package cas

import (
	"bytes"
	"os"
	"syscall"
	"testing"
)

// TestSparseWriterLeavesHoles writes data and zeros in pieces of odd sizes.
func TestSparseWriterLeavesHoles(t *testing.T) {
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 8<<20+77)
	for _, at := range []int{0, 5000, 3 << 20, 8<<20 + 70} {
		copy(want[at:], "some data")
	}
	for _, piece := range []int{1000, 4096, 100001, len(want)} {
		w, err := store.CreateSparse()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		for rest := want; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if _, err := w.Write(rest[:min(piece, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Skip(1 << 20); err != nil {
			t.Fatal(err)
		}
		size := w.Size()
		all := append(bytes.Clone(want), make([]byte, 1<<20)...)
		d, err := w.Commit()
		if err != nil || d != Of(all) || size != int64(len(all)) {
			t.Fatalf("pieces of %d: %s with %d bytes, %v; want %s with %d", piece, d, size, err, Of(all), len(all))
		}
		got, err := store.ReadAll(d, size)
		if err != nil || !bytes.Equal(got, all) {
			t.Fatalf("pieces of %d: the bytes differ (%v)", piece, err)
		}
		info, err := os.Stat(store.Path(d))
		if err != nil {
			t.Fatal(err)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 64<<10 {
			t.Errorf("pieces of %d: %d bytes on the disk for four pieces of data", piece, used)
		}
		if err := os.Remove(store.Path(d)); err != nil {
			t.Fatal(err)
		}
	}
}
