package builder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/deb"
)

// TestEarly has packages as "name: depends; provides; postinst", in the order of a lock.
func TestEarly(t *testing.T) {
	for name, tt := range map[string]struct{ packages, want string }{
		"none":                           {"libc6\nhtop: libc6", ""},
		"what it needs, in their order":  {"libc6\nother\npython3: libc6\npython3-yaml: python3, libyaml;; py3compile -p python3-yaml\nlibyaml: libc6", "libc6 python3 python3-yaml libyaml"},
		"by what is provided":            {"mawk:; awk\ntool: awk;; py3compile -p tool", "mawk tool"},
		"all alternatives that are here": {"a\nb\ntool: a (>= 1) | b | c;; py3compile -p tool", "a b tool"},
		"a circle":                       {"a: b;; py3compile -p a\nb: a", "a b"},
		"the library's own":              {"python3.11-minimal:;; python3.11 -S $py_compile.py\nlate", "python3.11-minimal"},
	} {
		t.Run(name, func(t *testing.T) {
			var list []deb.Extracted
			for line := range strings.Lines(tt.packages) {
				list = append(list, extractedOf(strings.TrimSuffix(line, "\n")))
			}
			got, err := early(list)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := early([]deb.Extracted{extractedOf("odd: (")}); err == nil || !strings.Contains(err.Error(), "Depends of package odd") {
		t.Errorf("a damaged field: %v", err)
	}
}

func extractedOf(line string) deb.Extracted {
	name, rest, _ := strings.Cut(line, ":")
	fields := append(strings.Split(rest, ";"), "", "")
	control := fmt.Sprintf("Package: %s\n", name)
	for i, field := range []string{"Depends", "Provides"} {
		if value := strings.TrimSpace(fields[i]); value != "" {
			control += field + ": " + value + "\n"
		}
	}
	return deb.Extracted{Control: []deb.ControlMember{{Name: "control", Data: []byte(control)}, {Name: "postinst", Data: []byte(fields[2])}}}
}
