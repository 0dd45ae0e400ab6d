package deb

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parseAll(text string, limit int64) ([]Stanza, error) {
	var all []Stanza
	for s, err := range ParseStanzas(strings.NewReader(text), limit) {
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	return all, nil
}

func TestParseStanzas(t *testing.T) {
	text := "\n\nPackage: a\nDescription: short\n long\n .\n more\nSHA256:\n 00 1 x\n\n  \nPackage:b\r\nEmpty:\n"
	got, err := parseAll(text, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := []Stanza{
		{Fields: []Field{{"Package", "a"}, {"Description", "short\n long\n .\n more"}, {"SHA256", "\n 00 1 x"}}},
		{Fields: []Field{{"Package", "b"}, {"Empty", ""}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if got[0].Get("package") != "a" || got[0].Get("absent") != "" {
		t.Errorf("Get does not ignore the case")
	}
	if diff := cmp.Diff([]string{"00 1 x"}, got[0].Lines("sha256")); diff != "" {
		t.Error(diff)
	}
}

func TestParseStanzasFaults(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		limit int64
		want  string
	}{
		"no colon":     {"A: 1\n x\nno colon\n", 100, "line 3"},
		"continuation": {" x\n", 100, "line 1"},
		"blank name":   {"A b: 1\n", 100, "line 1"},
		"limit":        {"A: 123456789\n", 5, "allowed 5 bytes"},
		"long":         {"A: " + strings.Repeat("x", MaxStanza) + "\n", MaxStanza * 2, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAll(c.text, c.limit)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
}

// FuzzParseStanzas: what parses is written and parsed to the same stanza.
func FuzzParseStanzas(f *testing.F) {
	f.Add("Package: a\nX: 1\n 2\n\nB: 3\n")
	f.Add("\n \nA:\n b\n\r\n")
	f.Add(": \n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseAll(text, 1<<20)
		if err != nil {
			return
		}
		for _, s := range all {
			again, err := ParseStanza([]byte(s.String()))
			if err != nil {
				t.Fatalf("%q of %q: %v", s.String(), text, err)
			}
			if diff := cmp.Diff(s, again); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
