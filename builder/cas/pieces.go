package cas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/disk/sparse"
)

const (
	// pieceSize is what one core hashes at a time of a large blob.
	pieceSize = 4 << 20
	// largeBlob is from where on a blob is hashed in pieces: smaller ones take a fraction of a second.
	largeBlob = 64 << 20

	piecesVersion = "cas.pieces/1"
)

// piecesKey is where the digests of a blob's pieces are. They were made of the same bytes, in the same pass,
// as a digest that was right: a blob whose pieces all have them has the bytes that it was stored with.
// Pieces can be hashed on all cores, and those of holes need not be.
func piecesKey(d Digest) Digest { return Of([]byte(piecesVersion + " " + string(d))) }

// checkPieces reports whether a large blob has the pieces that are on record. Without a record, or with
// another one, only the whole digest can tell.
func (s *Store) checkPieces(f *os.File, size int64, d Digest) bool {
	sums, ok, err := s.Result(piecesKey(d))
	count := (size + pieceSize - 1) / pieceSize
	if err != nil || !ok || int64(len(sums)) != count*sha256.Size {
		return false
	}
	data, err := sparse.Ranges(f, size)
	if err != nil {
		return false
	}
	zeros := sha256.Sum256(make([]byte, pieceSize))
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(runtime.NumCPU())
	for i := range count {
		at, want := i*pieceSize, sums[i*sha256.Size:][:sha256.Size]
		n := min(pieceSize, size-at)
		for len(data) > 0 && data[0].Offset+data[0].Length <= at {
			data = data[1:]
		}
		hole := n == pieceSize && (len(data) == 0 || data[0].Offset >= at+n)
		if hole && bytes.Equal(want, zeros[:]) {
			continue
		}
		g.Go(func() error { return checkPiece(ctx, io.NewSectionReader(f, at, n), want) })
	}
	return g.Wait() == nil
}

var errPiece = errors.New("the piece has another digest")

func checkPiece(ctx context.Context, r *io.SectionReader, want []byte) error {
	if err := ctx.Err(); err != nil {
		return err // another piece is damaged already
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 1<<18))
	if err == nil && (n != r.Size() || !bytes.Equal(h.Sum(nil), want)) {
		err = errPiece
	}
	return err
}

// hashPieces hashes a large blob as a whole and, on another core, its pieces.
func hashPieces(f *os.File, size int64) (whole Digest, sums []byte, err error) {
	all := sha256.New()
	sums = make([]byte, 0, (size+pieceSize-1)/pieceSize*sha256.Size)
	buffers := [2][]byte{make([]byte, pieceSize), make([]byte, pieceSize)}
	var behind errgroup.Group // hashes one piece while the next is read; it returns no error
	for at := int64(0); at < size; at += pieceSize {
		b := buffers[at/pieceSize%2][:min(pieceSize, size-at)]
		n, err := f.ReadAt(b, at)
		_ = behind.Wait()
		if n < len(b) {
			return "", nil, fmt.Errorf("reading byte %d of %d: %w", at+int64(n), size, err)
		}
		place := sums[len(sums) : len(sums)+sha256.Size]
		sums = sums[:len(sums)+sha256.Size]
		behind.Go(func() error { _, _ = all.Write(b); return nil })
		behind.Go(func() error { sum := sha256.Sum256(b); copy(place, sum[:]); return nil })
	}
	_ = behind.Wait()
	return FromSum(all.Sum(nil)), sums, nil
}
