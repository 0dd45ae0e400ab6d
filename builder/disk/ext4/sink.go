package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

const (
	sinkBuffer  = 256 << 10 // stays in the processor's cache between reading and writing; 1 MiB took an eighth more time
	sinkBuffers = 3         // one is filled, one is written, one waits
)

// sink writes blocks, which come in ascending order and once. It gathers them into large writes, leaves
// out blocks of zeros, and writes behind its caller: while a buffer is written, the next is filled.
type sink struct {
	w    io.WriterAt
	next int64 // no block before it may come
	buf  *buffer
	zero []byte

	full chan *buffer
	free chan *buffer
	done chan struct{}
	err  error // of the writing goroutine; for others once done is closed, or they have got a buffer with failed
}

// buffer holds blocks on their way.
type buffer struct {
	data   []byte
	pieces []piece
	next   int64 // all blocks before it are in this buffer, in one before, or zeros
	failed bool
}

// piece is data[from:to], contiguous on the disk from block at on.
type piece struct {
	at       int64
	from, to int
}

func newSink(w io.WriterAt) *sink {
	s := &sink{w: w, zero: make([]byte, blockSize), done: make(chan struct{}),
		full: make(chan *buffer, sinkBuffers), free: make(chan *buffer, sinkBuffers)}
	for range sinkBuffers - 1 {
		s.free <- &buffer{data: make([]byte, 0, sinkBuffer)}
	}
	s.buf = &buffer{data: make([]byte, 0, sinkBuffer)}
	go s.run()
	return s
}

// run writes the full buffers. After a fault it only gives them back.
func (s *sink) run() {
	defer close(s.done)
	for b := range s.full {
		if s.err == nil {
			s.err = s.write(b)
		}
		*b = buffer{data: b.data[:0], pieces: b.pieces[:0], failed: s.err != nil}
		s.free <- b
	}
}

// write writes a buffer, and tells the writer behind what will not be written any more.
func (s *sink) write(b *buffer) error {
	for _, p := range b.pieces {
		if _, err := s.w.WriteAt(b.data[p.from:p.to], p.at*blockSize); err != nil {
			return err
		}
	}
	if to, ok := s.w.(interface{ Settled(before int64) error }); ok {
		return to.Settled(b.next * blockSize)
	}
	return nil
}

// flush hands the buffer over to be written and takes an empty one.
func (s *sink) flush() error {
	if len(s.buf.data) == 0 {
		return nil
	}
	s.buf.next = s.next
	s.full <- s.buf
	s.buf = <-s.free
	if s.buf.failed {
		return s.err
	}
	return nil
}

// close waits until what was flushed is written.
func (s *sink) close() error {
	close(s.full)
	<-s.done
	return s.err
}

// room returns how many bytes fit in the buffer, after flushing a full one.
func (s *sink) room() (int64, error) {
	if len(s.buf.data) == cap(s.buf.data) {
		if err := s.flush(); err != nil {
			return 0, err
		}
	}
	return int64(cap(s.buf.data) - len(s.buf.data)), nil
}

// accept takes the next n bytes behind the buffer's data, whole blocks, for block at on.
func (s *sink) accept(at int64, n int) error {
	if at < s.next {
		return fmt.Errorf("block %d comes after block %d: a fault of the layout", at, s.next-1)
	}
	b := s.buf
	from := len(b.data)
	b.data = b.data[:from+n]
	for ; from < len(b.data); from += blockSize {
		if !bytes.Equal(b.data[from:from+blockSize], s.zero) {
			b.add(at, from)
		}
		at++
	}
	s.next = at
	return nil
}

// add appends a block to the pieces, or to the last one.
func (b *buffer) add(at int64, from int) {
	if i := len(b.pieces) - 1; i >= 0 {
		if p := &b.pieces[i]; p.to == from && p.at+int64(p.to-p.from)/blockSize == at {
			p.to += blockSize
			return
		}
	}
	b.pieces = append(b.pieces, piece{at, from, from + blockSize})
}

// blocks writes whole blocks.
func (s *sink) blocks(at int64, b []byte) error {
	for ; len(b) > 0; b = b[blockSize:] {
		if _, err := s.room(); err != nil {
			return err
		}
		copy(s.buf.data[len(s.buf.data):cap(s.buf.data)], b[:blockSize])
		if err := s.accept(at, blockSize); err != nil {
			return err
		}
		at++
	}
	return nil
}

// copy writes n bytes of r from block at on; the last block is filled with zeros.
func (s *sink) copy(ctx context.Context, at int64, r io.Reader, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		room, err := s.room()
		if err != nil {
			return err
		}
		part := min(n, room)
		whole := ceilDiv(part, blockSize) * blockSize
		to := s.buf.data[len(s.buf.data):][:whole]
		if _, err := io.ReadFull(r, to[:part]); err != nil {
			return fmt.Errorf("reading its content, %d bytes before the end: %w", n, err)
		}
		clear(to[part:])
		if err := s.accept(at, int(whole)); err != nil {
			return err
		}
		at, n = at+whole/blockSize, n-part
	}
	return nil
}
