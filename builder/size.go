package builder

import (
	"fmt"

	"github.com/edgebake/edgebake/builder/tree"
)

// maxFiles is how many files, directories and links an image has at most: with so many a bake takes close to the 512 MiB
// that it is meant to take (docs/performance.md, "Memory"). A desktop with all of TeX has fewer; an edge has a tenth.
const maxFiles = 300_000

// TooManyFilesError says that an image would have more files than a bake has memory for.
type TooManyFilesError struct {
	What  string // what has them
	Files int
}

func (e *TooManyFilesError) Error() string {
	return fmt.Sprintf("%s has %d files, directories and links, and an image has at most %d, so that a bake takes no more than 512 MiB of memory: "+
		"leave packages or overlays out, or start from a smaller base image", e.What, e.Files, maxFiles)
}

// fits refuses a tree that is too large.
func fits(t tree.Tree, what string) error {
	if t.Len() > maxFiles {
		return &TooManyFilesError{What: what, Files: t.Len()}
	}
	return nil
}
