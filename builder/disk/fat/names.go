package fat

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxNameUnits = 255
	unitsPerSlot = 13 // UTF-16 units of a long name in one directory entry
)

// shortName is an 8.3 name padded with spaces.
type shortName [11]byte

// checkName refuses what a long name can't hold.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is empty")
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case strings.ContainsAny(name, `"*/:<>?\|`) || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf(`name %q holds a character that FAT forbids (control characters and "*/:<>?\|)`, name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("name %q ends in a dot or a space, which FAT drops", name)
	case len(utf16.Encode([]rune(name))) > maxNameUnits:
		return fmt.Errorf("name %q is longer than %d UTF-16 units", name, maxNameUnits)
	}
	return nil
}

// fold maps names that FAT can't tell apart to one string.
func fold(name string) string { return strings.ToUpper(name) }

// exactShort returns the short name that is name in upper case, and whether there is one.
func exactShort(name string) (shortName, bool) {
	upper := strings.ToUpper(name)
	base, ext, _ := strings.Cut(upper, ".")
	if len(base) == 0 || len(base) > 8 || len(ext) > 3 || strings.Contains(ext, ".") || strings.HasSuffix(upper, ".") {
		return shortName{}, false
	}
	if strings.ContainsFunc(base+ext, func(r rune) bool { return !isShort(r) }) {
		return shortName{}, false
	}
	return pad(base, ext), true
}

func isShort(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'()-@^_`{}~", r)
}

func pad(base, ext string) shortName {
	var s shortName
	copy(s[:], strings.Repeat(" ", len(s)))
	copy(s[:8], base)
	copy(s[8:], ext)
	return s
}

// namer gives out the short names of one directory.
type namer struct {
	used map[shortName]bool
	next map[string]int // by base: the number to try next
}

// alias makes up a short name BASE~N.EXT that is still free.
func (n *namer) alias(name string) shortName {
	base, ext := strings.TrimLeft(name, ". "), ""
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base, ext = base[:i], base[i+1:]
	}
	base, ext = shorten(base, 6), shorten(ext, 3)
	if base == "" {
		base = "_"
	}
	for {
		n.next[base+"."+ext]++
		tail := fmt.Sprintf("~%d", n.next[base+"."+ext])
		s := pad(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !n.used[s] {
			n.used[s] = true
			return s
		}
	}
}

func shorten(s string, limit int) string {
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '.':
			return -1
		case isShort(r):
			return r
		}
		return '_'
	}, strings.ToUpper(s))
	return mapped[:min(len(mapped), limit)]
}

// shortNames returns the short name of each name, in order, and whether it needs a long name too.
// Names that are short already come first, so that no alias takes one away.
func shortNames(names []string) ([]shortName, []bool) {
	n := namer{used: map[shortName]bool{}, next: map[string]int{}}
	short, long := make([]shortName, len(names)), make([]bool, len(names))
	for i, name := range names {
		s, ok := exactShort(name)
		if ok {
			short[i], n.used[s] = s, true
		}
		long[i] = !ok || name != strings.ToUpper(name)
	}
	for i, name := range names {
		if short[i] == (shortName{}) {
			short[i] = n.alias(name)
		}
	}
	return short, long
}

func (s shortName) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// slots returns how many directory entries a name takes.
func slots(name string, long bool) int64 {
	if !long {
		return 1
	}
	return 1 + ceil(int64(len(utf16.Encode([]rune(name)))), unitsPerSlot)
}
