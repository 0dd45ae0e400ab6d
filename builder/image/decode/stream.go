package decode

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	streamBuffer = 1 << 20
	// maxWindow is what `zstd --ultra --long` makes at most without a matching option for -d.
	maxWindow = 128 << 20
)

// unpackStream decodes gzip and zstd, from their beginning.
func unpackStream(ctx context.Context, out *counter, in input, format Format) error {
	r, err := openStream(io.NewSectionReader(in, 0, in.Size()), format)
	if err != nil {
		return fmt.Errorf("reading %s: %w", format, err)
	}
	defer r.Close()
	out.begin(-1)
	err = copyStream(ctx, out, r)
	out.task.Done(err)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file is cut off; fetch it again")
		}
		return fmt.Errorf("reading %s behind byte %d of the image: %w", format, out.n, err)
	}
	return nil
}

func openStream(r io.Reader, format Format) (io.ReadCloser, error) {
	if format == Gzip {
		return gzip.NewReader(r)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

func copyStream(ctx context.Context, out *counter, r io.Reader) error {
	buf := make([]byte, streamBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && endsWell(r) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// endsWell tells the short last read of io.ReadFull from a stream that is cut off: only a stream
// that is whole goes on to say that it is at its end.
func endsWell(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && errors.Is(err, io.EOF)
}
