package ext4

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
)

const sinkBuffer = 1 << 20

// sink gathers neighbouring blocks into large writes and leaves out blocks of zeros.
type sink struct {
	w     io.WriterAt
	at    int64 // of buf, in blocks
	buf   []byte
	zero  []byte
	chunk []byte // of copy
}

func newSink(w io.WriterAt) *sink {
	return &sink{w: w, buf: make([]byte, 0, sinkBuffer), zero: make([]byte, blockSize), chunk: make([]byte, sinkBuffer)}
}

// block writes one block.
func (s *sink) block(at int64, b []byte) error {
	if bytes.Equal(b, s.zero) {
		return nil
	}
	if at != s.at+int64(len(s.buf)/blockSize) || len(s.buf) == cap(s.buf) {
		if err := s.flush(); err != nil {
			return err
		}
		s.at = at
	}
	s.buf = append(s.buf, b...)
	return nil
}

func (s *sink) blocks(at int64, b []byte) error {
	for ; len(b) > 0; b = b[blockSize:] {
		if err := s.block(at, b[:blockSize]); err != nil {
			return err
		}
		at++
	}
	return nil
}

func (s *sink) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.w.WriteAt(s.buf, s.at*blockSize)
	s.buf = s.buf[:0]
	return err
}

// settle tells the writer behind that no block before at will be written any more.
func (s *sink) settle(at int64) error {
	to, ok := s.w.(interface{ Settled(before int64) error })
	if !ok || at == math.MaxInt64 {
		return nil
	}
	if len(s.buf) > 0 {
		at = min(at, s.at)
	}
	return to.Settled(at * blockSize)
}

// copy writes n bytes of r from block at on; the last block is filled with zeros.
func (s *sink) copy(ctx context.Context, at int64, r io.Reader, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := s.chunk[:min(n, sinkBuffer)]
		if _, err := io.ReadFull(r, part); err != nil {
			return fmt.Errorf("reading its content, %d bytes before the end: %w", n, err)
		}
		n -= int64(len(part))
		whole := s.chunk[:ceilDiv(int64(len(part)), blockSize)*blockSize]
		clear(whole[len(part):])
		if err := s.blocks(at, whole); err != nil {
			return err
		}
		at += int64(len(whole) / blockSize)
	}
	return nil
}

func countBits(b []byte) (n int64) {
	for _, x := range b {
		n += int64(bits.OnesCount8(x))
	}
	return n
}

func sortedByIno(nodes []*node) []*node {
	slices.SortStableFunc(nodes, func(a, b *node) int { return cmp.Compare(a.ino, b.ino) })
	return nodes
}
