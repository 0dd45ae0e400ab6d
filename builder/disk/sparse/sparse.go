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
		start, err := f.Seek(at, seekData)
		switch {
		case errors.Is(err, syscall.ENXIO): // only a hole is left
			return out, nil
		case errors.Is(err, syscall.EINVAL):
			return []Range{{0, size}}, nil
		case err != nil:
			return nil, fmt.Errorf("finding data of %s: %w", f.Name(), err)
		}
		end, err := f.Seek(start, seekHole)
		if err != nil {
			return nil, fmt.Errorf("finding holes of %s: %w", f.Name(), err)
		}
		if start >= size {
			return out, nil
		}
		out = append(out, Range{start, min(end, size) - start})
		at = end
	}
	return out, nil
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
