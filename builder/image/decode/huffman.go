package decode

import "math/bits"

const (
	maxCodeBits = 15
	primaryBits = 10 // codes up to here are found in one step
	literals    = 288
	distances   = 32
	endOfBlock  = 256
	huffmanSize = 1<<primaryBits + literals<<(maxCodeBits-primaryBits)
	codeLengths = 19
	maxMatch    = 258
)

// huffman finds symbols by the next bits of the input. Bits 0 to 3 of an entry are the length of its
// code, 8 to 11 how many extra bits follow, 16 to 30 the value: a literal, the least length or distance, the symbol of
// a code of lengths, or where the table of longer codes begins.
type huffman [huffmanSize]uint32

const (
	isLiteral  = 1 << 31
	isSubTable = 1 << 4
	isEnd      = 1 << 5
	isNothing  = 1 << 6 // no symbol has this code
	isSpecial  = isSubTable | isEnd | isNothing
	valueShift = 16
	extraShift = 8
	lengthMask = 15
)

// meanings are what a code's symbols stand for: entries without the lengths of their codes.
type meanings struct {
	literal  [literals]uint32
	distance [distances]uint32
	lengths  [codeLengths]uint32
}

// newMeanings are the tables of section 3.2.5.
func newMeanings() *meanings {
	var m meanings
	for i := range endOfBlock {
		m.literal[i] = isLiteral | uint32(i)<<valueShift
	}
	m.literal[endOfBlock] = isEnd
	for i := endOfBlock + 1; i < literals; i++ {
		m.literal[i] = lengthOf(uint32(i - endOfBlock - 1))
	}
	for i := range m.distance {
		m.distance[i] = distanceOf(uint32(i))
	}
	for i := range m.lengths {
		m.lengths[i] = uint32(i) << valueShift
	}
	return &m
}

// build makes the table of a canonical code. Codes that are given out twice are refused; a code
// that is not complete is found out when a symbol that has none is read.
func (h *huffman) build(lengths []uint8, meanings []uint32) error {
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
	vacate(h[:1<<primaryBits])
	free := uint32(1 << primaryBits)
	for symbol, length := range lengths {
		n := uint32(length)
		if n == 0 {
			continue
		}
		reversed := uint32(bits.Reverse16(uint16(next[n]))) >> (16 - n)
		next[n]++
		entry := meanings[symbol] | n
		if n <= primaryBits {
			for i := reversed; i < 1<<primaryBits; i += 1 << n {
				h[i] = entry
			}
			continue
		}
		first := &h[reversed&(1<<primaryBits-1)]
		if *first&isSubTable == 0 {
			*first = isSubTable | free<<valueShift
			vacate(h[free : free+1<<(longest-primaryBits)])
			free += 1 << (longest - primaryBits)
		}
		sub := h[*first>>valueShift:][:1<<(longest-primaryBits)]
		for i := reversed >> primaryBits; i < uint32(len(sub)); i += 1 << (n - primaryBits) {
			sub[i] = entry
		}
	}
	h[huffmanSize-1] = longest // the last entry is never needed: there are at most 286 symbols
	return nil
}

func vacate(h []uint32) {
	for i := range h {
		h[i] = isNothing
	}
}

// long finds a code that is longer than primaryBits.
func (h *huffman) long(first uint32, acc uint64) uint32 {
	mask := uint64(1)<<(h[huffmanSize-1]-primaryBits) - 1
	return h[uint64(first>>valueShift)+acc>>primaryBits&mask]
}

// lengthOf and distanceOf return the entry of a symbol (section 3.2.5).
func lengthOf(symbol uint32) uint32 {
	const last = 28
	switch {
	case symbol > last:
		return isNothing
	case symbol == last:
		return maxMatch << valueShift
	case symbol < 8:
		return (symbol + 3) << valueShift
	}
	extra := symbol/4 - 1
	return ((4+symbol%4)<<extra+3)<<valueShift | extra<<extraShift
}

func distanceOf(symbol uint32) uint32 {
	const last = 29
	switch {
	case symbol > last:
		return isNothing
	case symbol < 4:
		return (symbol + 1) << valueShift
	}
	extra := symbol/2 - 1
	return ((2+symbol%2)<<extra+1)<<valueShift | extra<<extraShift
}
