package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/edgebake/edgebake/builder/disk/sparse"
	"github.com/edgebake/edgebake/builder/tree"
)

// Difference is the first thing in which two images differ.
type Difference struct {
	// Partition is 0 when the difference is outside of all partitions or in the table.
	Partition int `json:"partition,omitempty"`
	// Path of the file, empty when no file differs.
	Path string `json:"path,omitempty"`
	// Attribute that differs: size, table, partitions, exists, type, mode, uid, gid, mtime, link,
	// device, xattrs, content, or metadata when only the file system's own data does.
	Attribute string `json:"attribute"`
	// Offset of the first differing byte: in the file for content, otherwise in the image.
	Offset int64 `json:"offset"`
	// A and B are the values, where they can be shown.
	A string `json:"a,omitempty"`
	B string `json:"b,omitempty"`
}

func (d Difference) String() string {
	var s strings.Builder
	if d.Partition > 0 {
		fmt.Fprintf(&s, "partition %d: ", d.Partition)
	}
	if d.Path != "" {
		fmt.Fprintf(&s, "/%s: ", strings.TrimPrefix(d.Path, "./"))
	}
	fmt.Fprintf(&s, "%s differs", d.Attribute)
	if d.A != d.B {
		fmt.Fprintf(&s, ": %s and %s", d.A, d.B)
	}
	fmt.Fprintf(&s, " (byte %d)", d.Offset)
	return s.String()
}

// Diff compares the images at two paths byte by byte. When they differ, it returns true and what
// the first difference means: in the table, in a file, or in a file system's own data.
func Diff(ctx context.Context, pathA, pathB string) (Difference, bool, error) {
	at, sizes, err := firstByte(ctx, pathA, pathB)
	if err != nil || at < 0 {
		return Difference{}, false, err
	}
	if sizes[0] != sizes[1] {
		return Difference{Attribute: "size", Offset: at, A: fmt.Sprint(sizes[0]), B: fmt.Sprint(sizes[1])}, true, nil
	}
	raw := Difference{Attribute: "content", Offset: at}
	a, err := Open(pathA)
	if err != nil {
		return raw, true, nil // no image that we know: the byte is all there is to say
	}
	defer a.Close()
	b, err := Open(pathB)
	if err != nil {
		return raw, true, nil
	}
	defer b.Close()
	d, err := explain(ctx, a, b, at)
	return d, true, err
}

func explain(ctx context.Context, a, b *Image, at int64) (Difference, error) {
	d := Difference{Attribute: "table", Offset: at, A: a.Table() + " " + a.ID(), B: b.Table() + " " + b.ID()}
	if d.A != d.B || len(a.table.partitions) != len(b.table.partitions) {
		return d, nil
	}
	for i, p := range a.table.partitions {
		q := b.table.partitions[i]
		if p != q {
			return Difference{Partition: p.Number, Attribute: "partitions", Offset: at, A: fmt.Sprintf("%+v", p), B: fmt.Sprintf("%+v", q)}, nil
		}
	}
	for _, p := range a.table.partitions {
		if p.FS == "" {
			continue
		}
		if d, found, err := diffTrees(ctx, a, b, p.Number); found || err != nil {
			d.Partition = p.Number
			return d, err
		}
	}
	d = Difference{Attribute: "content", Offset: at}
	if p, ok := a.find(func(p Partition) bool { return at >= p.Start && at < p.Start+p.Size }); ok {
		d.Partition = p.Number
		if p.FS != "" {
			d.Attribute = "metadata"
		}
	}
	return d, nil
}

func diffTrees(ctx context.Context, a, b *Image, number int) (Difference, bool, error) {
	ta, err := a.Tree(ctx, number)
	if err != nil {
		return Difference{}, false, err
	}
	tb, err := b.Tree(ctx, number)
	if err != nil {
		return Difference{}, false, err
	}
	src := tree.NewReader(nil)
	src.Add(a.blob, a.r)
	src.Add(b.blob, b.r)
	for i, j := 0, 0; i < ta.Len() || j < tb.Len(); i, j = i+1, j+1 {
		if err := ctx.Err(); err != nil {
			return Difference{}, false, err
		}
		if j == tb.Len() || i < ta.Len() && tree.ComparePaths(ta.At(i).Path, tb.At(j).Path) < 0 {
			return Difference{Path: ta.At(i).Path, Attribute: "exists", A: "yes", B: "no"}, true, nil
		}
		if i == ta.Len() || ta.At(i).Path != tb.At(j).Path {
			return Difference{Path: tb.At(j).Path, Attribute: "exists", A: "no", B: "yes"}, true, nil
		}
		if d, found, err := diffEntries(src, ta.At(i), tb.At(j)); found || err != nil {
			return d, found, err
		}
	}
	return Difference{}, false, nil
}

func diffEntries(src *tree.Reader, a, b tree.Entry) (Difference, bool, error) {
	if attrs := tree.DifferingAttributes(a, b); len(attrs) > 0 {
		return Difference{Path: a.Path, Attribute: attrs[0], A: value(a, attrs[0]), B: value(b, attrs[0])}, true, nil
	}
	at, err := tree.Mismatch(src, a.Content, b.Content)
	if err != nil {
		return Difference{}, false, fmt.Errorf("comparing %s: %w", a.Path, err)
	}
	if at < 0 {
		return Difference{}, false, nil
	}
	return Difference{Path: a.Path, Attribute: "content", Offset: at, A: fmt.Sprintf("%d bytes", a.Content.Size), B: fmt.Sprintf("%d bytes", b.Content.Size)}, true, nil
}

func value(e tree.Entry, attribute string) string {
	switch attribute {
	case "type":
		return e.Type.String()
	case "mode":
		return fmt.Sprintf("%04o", e.Mode)
	case "uid":
		return fmt.Sprint(e.UID)
	case "gid":
		return fmt.Sprint(e.GID)
	case "mtime":
		return fmt.Sprintf("%d.%09d", e.MTime.Sec, e.MTime.Nsec)
	case "link":
		return fmt.Sprintf("%q", e.Link)
	case "device":
		return fmt.Sprintf("%d:%d", e.Major, e.Minor)
	}
	return fmt.Sprintf("%q", e.Xattrs)
}

// firstByte returns the offset of the first byte that differs, or -1, and the sizes of the files.
func firstByte(ctx context.Context, pathA, pathB string) (int64, [2]int64, error) {
	var files [2]*os.File
	var sizes [2]int64
	var ranges [2][]sparse.Range
	for i, p := range []string{pathA, pathB} {
		f, err := os.Open(p)
		if err != nil {
			return 0, sizes, fmt.Errorf("opening image: %w", err)
		}
		defer f.Close()
		if sizes[i], err = f.Seek(0, io.SeekEnd); err != nil {
			return 0, sizes, fmt.Errorf("opening image %s: %w", p, err)
		}
		if ranges[i], err = sparse.Ranges(f, sizes[i]); err != nil {
			return 0, sizes, err
		}
		files[i] = f
	}
	if sizes[0] != sizes[1] {
		return min(sizes[0], sizes[1]), sizes, nil
	}
	for _, r := range sparse.Union(ranges[0], ranges[1]) {
		if at, err := compareRange(ctx, files[0], files[1], r); err != nil || at >= 0 {
			return at, sizes, err
		}
	}
	return -1, sizes, nil
}

const compareSize = 1 << 20

func compareRange(ctx context.Context, a, b io.ReaderAt, r sparse.Range) (int64, error) {
	bufA, bufB := make([]byte, compareSize), make([]byte, compareSize)
	for at, end := r.Offset, r.Offset+r.Length; at < end; at += compareSize {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n := min(compareSize, end-at)
		if _, err := a.ReadAt(bufA[:n], at); err != nil {
			return 0, fmt.Errorf("comparing images at byte %d: %w", at, err)
		}
		if _, err := b.ReadAt(bufB[:n], at); err != nil {
			return 0, fmt.Errorf("comparing images at byte %d: %w", at, err)
		}
		if bytes.Equal(bufA[:n], bufB[:n]) {
			continue
		}
		for i := range n {
			if bufA[i] != bufB[i] {
				return at + i, nil
			}
		}
	}
	return -1, nil
}
