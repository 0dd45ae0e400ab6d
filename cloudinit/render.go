package cloudinit

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// render writes a YAML document after a head. cloud-init reads YAML 1.1, which takes a MAC address of
// decimal digits for a number and "on" for true, so every string is in double quotes that is not
// surely one without them.
func render(head string, v any) ([]byte, error) {
	body, err := yaml.MarshalWithOptions(v, yaml.IndentSequence(true), yaml.CustomMarshaler(scalar))
	if err != nil {
		return nil, fmt.Errorf("rendering %T: %w", v, err)
	}
	if string(body) == "{}\n" {
		body = nil // an empty document is what the header alone means
	}
	return append([]byte(head), unfold(body)...), nil
}

var (
	wordPattern  = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*$`)
	entryPattern = regexp.MustCompile(`^((?: |- )*)([a-z_]+): ("(?:.*)\\n")$`)
)

func scalar(s string) ([]byte, error) {
	if plain(s) {
		return []byte(s), nil
	}
	return []byte(strconv.Quote(s)), nil // Go's escapes are a subset of YAML's
}

// plain reports whether a string needs no quotes: a word that neither YAML 1.1 nor 1.2 takes for
// anything else.
func plain(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return wordPattern.MatchString(s)
}

// unfold turns quoted text of several lines into literal blocks, which people can read. Every line of
// doc is a whole entry, because no quoted string has a line break.
func unfold(doc []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(doc)) {
		m := entryPattern.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			out.WriteString(line)
			continue
		}
		text, err := strconv.Unquote(m[3])
		if err != nil || !literal(text) {
			out.WriteString(line)
			continue
		}
		fmt.Fprintf(&out, "%s%s: |\n", m[1], m[2])
		indent := strings.Repeat(" ", len(m[1])+2)
		for content := range strings.Lines(text) {
			if content != "\n" {
				out.WriteString(indent)
			}
			out.WriteString(content)
		}
	}
	return out.Bytes()
}

// literal reports whether a block "|" says exactly this text: it ends with one line break, begins with
// what no reader takes for indentation, and has nothing that YAML wants escaped.
func literal(text string) bool {
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") || strings.ContainsAny(text[:1], " \t\n") {
		return false
	}
	return strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !strconv.IsPrint(r) || r == '\uFFFD' }) < 0
}
