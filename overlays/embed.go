// Package overlays holds sets of files that are laid over an image.
//
// An Overlay is a directory of files, NAME/, whose paths are those of the image, and a description
// beside it, NAME.yaml, that says what a directory can't: modes and owners by path pattern, and
// symbolic links, and files that have variables of the profile in them. Files are 0644, directories 0755, all root's, unless a rule says otherwise.
// Built-in overlays are compiled in; the same reader loads overlays from a person's disk.
package overlays

import (
	"embed"
	"io/fs"
)

//go:embed *.yaml all:cloud-vm all:edge-join all:edge-node all:edge-ubuntu all:pi-boot
var files embed.FS

// Builtin returns the overlays that are compiled in.
func Builtin() fs.FS { return files }
