package profile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the accepted units, largest first: powers of 1024, then powers of 1000.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
	}
}

type sizeUnit struct {
	name  string
	bytes int64
}

// ParseSize reads a whole number of bytes with an optional unit: 512, 256MiB, 4GiB, 4GB.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "BKMGTikb ")
	unit := strings.TrimSpace(text[len(digits):])
	factor, err := sizeFactor(text, unit)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no size; write a whole number with a unit, such as 256MiB or 4GiB", text)
	}
	if n > math.MaxInt64/factor {
		return 0, fmt.Errorf("size %q does not fit into 63 bits", text)
	}
	return Size(n * factor), nil
}

func sizeFactor(text, unit string) (int64, error) {
	if unit == "" {
		return 1, nil
	}
	for _, u := range sizeUnits() {
		if u.name == unit {
			return u.bytes, nil
		}
	}
	return 0, fmt.Errorf("size %q has the unknown unit %q; units are KiB, MiB, GiB, TiB, kB, MB, GB, TB and B", text, unit)
}

// String writes s with the largest power of 1024 that divides it: 256MiB.
func (s Size) String() string {
	for _, u := range sizeUnits()[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
