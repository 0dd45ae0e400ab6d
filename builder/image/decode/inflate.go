package decode

import (
	"encoding/binary"
	"errors"
)

// errDeflate says that deflated data contradicts itself.
var errDeflate = errors.New("the deflated data is damaged or ends too early")

// wordSlack is how many bytes a match is copied by, and so how many may be written behind its end.
const wordSlack = 16

// inflater decodes the deflate data of clusters (RFC 1951). Unlike a stream decoder it has all of
// the input and of the output before it, so it keeps no window and copies every byte once.
type inflater struct {
	in         []byte
	pos        int
	acc        uint64 // bits of the input that are next, the lowest first
	count      uint   // of them that were taken from in
	lit, dist  huffman
	meanings   *meanings
	litLengths [literals + distances]uint8
}

// inflate fills out and ignores what would follow, as QEMU does.
func (f *inflater) inflate(out, in []byte) error {
	if f.meanings == nil {
		f.meanings = newMeanings()
	}
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
	_ = f.lit.build(l[:literals], f.meanings.literal[:]) // both are complete
	_ = f.dist.build(l[literals:], f.meanings.distance[:])
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
	if err := f.lit.build(lengths[:], f.meanings.lengths[:]); err != nil {
		return err
	}
	if err := f.readLengths(f.litLengths[:nlit+ndist]); err != nil {
		return err
	}
	if err := f.dist.build(f.litLengths[nlit:nlit+ndist], f.meanings.distance[:]); err != nil {
		return err
	}
	return f.lit.build(f.litLengths[:nlit], f.meanings.literal[:])
}

// readLengths reads the lengths of codes, which are coded themselves.
func (f *inflater) readLengths(out []uint8) error {
	for i := 0; i < len(out); {
		f.refill()
		e := f.lit[f.acc&(1<<primaryBits-1)]
		n := uint(e & lengthMask)
		if e&isSpecial != 0 || n > f.count {
			return errDeflate
		}
		f.acc >>= n
		f.count -= n
		symbol := e >> valueShift
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

// block decodes up to the end of a block or of out.
func (f *inflater) block(out []byte, at int) (int, error) {
	at, done, err := f.fast(out, at)
	for at < len(out) && !done && err == nil {
		at, done, err = f.symbol(out, at)
	}
	return at, err
}

// fast decodes as long as there is input for any symbol and room for any match, so that
// nothing has to be checked in between, and keeps its state in registers. The rest is symbol's.
func (f *inflater) fast(out []byte, at int) (_ int, done bool, err error) {
	const mask = 1<<primaryBits - 1
	in, pos, acc, count := f.in, f.pos, f.acc, f.count
	lit, dist := &f.lit, &f.dist
	for at < len(out)-maxMatch-wordSlack && pos < len(in)-16 {
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (count & 63)
		pos += int(63-count) >> 3
		count |= 56
		e := lit[acc&mask]
		for e&isLiteral != 0 { // 56 bits are at least 3 literals, whose codes are short, and the code of what follows
			acc >>= e & lengthMask
			count -= uint(e & lengthMask)
			out[at] = byte(e >> valueShift)
			at++
			if e = lit[acc&mask]; count < 2*maxCodeBits {
				break
			}
		}
		if e&isLiteral != 0 {
			continue
		}
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (count & 63)
		pos += int(63-count) >> 3
		count |= 56
		if e&isSpecial != 0 {
			if e&isSubTable != 0 {
				e = lit.long(e, acc)
			}
			if e&isLiteral != 0 {
				acc >>= e & lengthMask
				count -= uint(e & lengthMask)
				out[at] = byte(e >> valueShift)
				at++
				continue
			}
			if e&isSpecial != 0 {
				if done = e&isNothing == 0; !done {
					err = errDeflate
				}
				acc >>= e & lengthMask
				count -= uint(e & lengthMask)
				break
			}
		}
		acc >>= e & lengthMask
		extra := e >> extraShift & lengthMask
		length := int(e>>valueShift) + int(acc&(1<<extra-1))
		acc >>= extra
		d := dist[acc&mask]
		if d&isSpecial != 0 {
			if d&isSubTable != 0 {
				d = dist.long(d, acc)
			}
			if d&isSpecial != 0 {
				err = errDeflate
				break
			}
		}
		acc >>= d & lengthMask
		more := d >> extraShift & lengthMask
		distance := int(d>>valueShift) + int(acc&(1<<more-1))
		acc >>= more
		count -= uint(e&lengthMask + extra + d&lengthMask + more)
		if distance > at {
			err = errDeflate
			break
		}
		if distance < wordSlack || length > 4*wordSlack {
			copyMatch(out, at, distance, length)
		} else {
			for to, end := at, at+length; to < end; to += wordSlack {
				*(*[wordSlack]byte)(out[to:]) = *(*[wordSlack]byte)(out[to-distance:])
			}
		}
		at += length
	}
	f.pos, f.acc, f.count = pos, acc, count
	return at, done, err
}

// symbol decodes a literal, the end of the block, or a match.
func (f *inflater) symbol(out []byte, at int) (int, bool, error) {
	const mask = 1<<primaryBits - 1
	f.refill()
	e := f.lit[f.acc&mask]
	if e&isSubTable != 0 {
		e = f.lit.long(e, f.acc)
	}
	n := uint(e & lengthMask)
	if e&isNothing != 0 || n > f.count {
		return at, true, errDeflate
	}
	f.acc >>= n
	f.count -= n
	if e&isLiteral != 0 {
		out[at] = byte(e >> valueShift)
		return at + 1, false, nil
	}
	if e&isEnd != 0 {
		return at, true, nil
	}
	length, acc, used := f.value(e, f.acc)
	d := f.dist[acc&mask]
	if d&isSubTable != 0 {
		d = f.dist.long(d, acc)
	}
	if d&isNothing != 0 {
		return at, true, errDeflate
	}
	distance, acc, more := f.value(d, acc>>(d&lengthMask))
	used += more + uint(d&lengthMask)
	if used > f.count || distance > at {
		return at, true, errDeflate
	}
	f.acc = acc
	f.count -= used
	size := min(length, len(out)-at)
	copyMatch(out, at, distance, size)
	return at + size, false, nil
}

// value adds the extra bits of an entry to its value.
func (f *inflater) value(e uint32, acc uint64) (value int, rest uint64, used uint) {
	extra := e >> extraShift & lengthMask
	return int(e>>valueShift) + int(acc&(1<<extra-1)), acc >> extra, uint(extra)
}
