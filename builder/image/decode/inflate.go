package decode

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// errDeflate says that deflated data contradicts itself.
var errDeflate = errors.New("the deflated data is damaged or ends too early")

const (
	maxCodeBits   = 15
	primaryBits   = 10 // codes up to here are found in one step
	literals      = 288
	distances     = 32
	endOfBlock    = 256
	huffmanSize   = 1<<primaryBits + literals<<(maxCodeBits-primaryBits)
	subTable      = 1 << 31 // flag of an entry that leads to longer codes
	codeLengths   = 19
	lengthSymbols = 29
)

// huffman finds symbols by the next bits of the input: an entry is the symbol, shifted by four,
// and the length of its code; 0 is no code.
type huffman [huffmanSize]uint32

// inflater decodes the deflate data of clusters (RFC 1951). Unlike a stream decoder it has all of
// the input and of the output before it, so it keeps no window and copies every byte once.
type inflater struct {
	in         []byte
	pos        int
	acc        uint64 // bits of the input that are next, the lowest first
	count      uint   // of them that were taken from in
	lit, dist  huffman
	litLengths [literals + distances]uint8
}

// inflate fills out and ignores what would follow, as QEMU does.
func (f *inflater) inflate(out, in []byte) error {
	f.in, f.pos, f.acc, f.count = in, 0, 0, 0
	for at, final := 0, false; at < len(out); {
		if final {
			return errDeflate
		}
		head, err := f.bits(3)
		if err != nil {
			return err
		}
		final = head&1 != 0
		switch head >> 1 {
		case 0:
			at, err = f.stored(out, at)
		case 1:
			f.fixed()
			at, err = f.block(out, at)
		case 2:
			if err = f.dynamic(); err == nil {
				at, err = f.block(out, at)
			}
		default:
			err = errDeflate
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refill takes bytes until there are at least 56 bits, or the input ends. What acc holds above
// count is part of the next byte, and is the same when it comes again.
func (f *inflater) refill() {
	if f.pos+8 <= len(f.in) {
		f.acc |= binary.LittleEndian.Uint64(f.in[f.pos:]) << (f.count & 63)
		f.pos += int(63-f.count) >> 3
		f.count |= 56
		return
	}
	for f.count < 56 && f.pos < len(f.in) {
		f.acc |= uint64(f.in[f.pos]) << (f.count & 63)
		f.pos++
		f.count += 8
	}
}

func (f *inflater) bits(n uint) (uint, error) {
	f.refill()
	if n > f.count {
		return 0, errDeflate
	}
	v := uint(f.acc & (1<<n - 1))
	f.acc >>= n
	f.count -= n
	return v, nil
}

func (f *inflater) stored(out []byte, at int) (int, error) {
	f.pos -= int(f.count / 8) // back to the byte behind the one that was begun
	f.acc, f.count = 0, 0
	if f.pos+4 > len(f.in) {
		return at, errDeflate
	}
	n, inverse := binary.LittleEndian.Uint16(f.in[f.pos:]), binary.LittleEndian.Uint16(f.in[f.pos+2:])
	f.pos += 4
	if n != ^inverse {
		return at, errDeflate
	}
	want := min(int(n), len(out)-at)
	got := copy(out[at:at+want], f.in[f.pos:])
	f.pos += got
	if got < want {
		return at, errDeflate
	}
	return at + got, nil
}

// fixed sets the codes of section 3.2.6.
func (f *inflater) fixed() {
	l := f.litLengths[:]
	for i := range literals {
		switch {
		case i < 144, i >= 280:
			l[i] = 8
		case i < 256:
			l[i] = 9
		default:
			l[i] = 7
		}
	}
	for i := range distances {
		l[literals+i] = 5
	}
	_ = f.lit.build(l[:literals]) // both are complete
	_ = f.dist.build(l[literals:])
}

// dynamic reads the codes of a block, section 3.2.7.
func (f *inflater) dynamic() error {
	head, err := f.bits(14)
	if err != nil {
		return err
	}
	nlit, ndist, n := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if nlit > 286 || ndist > 30 {
		return errDeflate
	}
	order := [codeLengths]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var lengths [codeLengths]uint8
	for _, i := range order[:n] {
		v, err := f.bits(3)
		if err != nil {
			return err
		}
		lengths[i] = uint8(v)
	}
	if err := f.lit.build(lengths[:]); err != nil {
		return err
	}
	if err := f.readLengths(f.litLengths[:nlit+ndist]); err != nil {
		return err
	}
	if err := f.dist.build(f.litLengths[nlit : nlit+ndist]); err != nil {
		return err
	}
	return f.lit.build(f.litLengths[:nlit])
}

// readLengths reads the lengths of codes, which are coded themselves.
func (f *inflater) readLengths(out []uint8) error {
	for i := 0; i < len(out); {
		f.refill()
		e := f.lit[f.acc&(1<<primaryBits-1)]
		n := uint(e & 15)
		if e == 0 || n > f.count {
			return errDeflate
		}
		f.acc >>= n
		f.count -= n
		symbol := e >> 4
		if symbol < 16 {
			out[i] = uint8(symbol)
			i++
			continue
		}
		repeat := [3]struct{ bits, least uint }{{2, 3}, {3, 3}, {7, 11}}[symbol-16]
		times, err := f.bits(repeat.bits)
		times += repeat.least
		if err != nil || symbol == 16 && i == 0 || i+int(times) > len(out) {
			return errDeflate
		}
		var value uint8
		if symbol == 16 {
			value = out[i-1]
		}
		for range times {
			out[i] = value
			i++
		}
	}
	return nil
}

// build makes the table of a canonical code. Codes that are given out twice are refused; a code
// that is not complete is found out when a symbol that has none is read.
func (h *huffman) build(lengths []uint8) error {
	var counts, next [maxCodeBits + 2]uint32
	longest := uint32(0)
	for _, n := range lengths {
		counts[n]++
		longest = max(longest, uint32(n))
	}
	counts[0] = 0
	code := uint32(0)
	for n := uint32(1); n <= maxCodeBits; n++ {
		code = (code + counts[n-1]) << 1
		next[n] = code
		if code+counts[n] > 1<<n {
			return errDeflate
		}
	}
	clear(h[:1<<primaryBits])
	free := uint32(1 << primaryBits)
	for symbol, length := range lengths {
		n := uint32(length)
		if n == 0 {
			continue
		}
		reversed := uint32(bits.Reverse16(uint16(next[n]))) >> (16 - n)
		next[n]++
		entry := uint32(symbol)<<4 | n
		if n <= primaryBits {
			for i := reversed; i < 1<<primaryBits; i += 1 << n {
				h[i] = entry
			}
			continue
		}
		first := &h[reversed&(1<<primaryBits-1)]
		if *first == 0 {
			*first = subTable | free
			clear(h[free : free+1<<(longest-primaryBits)])
			free += 1 << (longest - primaryBits)
		}
		sub := h[*first&^subTable:][:1<<(longest-primaryBits)]
		for i := reversed >> primaryBits; i < uint32(len(sub)); i += 1 << (n - primaryBits) {
			sub[i] = entry
		}
	}
	h[huffmanSize-1] = longest // the last entry is never needed: there are at most 286 symbols
	return nil
}

// long finds a code that is longer than primaryBits.
func (h *huffman) long(first uint32, acc uint64) uint32 {
	mask := uint64(1)<<(h[huffmanSize-1]-primaryBits) - 1
	return h[uint64(first&^subTable)+acc>>primaryBits&mask]
}

// lengthOf and distanceOf return what a symbol stands for, and its extra bits (section 3.2.5).
func lengthOf(symbol uint32) (base, extra uint32) {
	switch {
	case symbol < 8:
		return symbol + 3, 0
	case symbol == lengthSymbols-1:
		return 258, 0
	}
	extra = symbol/4 - 1
	return (4+symbol%4)<<extra + 3, extra
}

func distanceOf(symbol uint32) (base, extra uint32) {
	if symbol < 4 {
		return symbol + 1, 0
	}
	extra = symbol/2 - 1
	return (2+symbol%2)<<extra + 1, extra
}

// block decodes up to the end of a block or of out.
func (f *inflater) block(out []byte, at int) (int, error) {
	const mask = 1<<primaryBits - 1
	for at < len(out) {
		f.refill()
		acc, count := f.acc, f.count
		e := f.lit[acc&mask]
		for e < endOfBlock<<4 && e != 0 && count >= uint(e&15) && at < len(out) { // a run of literals
			acc >>= e & 15
			count -= uint(e & 15)
			out[at] = byte(e >> 4)
			at++
			if count < maxCodeBits {
				break
			}
			e = f.lit[acc&mask]
		}
		f.acc, f.count = acc, count
		if at == len(out) {
			break
		}
		if count < 48 { // a match takes up to 48 bits
			f.refill()
			e = f.lit[f.acc&mask]
		}
		var done bool
		var err error
		if at, done, err = f.symbol(out, at, e); done || err != nil {
			return at, err
		}
	}
	return at, nil
}

// symbol decodes what entry e begins: a literal, the end of the block, or a match.
func (f *inflater) symbol(out []byte, at int, e uint32) (int, bool, error) {
	if e&subTable != 0 {
		e = f.lit.long(e, f.acc)
	}
	n := uint(e & 15)
	if e == 0 || n > f.count {
		return at, true, errDeflate
	}
	f.acc >>= n
	f.count -= n
	symbol := e >> 4
	if symbol < endOfBlock {
		out[at] = byte(symbol)
		return at + 1, false, nil
	}
	if symbol == endOfBlock {
		return at, true, nil
	}
	if symbol -= endOfBlock + 1; symbol >= lengthSymbols {
		return at, true, errDeflate
	}
	length, extra := lengthOf(symbol)
	length += uint32(f.acc) & (1<<extra - 1)
	acc, used := f.acc>>extra, uint(extra)
	d := f.dist[acc&(1<<primaryBits-1)]
	if d&subTable != 0 {
		d = f.dist.long(d, acc)
	}
	if d == 0 || d>>4 >= 30 {
		return at, true, errDeflate
	}
	distance, more := distanceOf(d >> 4)
	acc >>= d & 15
	distance += uint32(acc) & (1<<more - 1)
	used += uint(d&15) + uint(more)
	if used > f.count || int(distance) > at {
		return at, true, errDeflate
	}
	f.acc = acc >> more
	f.count -= used
	size := min(int(length), len(out)-at)
	copyMatch(out, at, int(distance), size)
	return at + size, false, nil
}
