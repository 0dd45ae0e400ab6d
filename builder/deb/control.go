// Package deb reads the formats of Debian packages.
//
// A Stanza is one paragraph of a control file: ordered fields, as in a package's control, a Packages
// index, a Release or dpkg's status. A Version is epoch, upstream version and revision in dpkg's
// order. A relation field (Depends and its kin) is a list of Alternatives, each a list of Relations.
// A File is a .deb: an ar archive of debian-binary, control.tar and data.tar, the tars plain or
// compressed with gzip, xz, zstd or bzip2 (deb(5), format 2.x). Source packages, signatures inside
// packages and the obsolete lzma members are not supported.
package deb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// MaxStanza is the size in bytes of the longest stanza that is read. The longest known ones, the
// checksum lists of Release files, have less than 1 MiB.
const MaxStanza = 8 << 20

// Field is one field of a stanza. Value has no blanks around it; lines after the first follow
// as they are in the file: "\n", the blank that marks a continuation, text.
type Field struct{ Name, Value string }

// Stanza is one paragraph of a control file, its fields in the order of the file.
type Stanza struct{ Fields []Field }

// Get returns the value of the field name, whose case does not count, or "".
func (s Stanza) Get(name string) string {
	v, _ := s.Lookup(name)
	return v
}

// Lookup is Get that tells an absent field from an empty one.
func (s Stanza) Lookup(name string) (string, bool) {
	for i := range s.Fields {
		f := &s.Fields[i]
		if len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Lines returns the lines of the field name without the blanks around them, empty lines left out.
func (s Stanza) Lines(name string) []string {
	var lines []string
	for line := range strings.Lines(s.Get(name)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// String returns the stanza as text that parses to the same stanza, without the empty line after it.
func (s Stanza) String() string {
	var b strings.Builder
	for _, f := range s.Fields {
		b.WriteString(f.Name)
		b.WriteByte(':')
		if f.Value != "" && f.Value[0] != '\n' {
			b.WriteByte(' ')
		}
		b.WriteString(f.Value)
		b.WriteByte('\n')
	}
	return b.String()
}

// ParseStanzas yields the stanzas of r, at most limit bytes of them in all. It ends after the first
// error. The strings of one stanza share one allocation: clone those that are kept for long.
func ParseStanzas(r io.Reader, limit int64) iter.Seq2[Stanza, error] {
	return func(yield func(Stanza, error) bool) {
		in := stanzaReader{r: bufio.NewReaderSize(io.LimitReader(r, limit+1), 1<<18), limit: limit}
		for {
			text, err := in.next()
			if err != nil {
				yield(Stanza{}, err)
				return
			}
			if len(text) == 0 {
				return
			}
			s, err := parseStanza(string(text), in.line)
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// ParseStanza parses data that holds exactly one stanza.
func ParseStanza(data []byte) (Stanza, error) {
	var one Stanza
	count := 0
	for s, err := range ParseStanzas(bytes.NewReader(data), int64(len(data))) {
		if err != nil {
			return Stanza{}, err
		}
		one = s
		count++
	}
	if count != 1 {
		return Stanza{}, fmt.Errorf("parsing control stanza: %d stanzas instead of one", count)
	}
	return one, nil
}

// stanzaReader splits text at empty lines. The text of one stanza lives until the next call.
type stanzaReader struct {
	r     *bufio.Reader
	buf   []byte
	read  int64
	limit int64
	line  int // line of the current stanza's first line, from 1
	lines int // lines read so far
}

func (s *stanzaReader) next() ([]byte, error) {
	s.buf = s.buf[:0]
	for {
		start := len(s.buf)
		err := s.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading control stanzas: %w", err)
		}
		blank := len(bytes.TrimSpace(s.buf[start:])) == 0
		if blank {
			s.buf = s.buf[:start]
		} else if start == 0 {
			s.line = s.lines
		}
		if err != nil || blank && start > 0 {
			return s.buf, nil
		}
	}
}

func (s *stanzaReader) readLine() error {
	for {
		part, err := s.r.ReadSlice('\n')
		s.read += int64(len(part))
		if s.read > s.limit {
			return fmt.Errorf("more than the allowed %d bytes", s.limit)
		}
		if len(s.buf)+len(part) > MaxStanza {
			return fmt.Errorf("line %d: the stanza has more than the allowed %d bytes", s.lines+1, MaxStanza)
		}
		s.buf = append(s.buf, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			s.lines++
			return err
		}
	}
}

func parseStanza(text string, line int) (Stanza, error) {
	fields := make([]Field, 0, strings.Count(text, "\n")+1)
	for ; text != ""; line++ {
		end := fieldEnd(text)
		whole := text[:end]
		text = text[end:]
		colon := strings.IndexByte(whole, ':')
		if colon <= 0 || strings.ContainsAny(whole[:colon], " \t\n\r") {
			return Stanza{}, fmt.Errorf("parsing control stanza: line %d: %.40q is no \"Name: value\"", line, whole)
		}
		fields = append(fields, Field{Name: whole[:colon], Value: trimValue(whole[colon+1:])})
		line += strings.Count(whole[:len(whole)-1], "\n")
	}
	return Stanza{Fields: fields}, nil
}

// trimValue keeps the line feed and the blank before a continuation when the first line is empty.
func trimValue(v string) string {
	return strings.TrimRight(strings.TrimLeft(v, " \t\r"), " \t\r\n")
}

// fieldEnd returns the length of the field at the start of text with its continuation lines.
func fieldEnd(text string) int {
	end := 0
	for {
		i := strings.IndexByte(text[end:], '\n')
		if i < 0 {
			return len(text)
		}
		end += i + 1
		if end == len(text) || text[end] != ' ' && text[end] != '\t' {
			return end
		}
	}
}
