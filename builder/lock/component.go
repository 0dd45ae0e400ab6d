package lock

import "github.com/edgebake/edgebake/builder/cas"

// Component is one input that is not a package.
type Component struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Module, Version and Sum of a Go module (kind goModule); Go is the toolchain's version.
	Module  string `json:"module,omitempty"`
	Version string `json:"version,omitempty"`
	Sum     string `json:"sum,omitempty"`
	Go      string `json:"go,omitempty"`
	// URLs, Size and SHA256 of a downloaded file.
	URLs   []string   `json:"urls,omitempty"`
	Size   int64      `json:"size,omitempty"`
	SHA256 cas.Digest `json:"sha256,omitempty"`
	// TrustOnFirstUse marks a hash that nobody published.
	TrustOnFirstUse bool `json:"trustOnFirstUse,omitempty"`
}
