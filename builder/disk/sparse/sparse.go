// Package sparse finds the holes of files.
//
// A Range is a part of a file that may hold data; what lies between ranges is a hole and reads
// as zeros.
package sparse

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Range is Length bytes at Offset.
type Range struct{ Offset, Length int64 }

// The whence values of lseek(2) on Linux.
const (
	seekData = 3
	seekHole = 4
)

// Ranges returns the data of the first size bytes of f in order. On a file system that knows no
// holes it is one range. The file's own offset moves.
func Ranges(f *os.File, size int64) ([]Range, error) {
	var out []Range
	for at := int64(0); at < size; {
		r, err := Next(f, at, size)
		if err != nil {
			return nil, err
		}
		if r.Length > 0 {
			out = append(out, r)
		}
		at = r.Offset + r.Length
	}
	return out, nil
}

// Next returns the first data of f from byte at on, up to the first size bytes. Where only a hole is left
// it is empty and at size. On a file system that knows no holes it is all. The file's own offset moves.
func Next(f *os.File, at, size int64) (Range, error) {
	start, err := f.Seek(at, seekData)
	switch {
	case errors.Is(err, syscall.ENXIO) || err == nil && start >= size: // only a hole is left
		return Range{size, 0}, nil
	case errors.Is(err, syscall.EINVAL):
		return Range{at, size - at}, nil
	case err != nil:
		return Range{}, fmt.Errorf("finding data of %s: %w", f.Name(), err)
	}
	end, err := f.Seek(start, seekHole)
	if err != nil {
		return Range{}, fmt.Errorf("finding holes of %s: %w", f.Name(), err)
	}
	return Range{start, min(end, size) - start}, nil
}

// Union returns the ranges that are in a or b; both are in order, as Ranges gives them.
func Union(a, b []Range) []Range {
	var out []Range
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].Offset < a[0].Offset {
			a, b = b, a
		}
		r := a[0]
		a = a[1:]
		if n := len(out); n > 0 && r.Offset <= out[n-1].Offset+out[n-1].Length {
			out[n-1].Length = max(out[n-1].Length, r.Offset+r.Length-out[n-1].Offset)
			continue
		}
		out = append(out, r)
	}
	return out
}
