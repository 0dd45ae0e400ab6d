package decode

import "errors"

// errLZMA says that compressed data contradicts itself.
var errLZMA = errors.New("the compressed data is damaged")

const (
	lzmaStates   = 16 // 12 are used; a power of two saves checks of bounds
	posStates    = 16
	literalSize  = 0x300
	maxLiteral   = 16 * literalSize // lc + lp is at most 4
	firstModel   = 4                // distance slots with a model of their low bits
	lastModel    = 14
	alignBits    = 4
	minMatch     = 2
	probInit     = 1 << 10
	probBits     = 11
	probMove     = 5
	zeroMove     = 1<<probBits - 1<<probMove + 1 // makes one formula of both moves of a probability
	rangeTop     = 1 << 24
	symbolBytes  = 24 // no symbol takes more bytes of input: 20 at most, as in liblzma
	specialProbs = 1<<7 - lastModel
)

// lzma decodes the LZMA chunks of a block. It writes into one slice, which is also its
// dictionary: without a ring buffer every byte is moved once, and a match is one copy.
// The format is LZMA2's, as XZ Embedded (xz_dec_lzma2.c) reads it.
type lzma struct {
	models
	rng, code uint32
	in        []byte // a chunk, followed by symbolBytes zeros
	pos       int
	state     uint32
	reps      [4]uint32
	lc        uint32
	lpMask    int
	pbMask    int
}

// setProps takes the byte with lc, lp and pb.
func (d *lzma) setProps(b byte) error {
	if b >= 225 {
		return errLZMA
	}
	lc, lp, pb := b%9, b/9%5, b/45
	if lc+lp > 4 {
		return errLZMA
	}
	d.lc, d.lpMask, d.pbMask = uint32(lc), 1<<lp-1, 1<<pb-1
	return nil
}

// begin starts the range decoder on a chunk.
func (d *lzma) begin(in []byte) error {
	if len(in) < 5+symbolBytes || in[0] != 0 {
		return errLZMA
	}
	d.in, d.pos, d.rng = in, 5, 0xffffffff
	d.code = uint32(in[1])<<24 | uint32(in[2])<<16 | uint32(in[3])<<8 | uint32(in[4])
	return nil
}

// finish checks that the chunk is used up.
func (d *lzma) finish() error {
	if d.rng < rangeTop {
		d.pos++ // the byte of the last normalisation
		d.code = d.code<<8 | uint32(d.in[d.pos-1])
	}
	if d.pos != len(d.in)-symbolBytes || d.code != 0 {
		return errLZMA
	}
	return nil
}

// run decodes from out[at] to out[end]. origin is where the dictionary began, and may be below
// zero when the window has moved on since. Literals are decoded here and not in functions of
// their own: they are most of the symbols, and so the decoder's state stays in registers.
func (d *lzma) run(out []byte, at, end, origin int) error {
	in, last := d.in, len(d.in)-symbolBytes
	floor := max(origin, 0)
	rng, code, pos, state := d.rng, d.code, d.pos, d.state
	for at < end {
		if pos > last {
			return errLZMA
		}
		where := at - origin
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[pos])
			pos++
		}
		p := &d.isMatch[state%lzmaStates][where&d.pbMask%posStates]
		v := uint32(*p)
		bound := rng >> probBits * v
		if code >= bound {
			*p = uint16(v - v>>probMove)
			d.rng, d.code, d.pos, d.state = rng-bound, code-bound, pos, state
			n := d.match(where & d.pbMask)
			rng, code, pos, state = d.rng, d.code, d.pos, d.state
			dist := int(d.reps[0]) + 1
			if dist > at-floor || n > end-at {
				return errLZMA
			}
			copyMatch(out, at, dist, n)
			at += n
			continue
		}
		*p = uint16(v + (1<<probBits-v)>>probMove)
		rng = bound
		var prev uint32
		if at > floor {
			prev = uint32(out[at-1])
		}
		index := (uint32(where&d.lpMask)<<d.lc | prev>>(8-d.lc)) * literalSize
		probs := (*[literalSize]uint16)(d.literal[index:])
		symbol := uint32(1)
		if state >= 7 { // behind a match comes a byte that would not have continued it
			dist := int(d.reps[0]) + 1
			if dist > at-floor {
				return errLZMA
			}
			match := uint32(out[at-dist])
			for symbol < 0x100 {
				match <<= 1
				bit := match & 0x100
				if rng < rangeTop {
					rng <<= 8
					code = code<<8 | uint32(in[pos])
					pos++
				}
				p := &probs[(0x100+bit+symbol)%1024]
				v := uint32(*p)
				bound := rng >> probBits * v
				if code < bound {
					*p = uint16(v + (1<<probBits-v)>>probMove)
					rng = bound
					symbol <<= 1
					if bit != 0 {
						break
					}
				} else {
					*p = uint16(v - v>>probMove)
					rng, code = rng-bound, code-bound
					symbol = symbol<<1 | 1
					if bit == 0 {
						break
					}
				}
			}
		}
		for symbol < 0x100 {
			if rng < rangeTop {
				rng <<= 8
				code = code<<8 | uint32(in[pos])
				pos++
			}
			v := uint32(probs[symbol])
			bound := rng >> probBits * v
			zero := uint32((int64(code) - int64(bound)) >> 63)
			probs[symbol] = uint16(v - uint32(int32(v-zero&zeroMove)>>probMove))
			rng = bound + (rng-2*bound)&^zero
			code -= bound &^ zero
			symbol = symbol<<1 + 1 + zero
		}
		out[at] = byte(symbol)
		at++
		state = afterLiteral[state%lzmaStates]
	}
	d.rng, d.code, d.pos, d.state = rng, code, pos, state
	return nil
}

// afterLiteral is the state that follows each state when a literal was decoded.
var afterLiteral = [lzmaStates]uint32{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

// copyMatch repeats n bytes from dist before at; they may overlap.
func copyMatch(out []byte, at, dist, n int) {
	if dist >= n {
		copy(out[at:at+n], out[at-dist:])
		return
	}
	if b := out[at-1]; dist == 1 && b == 0 {
		clear(out[at : at+n])
		return
	} else if dist == 1 && n < 32 {
		for i := range out[at : at+n] {
			out[at+i] = b
		}
		return
	}
	to, from := out[at:at+n], out[at-dist:at+n]
	for done := copy(to, from[:dist]); done < n; {
		done += copy(to[done:], from[dist:dist+done])
	}
}

// bit decodes one bit.
func (d *lzma) bit(p *uint16) uint32 {
	rng, code := d.rng, d.code
	if rng < rangeTop {
		rng <<= 8
		code = code<<8 | uint32(d.in[d.pos])
		d.pos++
	}
	v := uint32(*p)
	bound := rng >> probBits * v
	if code < bound {
		*p = uint16(v + (1<<probBits-v)>>probMove)
		d.rng, d.code = bound, code
		return 0
	}
	*p = uint16(v - v>>probMove)
	d.rng, d.code = rng-bound, code-bound
	return 1
}

// tree decodes as many bits as len(probs) has, the highest first. len(probs) is a power of two.
func (d *lzma) tree(probs []uint16) uint32 {
	rng, code, in, pos := d.rng, d.code, d.in, d.pos
	symbol := uint(1)
	for symbol < uint(len(probs)) {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[pos])
			pos++
		}
		p := &probs[symbol]
		v := uint32(*p)
		bound := rng >> probBits * v
		zero := uint32((int64(code) - int64(bound)) >> 63)
		*p = uint16(v - uint32(int32(v-zero&zeroMove)>>probMove))
		rng = bound + (rng-2*bound)&^zero
		code -= bound &^ zero
		symbol = symbol<<1 + uint(1+zero)
	}
	d.rng, d.code, d.pos = rng, code, pos
	return uint32(symbol - uint(len(probs)))
}

// reverse decodes n bits, the lowest first; the model of the first is probs[first].
func (d *lzma) reverse(probs []uint16, first, n uint32) (value uint32) {
	rng, code, in, pos := d.rng, d.code, d.in, d.pos
	symbol := uint32(1)
	for i := range n {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[pos])
			pos++
		}
		p := &probs[first+symbol-1]
		v := uint32(*p)
		bound := rng >> probBits * v
		zero := uint32((int64(code) - int64(bound)) >> 63)
		*p = uint16(v - uint32(int32(v-zero&zeroMove)>>probMove))
		rng = bound + (rng-2*bound)&^zero
		code -= bound &^ zero
		symbol = symbol<<1 + 1 + zero
		value |= (1 + zero) << (i & 31)
	}
	d.rng, d.code, d.pos = rng, code, pos
	return value
}

// direct decodes n bits of equal probability behind value.
func (d *lzma) direct(value, n uint32) uint32 {
	rng, code, in, pos := d.rng, d.code, d.in, d.pos
	for range n {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(in[pos])
			pos++
		}
		rng >>= 1
		code -= rng
		mask := -(code >> 31)
		code += rng & mask
		value = value<<1 + mask + 1
	}
	d.rng, d.code, d.pos = rng, code, pos
	return value
}

// match decodes the length and, into reps[0], the distance of a match.
func (d *lzma) match(pos int) int {
	if d.bit(&d.isRep[d.state]) != 0 {
		return d.repeat(pos)
	}
	d.state = pick(d.state < 7, 7, 10)
	d.reps[3], d.reps[2], d.reps[1] = d.reps[2], d.reps[1], d.reps[0]
	n := d.length(&d.matchLen, pos)
	slot := d.tree(d.slot[min(n-minMatch, 3)][:])
	if slot < firstModel {
		d.reps[0] = slot
		return n
	}
	bits := slot>>1 - 1
	base := 2 + slot&1
	if slot < lastModel {
		base <<= bits
		d.reps[0] = base + d.reverse(d.special[:], base-slot, bits)
		return n
	}
	d.reps[0] = d.direct(base, bits-alignBits)<<alignBits + d.reverse(d.align[:], 1, alignBits)
	return n
}

// repeat decodes a match at one of the last four distances.
func (d *lzma) repeat(pos int) int {
	s := d.state
	if d.bit(&d.isRep0[s]) == 0 {
		if d.bit(&d.isRep0Long[s][pos]) == 0 {
			d.state = pick(s < 7, 9, 11)
			return 1
		}
	} else {
		i := 1
		if d.bit(&d.isRep1[s]) != 0 {
			i = 2 + int(d.bit(&d.isRep2[s]))
		}
		dist := d.reps[i]
		copy(d.reps[1:i+1], d.reps[:i])
		d.reps[0] = dist
	}
	d.state = pick(s < 7, 8, 11)
	return d.length(&d.repLen, pos)
}

func pick(first bool, a, b uint32) uint32 {
	if first {
		return a
	}
	return b
}

func (d *lzma) length(l *lengthModel, pos int) int {
	switch {
	case d.bit(&l.choice) == 0:
		return minMatch + int(d.tree(l.low[pos][:]))
	case d.bit(&l.choice2) == 0:
		return minMatch + 8 + int(d.tree(l.mid[pos][:]))
	}
	return minMatch + 16 + int(d.tree(l.high[:]))
}
