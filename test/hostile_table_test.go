package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHostileTable: every test that the table of docs/errors.md names exists.
func TestHostileTable(t *testing.T) {
	text, err := os.ReadFile("../docs/errors.md")
	must(t, err)
	_, table, found := strings.Cut(string(text), "## Hostile input")
	named := regexp.MustCompile("`([a-z0-9]+)\\.((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(table, -1)
	if !found || len(named) < 20 {
		t.Fatalf("%d tests are named", len(named))
	}
	for _, n := range named {
		files, err := filepath.Glob("../builder/" + map[string]string{"ext4": "disk/ext4", "decode": "image/decode"}[n[1]] + "/*_test.go")
		must(t, err)
		if more, err := filepath.Glob("../builder/" + n[1] + "/*_test.go"); err == nil {
			files = append(files, more...)
		}
		if n[1] == "test" {
			files, err = filepath.Glob("*_test.go")
			must(t, err)
		}
		there := false
		for _, f := range files {
			there = there || strings.Contains(string(read(t, f)), "\nfunc "+n[2]+"(")
		}
		if !there {
			t.Errorf("there is no %s.%s", n[1], n[2])
		}
	}
}
