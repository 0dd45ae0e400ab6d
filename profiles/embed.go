// Package profiles holds the built-in profiles, their keyrings and the JSON schema for editors.
//
// NAME.yaml is the profile called NAME; NAME.lock.json its lock; keyrings are named as
// profiles name them, by path.
package profiles

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.yaml *.lock.json keyrings schema.json
var files embed.FS

// Builtin returns the files that are compiled in.
func Builtin() fs.FS { return files }

// Schema is the JSON schema of a profile.
func Schema() ([]byte, error) { return files.ReadFile("schema.json") }

// Names lists the built-in profiles, sorted.
func Names() ([]string, error) {
	found, err := fs.Glob(files, "*.yaml")
	for i := range found {
		found[i] = strings.TrimSuffix(found[i], ".yaml")
	}
	return found, err
}
