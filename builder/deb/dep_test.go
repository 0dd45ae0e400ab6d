package deb

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelations(t *testing.T) {
	for in, want := range map[string][]Alternatives{
		"": nil,
		"a (>= 1) [arm64 !x] <!nocheck c> <d> | b:any, c(=2)": {
			{{Name: "a", Op: ">=", Version: "1", Archs: []string{"arm64", "!x"}, Profiles: [][]string{{"!nocheck", "c"}, {"d"}}},
				{Name: "b", Arch: "any"}},
			{{Name: "c", Op: "=", Version: "2"}}},
		"a (<< 1:2~), b (>3) ,\n c (< 4),": {
			{{Name: "a", Op: "<<", Version: "1:2~"}}, {{Name: "b", Op: ">=", Version: "3"}}, {{Name: "c", Op: "<=", Version: "4"}}},
		"mail-transport-agent (= 1.2)": {{{Name: "mail-transport-agent", Op: "=", Version: "1.2"}}},
	} {
		got, err := ParseRelations(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

func TestParseRelationsFaults(t *testing.T) {
	for _, in := range []string{"a |", "a (>= 1", "a (>= )", "a b", "(>= 1)", "a (>> 1) (<< 2)", "a (=> 1)", "a/b", "a [x"} {
		if got, err := ParseRelations(in); err == nil {
			t.Errorf("%q parses to %v", in, got)
		}
	}
}

func TestRelationHolds(t *testing.T) {
	for _, c := range []struct {
		rel, version, arch    string
		matches, appliesToArm bool
	}{
		{"a", "1", "", true, true}, {"a (>= 2)", "2-1", "", true, true}, {"a (<< 2)", "2~rc1", "", true, true},
		{"a (= 1.0)", "1.0-1", "", false, true}, {"a (>> 1) [amd64]", "1", "", false, false},
		{"a [!arm64 !mips]", "1", "", true, false}, {"a [!mips]", "1", "", true, true}, {"a [arm64 mips]", "1", "", true, true},
		{"a <nocheck>", "1", "", true, false}, {"a <!nocheck>", "1", "", true, true}, {"a <x> <!y>", "1", "", true, true},
		{"a [any]", "1", "", true, true},
	} {
		list, err := ParseRelations(c.rel)
		if err != nil {
			t.Fatal(err)
		}
		r := list[0][0]
		if r.Matches(c.version) != c.matches || r.AppliesTo("arm64") != c.appliesToArm {
			t.Errorf("%s: matches %s: %v, applies to arm64: %v", c.rel, c.version, r.Matches(c.version), r.AppliesTo("arm64"))
		}
	}
}

func FuzzParseRelations(f *testing.F) {
	f.Add("a (>= 1) [arch !b] <p !q> <r> | b:any, c (<< 2)")
	f.Add(",a|b,")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseRelations(s)
		if err != nil {
			return
		}
		var texts []string
		for _, a := range list {
			texts = append(texts, a.String())
		}
		again, err := ParseRelations(strings.Join(texts, ", "))
		if err != nil {
			t.Fatalf("%q: %v", texts, err)
		}
		if diff := cmp.Diff(list, again); len(list) > 0 && diff != "" {
			t.Fatal(diff)
		}
	})
}
