package sha256mb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// ways are those of hashing that this processor has.
func ways() map[string]func(func() (Message, bool, error)) error {
	m := map[string]func(func() (Message, bool, error)) error{"each": sumEach, "chosen": Sum}
	for _, k := range kernels() {
		m[fmt.Sprintf("%d lanes", k.lanes)] = func(next func() (Message, bool, error)) error { return sumLanes(k, next) }
	}
	return m
}

// messages hands out each of them, read by as.
func messages(texts [][]byte, as func(io.Reader) io.Reader, sums [][sha256.Size]byte) func() (Message, bool, error) {
	next := 0
	return func() (Message, bool, error) {
		if next == len(texts) {
			return Message{}, false, nil
		}
		i := next
		next++
		return Message{
			Name: fmt.Sprintf("number %d", i), Reader: as(bytes.NewReader(texts[i])),
			Done: func(s [sha256.Size]byte) { sums[i] = s },
		}, true, nil
	}
}

func plainly(r io.Reader) io.Reader { return r }

func check(t *testing.T, texts [][]byte, sums [][sha256.Size]byte) {
	t.Helper()
	for i, text := range texts {
		if sums[i] != sha256.Sum256(text) {
			t.Errorf("message %d of %d bytes: %x, crypto/sha256 says %x", i, len(text), sums[i], sha256.Sum256(text))
		}
	}
}

// lengths are all around a block, a buffer and what fits both with the padding.
func lengths() (all []int) {
	for n := range 3 * sha256.BlockSize {
		all = append(all, n)
	}
	for _, buffer := range []int{bufferSize, bufferSize / 2, bufferSize / 16} {
		for n := buffer - 2*sha256.BlockSize; n <= buffer+2*sha256.BlockSize; n++ {
			all = append(all, n)
		}
	}
	return append(all, 2*bufferSize, 3*bufferSize-1, 5*bufferSize+17)
}

func TestSum(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	var texts [][]byte
	for _, n := range lengths() {
		text := make([]byte, n)
		_, _ = random.Read(text)
		texts = append(texts, text)
	}
	readers := map[string]func(io.Reader) io.Reader{
		"plainly": plainly, "halves": iotest.HalfReader, "data with the end": iotest.DataErrReader,
	}
	for name, sum := range ways() {
		for reader, as := range readers {
			t.Run(name+"/"+reader, func(t *testing.T) {
				sums := make([][sha256.Size]byte, len(texts))
				if err := sum(messages(texts, as, sums)); err != nil {
					t.Fatal(err)
				}
				check(t, texts, sums)
			})
		}
	}
}

func TestFewMessages(t *testing.T) {
	for name, sum := range ways() {
		for n := range 20 {
			texts := make([][]byte, n)
			for i := range texts {
				texts[i] = bytes.Repeat([]byte{byte('a' + i)}, 1000*(n-i))
			}
			sums := make([][sha256.Size]byte, n)
			if err := sum(messages(texts, plainly, sums)); err != nil {
				t.Errorf("%s: %d messages: %v", name, n, err)
			}
			check(t, texts, sums)
		}
	}
}

func TestErrors(t *testing.T) {
	broken := errors.New("the disk is gone")
	for name, sum := range ways() {
		err := sum(func() (Message, bool, error) {
			return Message{Name: "etc/passwd", Reader: io.MultiReader(strings.NewReader("root"), iotest.ErrReader(broken)), Done: func([32]byte) {
				t.Errorf("%s: a message that could not be read has a digest", name)
			}}, true, nil
		})
		if !errors.Is(err, broken) || err.Error() != "hashing etc/passwd: the disk is gone" {
			t.Errorf("%s: a reader's error: %v", name, err)
		}
		if err := sum(func() (Message, bool, error) { return Message{}, false, broken }); !errors.Is(err, broken) {
			t.Errorf("%s: an error of the source: %v", name, err)
		}
	}
}

// FuzzSum cuts data into messages at the places that cuts tells.
func FuzzSum(f *testing.F) {
	f.Add([]byte("abc"), []byte{1, 1})
	f.Add(bytes.Repeat([]byte("0123456789"), 100), []byte{55, 56, 63, 64, 65, 119, 120, 128})
	f.Fuzz(func(t *testing.T, data, cuts []byte) {
		var texts [][]byte
		for _, n := range cuts {
			n := min(int(n)*3, len(data))
			texts, data = append(texts, data[:n]), data[n:]
		}
		texts = append(texts, data)
		sums := make([][sha256.Size]byte, len(texts))
		if err := Sum(messages(texts, plainly, sums)); err != nil {
			t.Fatal(err)
		}
		check(t, texts, sums)
	})
}

func BenchmarkSum(b *testing.B) {
	texts := make([][]byte, 64)
	for i := range texts {
		texts[i] = make([]byte, 1<<20)
	}
	sums := make([][sha256.Size]byte, len(texts))
	for name, sum := range ways() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(texts) << 20))
			for b.Loop() {
				if err := sum(messages(texts, plainly, sums)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
