package decode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// qcowPiece is how many bytes of the image a worker makes at once.
const qcowPiece = 2 << 20

// span is clusters [first, end) of the image: a piece for a worker, or a hole.
type span struct {
	first, end int32 // at most maxGuest: an image of nothing but holes and clusters in turn has as many spans
	hole       bool
}

// unpackQCOW2 decodes clusters in parallel and leaves holes where there are none.
func unpackQCOW2(ctx context.Context, out *counter, in input, o Options) error {
	q, err := openQCOW2(in, in.Size(), o.MaxSize)
	if err != nil {
		return err
	}
	out.begin(q.size)
	err = q.unpack(ctx, out, o.Workers)
	out.task.Done(err)
	return err
}

func (q *qcow) unpack(ctx context.Context, out *counter, workers int) error {
	spans := q.spans()
	return parallel(ctx, len(spans), workers, slotsPerWorker*workers, func() worker {
		c := newClusters(q)
		return func(i int, s *slot) error {
			s.buf = s.buf[:0]
			if spans[i].hole {
				return nil
			}
			start := int64(spans[i].first) * q.cluster
			s.buf = resize(s.buf, int(q.end(spans[i])-start))
			if err := c.read(spans[i], s.buf); err != nil {
				return err
			}
			return out.w.Place(s.buf, start)
		}
	}, func(s *slot) error {
		if p := spans[s.index]; p.hole {
			return out.zeros(q.end(p) - int64(p.first)*q.cluster)
		}
		return out.sum(s.buf)
	})
}

// end is the byte of the image behind a span; the last cluster may be short.
func (q *qcow) end(p span) int64 { return min(int64(p.end)*q.cluster, q.size) }

func (q *qcow) isHole(i int) bool {
	e := q.guest[i]
	return e&entryCompressed == 0 && (e&entryZero != 0 || e&entryOffset == 0)
}

func (q *qcow) spans() (out []span) {
	most := int32(max(qcowPiece/q.cluster, 1))
	for i := range q.guest {
		hole := q.isHole(i)
		if n := len(out) - 1; n >= 0 && out[n].hole == hole && (hole || out[n].end-out[n].first < most) {
			out[n].end++
			continue
		}
		out = append(out, span{int32(i), int32(i + 1), hole})
	}
	return out
}

// clusters reads clusters; each worker has its own decompressors.
type clusters struct {
	*qcow
	packed []byte
	whole  []byte // a last cluster that is longer than the image
	inf    inflater
	frames *zstd.Decoder
}

func newClusters(q *qcow) *clusters {
	return &clusters{qcow: q, whole: make([]byte, q.cluster)}
}

func (c *clusters) read(p span, buf []byte) error {
	for i := p.first; i < p.end; i++ {
		part := buf[int64(i-p.first)*c.cluster:]
		part = part[:min(c.cluster, int64(len(part)))]
		if err := c.one(c.guest[i], part); err != nil {
			return fmt.Errorf("reading qcow2: cluster %d of the image: %w", i, err)
		}
	}
	return nil
}

func (c *clusters) one(entry uint64, out []byte) error {
	if entry&entryCompressed != 0 {
		return c.inflate(entry, out)
	}
	at := int64(entry & entryOffset)
	n, err := c.r.ReadAt(out, at)
	if n < len(out) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("at byte %d of the file: %w", at, err)
	}
	clear(out[n:]) // QEMU cuts a file behind the last byte that is used
	return nil
}

func (c *clusters) inflate(entry uint64, out []byte) error {
	at, length := c.compressed(entry)
	c.packed = resize(c.packed, int(min(length, c.file-at)))
	if _, err := c.r.ReadAt(c.packed, at); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("at byte %d of the file: %w", at, err)
	}
	whole := out
	if int64(len(out)) < c.cluster {
		whole = c.whole
	}
	if err := c.decompress(whole); err != nil {
		return fmt.Errorf("compressed data at byte %d: %w", at, err)
	}
	copy(out, whole)
	return nil
}

// decompress fills out from c.packed: deflate without a header, or zstd.
func (c *clusters) decompress(out []byte) error {
	if !c.qcow.zstd {
		return c.inf.inflate(out, c.packed)
	}
	if c.frames == nil {
		var err error
		if c.frames, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(2<<maxClusterBits)); err != nil {
			return err
		}
	}
	if err := c.frames.Reset(bytes.NewReader(c.packed)); err != nil {
		return err
	}
	_, err := io.ReadFull(c.frames, out)
	return err
}
