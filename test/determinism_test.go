package test

import (
	"go/ast"
	"strings"
	"testing"
)

// mayReadClock lists the files below builder/ that may ask for the time, with the reason why no
// byte of an image can depend on it.
var mayReadClock = map[string]string{
	"builder/progress/": "rates and durations for people",
	"builder/fetch/":    "time limits, back-off and the age of a connection",
	"builder/guest/":    "time limits and durations of guests",
	"builder/verify/":   "durations and the clock check of a booted image",
	"builder/cas/":      "age of blobs in gc",
}

// mayUseRandom is the same for random sources.
var mayUseRandom = map[string]string{}

// TestNoClockNoRandom forbids what would make two bakes differ. Map order can't be found this
// way; the two bakes of the reproducibility test find that.
func TestNoClockNoRandom(t *testing.T) {
	for _, f := range sources(t, "builder") {
		for _, spec := range f.ast.Imports {
			switch path := strings.Trim(spec.Path.Value, `"`); path {
			case "math/rand", "math/rand/v2", "crypto/rand":
				if !allowed(mayUseRandom, f.path) {
					t.Errorf("%s imports %s: take bytes from the lock's digest", f.at(spec), path)
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch path := f.importedAs(x.Name); {
			case path == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since" || sel.Sel.Name == "Until"):
				if !allowed(mayReadClock, f.path) {
					t.Errorf("%s: time.%s: take times from the lock's epoch, or let the caller pass one in", f.at(n), sel.Sel.Name)
				}
			case path == "github.com/google/uuid" && strings.HasPrefix(sel.Sel.Name, "New") && sel.Sel.Name != "NewSHA1" && sel.Sel.Name != "NewMD5":
				t.Errorf("%s: uuid.%s is random: derive UUIDs from the lock's digest", f.at(n), sel.Sel.Name)
			}
			return true
		})
	}
}

func allowed(list map[string]string, path string) bool {
	for prefix := range list {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
