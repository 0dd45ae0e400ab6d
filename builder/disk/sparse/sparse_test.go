package sparse

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestRangesCoverAllData(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	places := []int64{0, 5 << 20, size - 1}
	for _, at := range places {
		if _, err := f.WriteAt([]byte{1}, at); err != nil {
			t.Fatal(err)
		}
	}
	ranges, err := Ranges(f, size)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range places {
		if !slices.ContainsFunc(ranges, func(r Range) bool { return at >= r.Offset && at < r.Offset+r.Length }) {
			t.Errorf("byte %d is in none of %v", at, ranges)
		}
	}
	if last := ranges[len(ranges)-1]; last.Offset+last.Length > size {
		t.Errorf("%v reaches over the end", last)
	}
}

func TestUnion(t *testing.T) {
	got := Union([]Range{{0, 10}, {20, 5}, {40, 1}}, []Range{{5, 10}, {15, 2}, {22, 1}})
	want := []Range{{0, 17}, {20, 5}, {40, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
