package builder

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
)

func TestFits(t *testing.T) {
	entries := []tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o755}}
	for i := range maxFiles - 1 {
		entries = append(entries, tree.Entry{Path: fmt.Sprintf("%06d", i), Type: tree.Fifo})
	}
	most, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := fits(most, "the image"); err != nil {
		t.Error(err)
	}
	more, err := tree.New(append(entries, tree.Entry{Path: "more", Type: tree.Fifo}))
	if err != nil {
		t.Fatal(err)
	}
	var many *TooManyFilesError
	if err := fits(more, "the image"); !errors.As(err, &many) || many.Files != maxFiles+1 || !strings.Contains(err.Error(), "leave packages or overlays out") {
		t.Errorf("got %v", err)
	}
}
