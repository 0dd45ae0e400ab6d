package standin

import (
	"strconv"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// TestWardrobeSaysWhatIsMissing: a base that lacks what a stand-in changes is a fault, not a stand-in
// that looks right.
func TestWardrobeSaysWhatIsMissing(t *testing.T) {
	for name, change := range map[string]func(*wardrobe){
		"no file": func(w *wardrobe) { w.edit("etc/none", strings.ToUpper) },
		"no word": func(w *wardrobe) { w.text("etc/some", "a"); w.replace("etc/some", "b", "c") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWardrobe(tree.Tree{}, tree.NewReader(nil), tree.Time{})
			change(w)
			if _, err := w.tree(); err == nil {
				t.Error("it has no error")
			}
		})
	}
}
