package profile

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
)

// Show writes the effective profile as YAML that loads again, each value with a comment that says
// which file and line gave it.
func Show(w io.Writer, l Loaded) error {
	s := &shower{origins: l.Origins, plain: regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./@+=,:-]*$`)}
	p := l.Profile
	s.lines = append(s.lines, line{text: "# " + p.Name + " from " + strings.Join(l.Sources, ", ")})
	p.Extends, p.Variables = nil, l.inFiles // the others are done
	s.value(reflect.ValueOf(p), "", 0)
	_, err := io.WriteString(w, s.String())
	return err
}

type line struct{ text, comment string }

type shower struct {
	origins map[string]Origin
	plain   *regexp.Regexp
	lines   []line
}

// maxAlign keeps one long value from pushing all comments out of sight.
const maxAlign = 64

// String aligns the comments.
func (s *shower) String() string {
	width := 0
	for _, l := range s.lines {
		if l.comment != "" && len(l.text) <= maxAlign {
			width = max(width, len(l.text))
		}
	}
	var b strings.Builder
	for _, l := range s.lines {
		if l.comment == "" {
			fmt.Fprintln(&b, l.text)
		} else {
			fmt.Fprintf(&b, "%-*s  # %s\n", width, l.text, l.comment)
		}
	}
	return b.String()
}

// value writes the lines of a mapping or list; depth counts indents of two.
func (s *shower) value(v reflect.Value, path string, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		s.value(v.Elem(), path, depth)
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			if child := v.Field(f.index); !empty(child) {
				s.pair(f.key, child, join(path, f.key), depth)
			}
		}
	case reflect.Map:
		for _, key := range sortedKeys(v.Interface().(map[string]string)) {
			s.pair(s.quote(key), v.MapIndex(reflect.ValueOf(key)), join(path, key), depth)
		}
	case reflect.Slice:
		for i := range v.Len() {
			s.item(v.Index(i), at(path, i), depth)
		}
	}
}

func empty(v reflect.Value) bool {
	return v.IsZero() || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
}

func (s *shower) pair(key string, v reflect.Value, path string, depth int) {
	indent := strings.Repeat("  ", depth)
	if text, ok := s.scalar(v); ok {
		s.add(indent+key+": "+text, path)
		return
	}
	s.lines = append(s.lines, line{text: indent + key + ":"})
	s.value(v, path, depth+1)
}

// item writes "- " in front of the first line of the element.
func (s *shower) item(v reflect.Value, path string, depth int) {
	indent := strings.Repeat("  ", depth)
	if text, ok := s.scalar(v); ok {
		s.add(indent+"- "+text, path)
		return
	}
	first := len(s.lines)
	s.value(v, path, depth+1)
	if first < len(s.lines) {
		s.lines[first].text = indent + "- " + s.lines[first].text[len(indent)+2:]
	}
}

func (s *shower) add(text, path string) {
	l := line{text: text}
	if o, ok := s.origins[path]; ok {
		l.comment = o.String()
	}
	s.lines = append(s.lines, l)
}

func (s *shower) scalar(v reflect.Value) (string, bool) {
	if size, ok := v.Interface().(Size); ok {
		return size.String(), true
	}
	switch v.Kind() {
	case reflect.String:
		return s.quote(strings.ReplaceAll(v.String(), "${", "$${")), true
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	}
	return "", false
}

// quote leaves words plain that no YAML reader takes for something else.
func (s *shower) quote(text string) string {
	word := strings.ToLower(text)
	for _, special := range []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"} {
		if word == special {
			return strconv.Quote(text)
		}
	}
	if s.plain.MatchString(text) && !strings.HasSuffix(text, ":") {
		return text
	}
	quoted, _ := json.Marshal(text) // strings always marshal; JSON strings are YAML
	return string(quoted)
}

// decisive is what of a loaded profile decides the bytes of an image.
type decisive struct {
	Profile  Profile               `json:"profile"`
	Keyrings map[string]cas.Digest `json:"keyrings"`
	Overlays []cas.Digest          `json:"overlays"`
}

// Digest covers all of the effective profile that decides bytes: not its summary, its checks, where
// values came from or how they were put together, but the contents of keyrings and overlays.
func Digest(l Loaded) (cas.Digest, error) {
	p := l.Profile
	p.Summary, p.Extends, p.Abstract, p.Variables, p.Checks = "", nil, false, nil, nil
	d := decisive{Profile: p, Keyrings: map[string]cas.Digest{}}
	for name, content := range l.Keyrings {
		d.Keyrings[name] = cas.Of(content)
	}
	for _, o := range l.Overlays {
		files, err := json.Marshal(o.Files)
		if err != nil {
			return "", fmt.Errorf("encoding overlay %s: %w", o.Name, err)
		}
		d.Overlays = append(d.Overlays, cas.Of(files))
	}
	// encoding/json sorts the keys of maps and writes structs in order: the text is canonical.
	text, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encoding profile %s: %w", p.Name, err)
	}
	return cas.Of(text), nil
}
