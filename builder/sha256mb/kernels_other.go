//go:build !amd64

package sha256mb

// kernels returns none: on other processors crypto/sha256 is the best there is.
func kernels() []kernel { return nil }
