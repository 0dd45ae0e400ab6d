// Package sha256mb computes the SHA-256 of many messages (FIPS 180-4, section 6.2), several at a time on one thread:
// multi-buffer hashing. The digests are those of crypto/sha256.
//
// A message is the bytes of a reader up to its end. A lane is a place where one message after the other is hashed; a
// block are 64 bytes, the hash's unit; a kernel hashes blocks of several lanes.
//
// A processor can do more than the rounds of one message, which wait for each other. With AVX-512 each of sixteen messages has a
// lane of the registers; with the SHA extensions alone the rounds of two fill each other's gaps. Elsewhere messages are
// hashed one after the other by crypto/sha256. One message alone gains nothing: use crypto/sha256.
package sha256mb

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Message is something to hash.
type Message struct {
	Name   string // for errors
	Reader io.Reader
	Done   func(sum [sha256.Size]byte) // is told the digest, on the caller's goroutine
}

// bufferSize of all lanes is small enough to stay in a processor's second cache between reading and hashing.
const bufferSize = 512 << 10

// Sum hashes all messages that next returns, until it says that there is no more. Messages end in any order. The first error of
// a message or of next ends it; a message's carries its name.
func Sum(next func() (Message, bool, error)) error {
	if all := kernels(); len(all) > 0 {
		return sumLanes(all[0], next)
	}
	return sumEach(next)
}

// sumEach hashes one message at a time.
func sumEach(next func() (Message, bool, error)) error {
	h, buf := sha256.New(), make([]byte, bufferSize)
	for {
		m, ok, err := next()
		if err != nil || !ok {
			return err
		}
		h.Reset()
		// Not io.CopyBuffer as it is: the reader may have a WriteTo that takes a buffer of its own.
		if _, err := io.CopyBuffer(h, struct{ io.Reader }{m.Reader}, buf); err != nil {
			return fmt.Errorf("hashing %s: %w", m.Name, err)
		}
		m.Done([sha256.Size]byte(h.Sum(nil)))
	}
}
