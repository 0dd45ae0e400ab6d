package decode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/therootcompany/xz"
)

// xzMemory bounds the buffers of blocks in work. xz -0 makes blocks of 1 MiB, -6 of 24 MiB; of
// larger blocks fewer are in work, and one that does not fit twice is decoded as a stream.
const xzMemory = 256 << 20

// OpenXZ reads what the .xz in in, which has size bytes, unpacks to. It is decoded on a core of its own and in little
// memory: a dictionary of at most window bytes and the next piece. The caller bounds how much is read, and has to
// close it.
func OpenXZ(in io.ReaderAt, size int64, window int) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(streamXZ(in, size, window, w)) // nil is the end
	}()
	return r
}

func streamXZ(in io.ReaderAt, size int64, window int, w io.Writer) error {
	blocks, err := readXZ(in, size, math.MaxInt64)
	if err != nil {
		return err
	}
	for i, b := range blocks {
		if blocks[i].header, err = readBlockHeader(in, b); err != nil {
			return blockError(blocks, b, err)
		}
		switch dict := blocks[i].header.dict; {
		case dict > window:
			return blockError(blocks, b, fmt.Errorf("its dictionary of %d bytes is larger than the allowed %d", dict, window))
		case dict == 0:
			return copyXZ(in, size, window, w)
		}
	}
	d := newXZDecoder(in)
	for _, b := range blocks {
		err := d.stream(context.Background(), b, func(p []byte) error { // it ends when the reader is closed
			_, err := w.Write(p)
			return err
		})
		if err != nil {
			return blockError(blocks, b, err)
		}
	}
	return nil
}

// copyXZ is for filters for machine code, as otherFilters.
func copyXZ(in io.ReaderAt, size int64, window int, w io.Writer) error {
	r, err := xz.NewReader(io.NewSectionReader(in, 0, size), uint32(window))
	if err == nil {
		_, err = io.Copy(w, r)
	}
	if err != nil {
		return fmt.Errorf("reading xz: %w", err)
	}
	return nil
}

func unpackXZ(ctx context.Context, out *counter, in input, o Options) error {
	blocks, err := readXZ(in, in.Size(), o.MaxSize)
	if errors.Is(err, errTooMuch) {
		return &LimitError{Format: XZ, Max: o.MaxSize}
	}
	if err != nil {
		return err
	}
	largest, total, plain := int64(1), int64(0), true
	for i, b := range blocks {
		if blocks[i].header, err = readBlockHeader(in, b); err != nil {
			return blockError(blocks, b, err)
		}
		largest, total, plain = max(largest, b.size), total+b.size, plain && blocks[i].header.dict > 0
	}
	out.begin(total)
	err = decodeBlocks(ctx, out, in, blocks, largest, plain, o.Workers)
	out.task.Done(err)
	return err
}

// decodeBlocks decodes in parallel when that fits into memory.
func decodeBlocks(ctx context.Context, out *counter, in input, blocks []xzBlock, largest int64, plain bool, workers int) error {
	slots := int(min(int64(slotsPerWorker*workers), xzMemory/largest))
	switch {
	case !plain:
		return otherFilters(ctx, out, in)
	case slots < 2:
		return streamBlocks(ctx, out, in, blocks)
	}
	starts, next := make([]int64, len(blocks)), int64(0)
	for i, b := range blocks {
		starts[i], next = next, next+b.size
	}
	return parallel(ctx, len(blocks), workers, slots, func() worker {
		d := newXZDecoder(in)
		return func(i int, s *slot) error {
			s.buf = resize(s.buf, int(blocks[i].size))
			if err := d.whole(blocks[i], s.buf); err != nil {
				return blockError(blocks, blocks[i], err)
			}
			return out.w.Place(s.buf, starts[i])
		}
	}, func(s *slot) error { return out.sum(s.buf) })
}

func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func streamBlocks(ctx context.Context, out *counter, in input, blocks []xzBlock) error {
	d := newXZDecoder(in)
	for _, b := range blocks {
		err := d.stream(ctx, b, func(p []byte) error {
			_, err := out.Write(p)
			return err
		})
		if err != nil {
			return blockError(blocks, b, err)
		}
	}
	return nil
}

func blockError(all []xzBlock, b xzBlock, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading xz: block %d of %d, at byte %d: %w", b.number, len(all), b.at, err)
}

// otherFilters decodes a file some of whose blocks use filters for machine code. Nobody publishes
// images so; the slower library does it, on one core.
func otherFilters(ctx context.Context, out *counter, in input) error {
	r, err := xz.NewReader(io.NewSectionReader(in, 0, in.Size()), xz.DefaultDictMax)
	if err == nil {
		err = copyStream(ctx, out, r)
	}
	if err != nil {
		return fmt.Errorf("reading xz behind byte %d of the image: %w", out.n, err)
	}
	return nil
}
