// Package cas stores bytes under the name of their digest.
//
// A Digest names bytes by their SHA-256. A Store is a directory of blobs that many
// processes share: a blob appears under its name only when it is whole and verified.
package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Digest is a SHA-256 as 64 lower-case hexadecimal digits. The zero value names nothing.
type Digest string

// Of returns the digest of b.
func Of(b []byte) Digest {
	sum := sha256.Sum256(b)
	return FromSum(sum[:])
}

// FromSum returns the digest whose 32 raw bytes are sum.
func FromSum(sum []byte) Digest { return Digest(hex.EncodeToString(sum)) }

// ParseDigest checks that s is 64 hexadecimal digits in lower case.
func ParseDigest(s string) (Digest, error) {
	if len(s) != 2*sha256.Size {
		return "", fmt.Errorf("parsing SHA-256 %q: %d characters instead of 64", s, len(s))
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("parsing SHA-256 %q: %q is no lower-case hexadecimal digit", s, c)
		}
	}
	return Digest(s), nil
}

// Short returns the first twelve digits, for people.
func (d Digest) Short() string { return string(d[:min(12, len(d))]) }
