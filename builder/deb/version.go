package deb

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a version number taken apart (Debian Policy 5.6.12).
type Version struct {
	Epoch    int
	Upstream string
	Revision string // "" for a native package
}

// ParseVersion takes s apart and rejects what dpkg rejects.
func ParseVersion(s string) (Version, error) {
	var v Version
	rest := strings.TrimSpace(s)
	if epoch, after, ok := strings.Cut(rest, ":"); ok {
		n, err := strconv.ParseUint(epoch, 10, 31)
		if err != nil {
			return v, fmt.Errorf("parsing version %q: epoch %q is no number up to 2147483647", s, epoch)
		}
		v.Epoch, rest = int(n), after
	}
	v.Upstream = rest
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		v.Upstream, v.Revision = rest[:i], rest[i+1:]
		if v.Revision == "" {
			return v, fmt.Errorf("parsing version %q: the revision after \"-\" is empty", s)
		}
	}
	return v, v.check(s)
}

func (v Version) check(s string) error {
	if v.Upstream == "" {
		return fmt.Errorf("parsing version %q: the upstream version is empty", s)
	}
	if c := v.Upstream[0]; c < '0' || c > '9' {
		return fmt.Errorf("parsing version %q: the upstream version does not start with a digit", s)
	}
	if i := strings.IndexFunc(v.Upstream, notIn(".-+~:")); i >= 0 {
		return fmt.Errorf("parsing version %q: %q is not allowed in the upstream version", s, v.Upstream[i])
	}
	if i := strings.IndexFunc(v.Revision, notIn(".+~")); i >= 0 {
		return fmt.Errorf("parsing version %q: %q is not allowed in the revision", s, v.Revision[i])
	}
	return nil
}

func notIn(punctuation string) func(rune) bool {
	return func(r rune) bool {
		return !(r < 128 && (isDigit(byte(r)) || isLetter(byte(r)))) && !strings.ContainsRune(punctuation, r)
	}
}

// String puts the version together again.
func (v Version) String() string {
	s := v.Upstream
	if v.Revision != "" {
		s += "-" + v.Revision
	}
	if v.Epoch != 0 || strings.Contains(v.Upstream, ":") { // "0:1:2" without its epoch would be of epoch 1
		s = strconv.Itoa(v.Epoch) + ":" + s
	}
	return s
}

// Compare returns -1, 0 or 1 in dpkg's order.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch),
		comparePart(v.Upstream, w.Upstream), comparePart(v.Revision, w.Revision))
}

// CompareVersions returns -1, 0 or 1 as version a comes before, with or after b in dpkg's order.
// It accepts what ParseVersion rejects and compares it as far as it goes.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	return splitVersion(a).Compare(splitVersion(b))
}

func splitVersion(s string) Version {
	var v Version
	if i := strings.IndexByte(s, ':'); i >= 0 {
		v.Epoch, _ = strconv.Atoi(s[:i])
		s = s[i+1:]
	}
	v.Upstream = s
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		v.Upstream, v.Revision = s[:i], s[i+1:]
	}
	return v
}

// comparePart is verrevcmp of dpkg's lib/dpkg/version.c: runs of non-digits by order, where "~"
// comes before the end and letters before the rest, in turn with runs of digits by their number.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !isDigit(a[0]) || b != "" && !isDigit(b[0]) {
			if c := cmp.Compare(orderAt(a), orderAt(b)); c != 0 {
				return c
			}
			a, b = tail(a), tail(b)
		}
		var x, y string
		x, a = digits(a)
		y, b = digits(b)
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

func tail(s string) string {
	if s == "" {
		return s
	}
	return s[1:]
}

// digits cuts the run of digits off s and strips its leading zeros.
func digits(s string) (number, rest string) {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}

func orderAt(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case isLetter(s[0]):
		return int(s[0])
	case s[0] == '~':
		return -1
	default:
		return int(s[0]) + 256
	}
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
