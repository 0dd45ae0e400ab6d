// Package sums reads the lists of checksums that stand beside published images.
//
// A list is a file SHA256SUMS as sha256sum writes it: 64 hexadecimal digits, a space, a star or
// a second space, and a name. Its signature is the detached SHA256SUMS.gpg.
package sums

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
)

// MaxSize bounds a list and its signature, in bytes: the longest ones of Ubuntu have 20 KiB.
const MaxSize = 4 << 20

// Verify checks the detached signature of a list: one good signature by a key of keyring whose
// fingerprint is pinned is enough; others may be of keys that nobody here knows. It returns the
// fingerprint. now is the time at which the key must not have expired. Faults: *apt.SignatureError.
func Verify(text, signature, keyring []byte, fingerprints []string, now time.Time) (signer string, err error) {
	signer, err = apt.VerifyDetached(text, signature, keyring, fingerprints, now)
	if err != nil {
		return "", fmt.Errorf("verifying SHA256SUMS: %w", err)
	}
	return signer, nil
}

// Find returns the digest of the file called name, which may hold any character but a line end.
// Lines that are no checksum are passed over. Two lines of one name must agree.
func Find(text []byte, name string) (cas.Digest, error) {
	var found cas.Digest
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, MaxSize)
	count := 0
	for lines.Scan() {
		digest, of, ok := parse(lines.Text())
		if !ok {
			continue
		}
		count++
		if of != name {
			continue
		}
		if found != "" && found != digest {
			return "", fmt.Errorf("reading SHA256SUMS: it has two checksums for %s: %s and %s", name, found, digest)
		}
		found = digest
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("reading SHA256SUMS: %w", err)
	}
	if found == "" {
		return "", fmt.Errorf("reading SHA256SUMS: it has no line for %s among its %d", name, count)
	}
	return found, nil
}

// parse splits a line; a name may be given with "./" before it.
func parse(line string) (digest cas.Digest, name string, ok bool) {
	const hexDigits = 64
	line = strings.TrimRight(line, "\r")
	if len(line) < hexDigits+3 || line[hexDigits] != ' ' || line[hexDigits+1] != '*' && line[hexDigits+1] != ' ' {
		return "", "", false
	}
	digest, err := cas.ParseDigest(strings.ToLower(line[:hexDigits]))
	return digest, strings.TrimPrefix(line[hexDigits+2:], "./"), err == nil
}
