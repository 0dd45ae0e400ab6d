package ext4

import (
	"encoding/binary"
	"math/bits"
)

const hashHalfMD4 = 1 // signed or unsigned by s_flags of the superblock

// nameHash is the half-MD4 directory hash with signed characters, page "directory" (the function
// itself is only in the kernel's fs/ext4/hash.c). The lowest bit is zero: the index uses it to
// mark a hash that continues from the block before.
func nameHash(seed [16]byte, name string) (major, minor uint32) {
	buf := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [16]byte{} {
		for i := range buf {
			buf[i] = binary.LittleEndian.Uint32(seed[4*i:])
		}
	}
	for {
		in := hashInput(name)
		halfMD4(&buf, &in)
		if len(name) <= 32 {
			break
		}
		name = name[32:]
	}
	major = buf[1] &^ 1
	if major == 0xFFFFFFFE { // the end of a directory
		major = 0xFFFFFFFC
	}
	return major, buf[2]
}

// hashInput packs up to 32 bytes, padded with the length of all that is left.
func hashInput(name string) (in [8]uint32) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	for i := range in {
		in[i] = pad
	}
	for i := range min(len(name), 32) {
		in[i/4] = uint32(int32(int8(name[i]))) + in[i/4]<<8
	}
	return in
}

// halfMD4 mixes in into buf: three rounds of eight steps each.
func halfMD4(buf *[4]uint32, in *[8]uint32) {
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	f := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	g := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	round := func(fn func(x, y, z uint32) uint32, key uint32, order [8]int, shift [4]int) {
		for i := 0; i < 8; i += 4 {
			a = bits.RotateLeft32(a+fn(b, c, d)+in[order[i]]+key, shift[0])
			d = bits.RotateLeft32(d+fn(a, b, c)+in[order[i+1]]+key, shift[1])
			c = bits.RotateLeft32(c+fn(d, a, b)+in[order[i+2]]+key, shift[2])
			b = bits.RotateLeft32(b+fn(c, d, a)+in[order[i+3]]+key, shift[3])
		}
	}
	round(f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19})
	round(g, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13})
	round(h, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15})
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
