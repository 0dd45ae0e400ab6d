package tree

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/edgebake/edgebake/builder/cas"
)

// Encode writes t as one line of JSON per entry, in order. Equal trees give equal bytes. Names
// are bytes and JSON's strings are not: a backslash is written twice, and a byte that is not
// part of valid UTF-8 as \xNN.
func Encode(w io.Writer, t Tree) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for _, e := range t.entries {
		e.Path, e.Link = escape(e.Path), escape(e.Link)
		if e.Content.Size == 0 {
			e.Content = Content{} // an empty slice and none are the same content
		}
		if len(e.Xattrs) > 0 {
			e.Xattrs = mapNames(e.Xattrs, escape)
		}
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("writing tree entry %s: %w", e.Path, err)
		}
	}
	return buf.Flush()
}

// Decode reads what Encode wrote, and checks it as New does.
func Decode(r io.Reader) (Tree, error) {
	var entries []Entry
	blobs := map[cas.Digest]cas.Digest{} // one string for each: the files of a package are all in the same blob
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var e Entry
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return Take(entries)
		} else if err != nil {
			return Tree{}, fmt.Errorf("reading tree entry %d: %w", len(entries)+1, err)
		}
		var err error
		if e, err = unescapeEntry(e); err != nil {
			return Tree{}, fmt.Errorf("reading tree entry %d: %w", len(entries)+1, err)
		}
		for i, x := range e.Content.Extents {
			if _, ok := blobs[x.Blob]; !ok {
				blobs[x.Blob] = x.Blob
			}
			e.Content.Extents[i].Blob = blobs[x.Blob]
		}
		entries = append(entries, e)
	}
}

// Digest returns the SHA-256 of what Encode writes. It covers references to contents, so the
// same bytes referenced in two ways have two digests.
func Digest(t Tree) (cas.Digest, error) {
	h := sha256.New()
	if err := Encode(h, t); err != nil {
		return "", err
	}
	return cas.FromSum(h.Sum(nil)), nil
}

func unescapeEntry(e Entry) (Entry, error) {
	var errs [2]error
	e.Path, errs[0] = unescape(e.Path)
	e.Link, errs[1] = unescape(e.Link)
	for i, x := range e.Xattrs {
		name, err := unescape(x.Name)
		if err != nil {
			return e, err
		}
		e.Xattrs[i].Name = name
	}
	return e, errors.Join(errs[:]...)
}

func mapNames(xattrs []Xattr, f func(string) string) []Xattr {
	out := make([]Xattr, len(xattrs))
	for i, x := range xattrs {
		out[i] = Xattr{Name: f(x.Name), Value: x.Value}
	}
	return out
}

// EscapeName writes a name as Encode does, for other files of JSON.
func EscapeName(name string) string { return escape(name) }

func escape(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b = append(b, s[i])
		case strings.HasPrefix(s[i:], `\\`):
			b = append(b, '\\')
			i++
		case strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4:
			v, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err != nil {
				return "", fmt.Errorf("reading name %q: %w", s, err)
			}
			b = append(b, byte(v))
			i += 3
		default:
			return "", fmt.Errorf("reading name %q: unknown escape at byte %d", s, i)
		}
	}
	return string(b), nil
}
