package cas

import (
	"bytes"
	"fmt"
	"syscall"
)

// holeSize is the unit of holes: what file systems allocate, and a multiple of it.
const holeSize = 4096

// SparseWriter is a Writer that leaves holes where there are zeros: blocks of 4 KiB, counted from
// the beginning of the blob. The digest is of all bytes, zeros included.
type SparseWriter struct {
	w    *Writer
	zero []byte
}

// CreateSparse begins a blob with holes. The caller ends it with Commit or Abort. Such a blob is an
// image that was decoded: gigabytes that can be made again. Commit does not wait until they are on
// the disk, which takes longer than decoding; what a power cut leaves is found by Intact.
func (s *Store) CreateSparse() (*SparseWriter, error) {
	w, err := s.Create()
	if err != nil {
		return nil, err
	}
	w.lazy = true
	return &SparseWriter{w: w, zero: make([]byte, 64<<10)}, nil
}

// Write adds bytes; runs of data are written at once, blocks of zeros are not.
func (s *SparseWriter) Write(p []byte) (int, error) {
	if err := s.Place(p, s.w.size); err != nil {
		return 0, err
	}
	return len(p), s.Sum(p)
}

// Place writes bytes that Sum will add when it is their turn. Several goroutines may place at once:
// only the digest has to be made in order.
func (s *SparseWriter) Place(p []byte, at int64) error {
	for len(p) > 0 {
		data, hole := s.split(p, at)
		if len(data) > 0 {
			if err := s.writeRun(data, at); err != nil {
				return fmt.Errorf("storing content: %w", err)
			}
		}
		at += int64(len(data) + hole)
		p = p[len(data)+hole:]
	}
	return nil
}

// Sum adds bytes that were placed at the end of what was added so far.
func (s *SparseWriter) Sum(p []byte) error {
	if _, err := s.w.hash.Write(p); err != nil {
		return fmt.Errorf("storing content: %w", err)
	}
	s.w.size += int64(len(p))
	return nil
}

// longRun is from where on a run of data gets its room on the disk at once: otherwise the file system
// looks for it page by page, which takes longer than decoding does.
const longRun = 128 << 10

// keepSize is FALLOC_FL_KEEP_SIZE of fallocate(2).
const keepSize = 1

func (s *SparseWriter) writeRun(data []byte, at int64) error {
	if len(data) >= longRun {
		_ = syscall.Fallocate(int(s.w.f.Fd()), keepSize, at, int64(len(data))) // only a help: not every file system can
	}
	_, err := s.w.f.WriteAt(data, at)
	return err
}

// split returns the data at the beginning of p, which lies at an offset of the blob, and the
// length of the zeros behind it.
func (s *SparseWriter) split(p []byte, at int64) (data []byte, hole int) {
	n := 0
	for n < len(p) {
		block := s.block(p[n:], at+int64(n))
		if bytes.Equal(block, s.zero[:len(block)]) {
			hole = len(block)
			break
		}
		n += len(block)
	}
	for hole > 0 && n+hole < len(p) {
		block := s.block(p[n+hole:], at+int64(n+hole))
		if !bytes.Equal(block, s.zero[:len(block)]) {
			break
		}
		hole += len(block)
	}
	return p[:n], hole
}

// block cuts p at the next boundary of a block.
func (s *SparseWriter) block(p []byte, at int64) []byte {
	return p[:min(int64(len(p)), holeSize-at%holeSize)]
}

// Skip adds n zeros.
func (s *SparseWriter) Skip(n int64) error {
	for n > 0 {
		part := s.zero[:min(n, int64(len(s.zero)))]
		if _, err := s.w.hash.Write(part); err != nil {
			return fmt.Errorf("storing content: %w", err)
		}
		s.w.size += int64(len(part))
		n -= int64(len(part))
	}
	return nil
}

// Size returns the number of bytes so far, holes included.
func (s *SparseWriter) Size() int64 { return s.w.size }

// Commit makes the blob visible under its digest.
func (s *SparseWriter) Commit() (Digest, error) {
	if err := s.w.f.Truncate(s.w.size); err != nil {
		return "", fmt.Errorf("storing content: %w", err)
	}
	return s.w.Commit()
}

// Abort drops what was written.
func (s *SparseWriter) Abort() { s.w.Abort() }
