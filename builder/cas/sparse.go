package cas

import (
	"bytes"
	"fmt"
)

// holeSize is the unit of holes: what file systems allocate, and a multiple of it.
const holeSize = 4096

// SparseWriter is a Writer that leaves holes where there are zeros: blocks of 4 KiB, counted from
// the beginning of the blob. The digest is of all bytes, zeros included.
type SparseWriter struct {
	w    *Writer
	zero []byte
}

// CreateSparse begins a blob with holes. The caller ends it with Commit or Abort.
func (s *Store) CreateSparse() (*SparseWriter, error) {
	w, err := s.Create()
	if err != nil {
		return nil, err
	}
	return &SparseWriter{w: w, zero: make([]byte, 64<<10)}, nil
}

// Write adds bytes; runs of data are written at once, blocks of zeros are not.
func (s *SparseWriter) Write(p []byte) (int, error) {
	at := s.w.size
	if _, err := s.w.hash.Write(p); err != nil {
		return 0, fmt.Errorf("storing content: %w", err)
	}
	s.w.size += int64(len(p))
	for rest := p; len(rest) > 0; {
		data, hole := s.split(rest, at)
		if len(data) > 0 {
			if _, err := s.w.f.WriteAt(data, at); err != nil {
				return 0, fmt.Errorf("storing content: %w", err)
			}
		}
		at += int64(len(data) + hole)
		rest = rest[len(data)+hole:]
	}
	return len(p), nil
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
