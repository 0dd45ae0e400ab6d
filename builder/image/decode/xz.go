package decode

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// Sizes and codes of the .xz file format 1.2.0.
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	maxIndex     = 64 << 20  // of one stream: more than two million blocks
	maxHeader    = 1024      // of a block
	maxDict      = 256 << 20 // a window of this size at most: xz's largest preset has 64 MiB, and a bake has 512 MiB
	maxRoom      = 16 << 20  // behind a window
	filterLZMA2  = 0x21

	checkNone   = 0
	checkCRC32  = 1
	checkCRC64  = 4
	checkSHA256 = 10
)

// errTooMuch becomes a LimitError.
var errTooMuch = errors.New("it unpacks to too much")

func xzMagic() []byte       { return []byte("\xfd7zXZ\x00") }
func xzFooterMagic() []byte { return []byte("YZ") }

// xzBlock is one block of a stream. Places and sizes are in bytes.
type xzBlock struct {
	number   int // in the file, from 1
	at       int64
	unpadded int64 // header, data and check, without the padding behind the data
	size     int64 // uncompressed
	check    byte
	header   blockHeader
}

// readXZ lists the blocks of all streams of a file. A file that is cut off has no footer and is
// found out here, before anything is decoded.
func readXZ(r io.ReaderAt, size, limit int64) ([]xzBlock, error) {
	var streams [][]xzBlock
	for end := size; end > 0; {
		var err error
		if end, err = skipPadding(r, end); err != nil {
			return nil, err
		}
		var blocks []xzBlock
		if blocks, end, err = readStream(r, end, limit); err != nil {
			return nil, err
		}
		for _, b := range blocks {
			limit -= b.size
		}
		streams = append(streams, blocks)
	}
	var all []xzBlock
	for i := len(streams) - 1; i >= 0; i-- {
		all = append(all, streams[i]...)
	}
	for i := range all {
		all[i].number = i + 1
	}
	return all, nil
}

// skipPadding goes back over zeros, which come in fours.
func skipPadding(r io.ReaderAt, end int64) (int64, error) {
	buf := make([]byte, 4096)
	for end > 0 {
		part := buf[:min(int64(len(buf)), end)]
		if _, err := r.ReadAt(part, end-int64(len(part))); err != nil {
			return 0, fmt.Errorf("reading xz: %w", err)
		}
		rest := len(bytes.TrimRight(part, "\x00"))
		end -= int64((len(part) - rest) / 4 * 4)
		if rest > 0 {
			break
		}
	}
	if end < xzHeaderSize+xzFooterSize {
		return 0, errors.New("reading xz: the file is cut off: it has no room for a stream before its padding; fetch it again")
	}
	return end, nil
}

// readStream reads footer, index and header of the stream that ends at end, in this order, and
// returns where it begins.
func readStream(r io.ReaderAt, end, limit int64) ([]xzBlock, int64, error) {
	var f [xzFooterSize]byte
	if _, err := r.ReadAt(f[:], end-xzFooterSize); err != nil {
		return nil, 0, fmt.Errorf("reading xz: %w", err)
	}
	le := binary.LittleEndian
	if !bytes.Equal(f[10:], xzFooterMagic()) || crc32.ChecksumIEEE(f[4:10]) != le.Uint32(f[:]) || f[8] != 0 || f[9]&0xf0 != 0 {
		return nil, 0, fmt.Errorf("reading xz: there is no stream footer before byte %d: the file is cut off or damaged; fetch it again", end)
	}
	indexSize := (int64(le.Uint32(f[4:])) + 1) * 4
	indexAt := end - xzFooterSize - indexSize
	if indexSize > maxIndex || indexAt < xzHeaderSize {
		return nil, 0, fmt.Errorf("reading xz: an index of %d bytes before byte %d is out of range", indexSize, end)
	}
	raw := make([]byte, indexSize)
	if _, err := r.ReadAt(raw, indexAt); err != nil {
		return nil, 0, fmt.Errorf("reading xz index: %w", err)
	}
	blocks, err := parseIndex(raw, indexAt, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("reading xz index at byte %d: %w", indexAt, err)
	}
	start := indexAt
	for i := len(blocks) - 1; i >= 0; i-- {
		start -= (blocks[i].unpadded + 3) / 4 * 4
		blocks[i].at, blocks[i].check = start, f[9]
	}
	return blocks, start - xzHeaderSize, checkHeader(r, start-xzHeaderSize, f[8:10])
}

func checkHeader(r io.ReaderAt, at int64, flags []byte) error {
	var h [xzHeaderSize]byte
	if _, err := r.ReadAt(h[:], at); err != nil {
		return fmt.Errorf("reading xz stream header: %w", err)
	}
	if !bytes.Equal(h[:6], xzMagic()) || !bytes.Equal(h[6:8], flags) || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return fmt.Errorf("reading xz stream header at byte %d: it is damaged or not where the index says", at)
	}
	switch flags[1] {
	case checkNone, checkCRC32, checkCRC64, checkSHA256:
		return nil
	}
	return fmt.Errorf("reading xz stream header at byte %d: check type %d is not known", at, flags[1])
}

// parseIndex reads the list of blocks of a stream whose blocks and header have before bytes.
func parseIndex(raw []byte, before, limit int64) ([]xzBlock, error) {
	body := len(raw) - 4
	if crc32.ChecksumIEEE(raw[:body]) != binary.LittleEndian.Uint32(raw[body:]) {
		return nil, errors.New("its checksum is wrong")
	}
	in := bytes.NewReader(raw[:body])
	if mark, err := in.ReadByte(); err != nil || mark != 0 {
		return nil, errors.New("it has no index mark")
	}
	count, err := xzNumber(in)
	if err != nil || count > int64(len(raw))/2 {
		return nil, fmt.Errorf("%d blocks are too many", count)
	}
	blocks := make([]xzBlock, 0, count)
	left := before - xzHeaderSize
	for i := range count {
		var b xzBlock
		var more error
		b.unpadded, err = xzNumber(in)
		b.size, more = xzNumber(in)
		if err != nil || more != nil || b.unpadded < 5 || b.unpadded > left {
			return nil, fmt.Errorf("block %d of %d bytes is out of range", i+1, b.unpadded)
		}
		left -= (b.unpadded + 3) / 4 * 4
		if limit -= b.size; limit < 0 {
			return nil, errTooMuch
		}
		blocks = append(blocks, b)
	}
	if left < 0 {
		return nil, errors.New("its blocks are larger than the file")
	}
	for in.Len() > 0 {
		if pad, _ := in.ReadByte(); pad != 0 || in.Len() > 3 {
			return nil, errors.New("it does not end where it should")
		}
	}
	return blocks, nil
}

const maxNumberBytes = 9

// xzNumber reads an integer of seven bits a byte, the lowest first.
func xzNumber(in io.ByteReader) (int64, error) {
	var n int64
	for i := range maxNumberBytes {
		b, err := in.ReadByte()
		if err != nil || b == 0 && i > 0 {
			return 0, errLZMA
		}
		n |= int64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, errLZMA
}

// blockHeader is what a block says about itself.
type blockHeader struct {
	size int64 // of the header
	dict int   // bytes; 0 when there are filters besides LZMA2
}

func readBlockHeader(r io.ReaderAt, b xzBlock) (blockHeader, error) {
	var h [maxHeader]byte
	n, err := r.ReadAt(h[:min(maxHeader, b.unpadded)], b.at)
	if err != nil {
		return blockHeader{}, err
	}
	size := (int(h[0]) + 1) * 4
	if h[0] == 0 || size > n || crc32.ChecksumIEEE(h[:size-4]) != binary.LittleEndian.Uint32(h[size-4:size]) {
		return blockHeader{}, errors.New("its header is damaged")
	}
	in := bytes.NewReader(h[2 : size-4])
	out := blockHeader{size: int64(size)}
	wants := []int64{b.unpadded - out.size - checkSize(b.check), b.size}
	for i, want := range wants {
		if h[1]&(0x40<<i) == 0 {
			continue
		}
		if got, err := xzNumber(in); err != nil || got != want {
			return out, fmt.Errorf("its header says %d bytes and the index %d", got, want)
		}
	}
	if wants[0] < 1 || h[1]&0x3c != 0 {
		return out, errors.New("its header is damaged")
	}
	if h[1]&3 != 0 { // more than one filter
		return out, nil
	}
	out.dict, err = lzma2Dict(in)
	return out, err
}

// lzma2Dict reads the only filter; the size of its dictionary is 2 or 3 times a power of two.
func lzma2Dict(in *bytes.Reader) (int, error) {
	id, err := xzNumber(in)
	if err != nil || id != filterLZMA2 {
		return 0, fmt.Errorf("its filter %#x is not LZMA2", id)
	}
	length, _ := in.ReadByte()
	code, err := in.ReadByte()
	if err != nil || length != 1 || code > 40 {
		return 0, errors.New("its filter is damaged")
	}
	dict := int64(2|code&1) << (code/2 + 11)
	if dict > maxDict {
		return 0, fmt.Errorf("its dictionary of %d bytes is larger than the allowed %d", dict, maxDict)
	}
	return int(dict), nil
}

func checkSize(check byte) int64 {
	sizes := map[byte]int64{checkCRC32: 4, checkCRC64: 8, checkSHA256: 32}
	return sizes[check]
}

// sum is the running check of a block.
type sum struct {
	hash.Hash
	kind byte
}

func newSum(kind byte, ecma *ecma) sum {
	switch kind {
	case checkCRC32:
		return sum{crc32.NewIEEE(), kind}
	case checkCRC64:
		return sum{ecma.new(), kind}
	case checkSHA256:
		return sum{sha256.New(), kind}
	}
	return sum{nil, kind}
}

func (s sum) add(p []byte) {
	if s.Hash != nil {
		_, _ = s.Write(p) // a hash takes everything
	}
}

// verify compares with the check that is stored; CRCs are little-endian there.
func (s sum) verify(stored []byte) error {
	if s.Hash == nil {
		return nil
	}
	got := s.Sum(nil)
	if s.kind != checkSHA256 {
		for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
			got[i], got[j] = got[j], got[i]
		}
	}
	if !bytes.Equal(got, stored) {
		return fmt.Errorf("its check is %x and the file says %x: the file is damaged; fetch it again", got, stored)
	}
	return nil
}

// xzDecoder decodes blocks, one after the other; each worker has its own.
type xzDecoder struct {
	r     io.ReaderAt
	ecma  *ecma
	block block
	in    *bufio.Reader
}

func newXZDecoder(r io.ReaderAt) *xzDecoder {
	return &xzDecoder{r: r, ecma: newECMA(), in: bufio.NewReaderSize(nil, 128<<10)}
}

// whole decodes b into buf, which has its size.
func (d *xzDecoder) whole(b xzBlock, buf []byte) error {
	d.block.window = buf
	s := newSum(b.check, d.ecma)
	return d.data(b, nil, s)
}

// stream decodes b piece by piece with a window of its dictionary.
func (d *xzDecoder) stream(ctx context.Context, b xzBlock, emit func([]byte) error) error {
	dict := int(min(int64(b.header.dict), b.size))
	// The more room behind the dictionary, the fewer times it is moved.
	if need := dict + max(2*maxChunk, min(dict, maxRoom)); len(d.block.window) < need {
		d.block.window = make([]byte, need)
	}
	s := newSum(b.check, d.ecma)
	var n int64
	return d.data(b, func(p []byte) error {
		if n += int64(len(p)); n > b.size {
			return fmt.Errorf("%w: it holds more than the index says", errLZMA)
		}
		s.add(p)
		if err := ctx.Err(); err != nil {
			return err
		}
		return emit(p)
	}, s)
}

// data decodes the compressed part of b and compares its check.
func (d *xzDecoder) data(b xzBlock, emit func([]byte) error, s sum) error {
	h := b.header
	length := b.unpadded - h.size - checkSize(b.check)
	section := io.NewSectionReader(d.r, b.at+h.size, length)
	d.in.Reset(section)
	d.block.total = 0
	if err := d.block.decodeLZMA2(d.in, h.dict, emit); err != nil {
		return err
	}
	if left := d.in.Buffered(); left > 0 {
		return fmt.Errorf("%w: data follows its end", errLZMA)
	}
	if d.block.total != b.size {
		return fmt.Errorf("it has %d bytes and the index says %d", d.block.total, b.size)
	}
	if emit == nil {
		s.add(d.block.window)
	}
	stored := make([]byte, checkSize(b.check))
	at := b.at + h.size + (length+3)/4*4 // the data is padded with zeros
	if _, err := d.r.ReadAt(stored, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.verify(stored)
}
