#include "textflag.h"

// Sixteen messages, word by word: lane n of each register belongs to message n.
//
// Registers: Z0 to Z7 are the working variables a to h, Z8 to Z23 sixteen words of the schedule, Z24 to Z27 are for passing.

#define XOR3(x, y, z) VPTERNLOGD $0x96, z, y, x

// ROUND is one round with the schedule's word w; AX is at the constants of sixteen rounds.
#define ROUND(i, a, b, c, d, e, f, g, h, w) \
	VPADDD.BCST (i*4)(AX), w, Z24; \
	VPADDD Z24, h, h; \
	VPRORD $6, e, Z25; \
	VPRORD $11, e, Z26; \
	VPRORD $25, e, Z27; \
	XOR3(Z25, Z26, Z27); \
	VMOVDQA32 e, Z24; \
	VPTERNLOGD $0xca, g, f, Z24; \
	VPADDD Z24, h, h; \
	VPADDD Z25, h, h; \
	VPADDD h, d, d; \
	VPRORD $2, a, Z25; \
	VPRORD $13, a, Z26; \
	VPRORD $22, a, Z27; \
	XOR3(Z25, Z26, Z27); \
	VMOVDQA32 a, Z24; \
	VPTERNLOGD $0xe8, c, b, Z24; \
	VPADDD Z24, h, h; \
	VPADDD Z25, h, h

// NEXT makes of word t, w0, word t+16.
#define NEXT(w0, w1, w9, w14) \
	VPRORD $7, w1, Z25; \
	VPRORD $18, w1, Z26; \
	VPSRLD $3, w1, Z27; \
	XOR3(Z25, Z26, Z27); \
	VPADDD w9, w0, w0; \
	VPRORD $17, w14, Z24; \
	VPRORD $19, w14, Z26; \
	VPSRLD $10, w14, Z27; \
	XOR3(Z24, Z26, Z27); \
	VPADDD Z25, w0, w0; \
	VPADDD Z24, w0, w0

// LOAD reads a block of message i: its words, in the order of the machine.
#define LOAD(i, w) \
	MOVQ (i*8)(SI), BX; \
	VMOVDQU32 (BX)(DX*1), w; \
	VPSHUFB Z28, w, w

// WORDS exchanges words of two rows, PAIRS pairs of words, QUADS quarters of the registers: with steps of 1, 2, 4 and 8
// rows they turn sixteen rows of a message each into sixteen rows of a word each.
#define WORDS(x, y) \
	VPUNPCKLDQ y, x, Z24; \
	VPUNPCKHDQ y, x, y; \
	VMOVDQA32 Z24, x

#define PAIRS(x, y) \
	VPUNPCKLQDQ y, x, Z24; \
	VPUNPCKHQDQ y, x, y; \
	VMOVDQA32 Z24, x

#define QUADS(x, y) \
	VSHUFI32X4 $0x88, y, x, Z24; \
	VSHUFI32X4 $0xdd, y, x, y; \
	VMOVDQA32 Z24, x

// func block16(states *[8][16]uint32, messages *[16]*byte, blocks int)
// FIPS 180-4, section 6.2.2. It needs AVX-512 F and BW.
TEXT ·block16(SB), NOSPLIT, $0-24
	MOVQ states+0(FP), DI
	MOVQ messages+8(FP), SI
	MOVQ blocks+16(FP), CX
	VBROADCASTI32X4 ·reverse(SB), Z28
	XORQ DX, DX
	VMOVDQU32 0(DI), Z0
	VMOVDQU32 64(DI), Z1
	VMOVDQU32 128(DI), Z2
	VMOVDQU32 192(DI), Z3
	VMOVDQU32 256(DI), Z4
	VMOVDQU32 320(DI), Z5
	VMOVDQU32 384(DI), Z6
	VMOVDQU32 448(DI), Z7
	TESTQ CX, CX
	JZ done

block:
	LOAD(0, Z8)
	LOAD(1, Z9)
	LOAD(2, Z10)
	LOAD(3, Z11)
	LOAD(4, Z12)
	LOAD(5, Z13)
	LOAD(6, Z14)
	LOAD(7, Z15)
	LOAD(8, Z16)
	LOAD(9, Z17)
	LOAD(10, Z18)
	LOAD(11, Z19)
	LOAD(12, Z20)
	LOAD(13, Z21)
	LOAD(14, Z22)
	LOAD(15, Z23)
	WORDS(Z8, Z9)
	WORDS(Z10, Z11)
	WORDS(Z12, Z13)
	WORDS(Z14, Z15)
	WORDS(Z16, Z17)
	WORDS(Z18, Z19)
	WORDS(Z20, Z21)
	WORDS(Z22, Z23)
	PAIRS(Z8, Z10)
	PAIRS(Z9, Z11)
	PAIRS(Z12, Z14)
	PAIRS(Z13, Z15)
	PAIRS(Z16, Z18)
	PAIRS(Z17, Z19)
	PAIRS(Z20, Z22)
	PAIRS(Z21, Z23)
	QUADS(Z8, Z12)
	QUADS(Z9, Z13)
	QUADS(Z10, Z14)
	QUADS(Z11, Z15)
	QUADS(Z16, Z20)
	QUADS(Z17, Z21)
	QUADS(Z18, Z22)
	QUADS(Z19, Z23)
	QUADS(Z8, Z16)
	QUADS(Z9, Z17)
	QUADS(Z10, Z18)
	QUADS(Z11, Z19)
	QUADS(Z12, Z20)
	QUADS(Z13, Z21)
	QUADS(Z14, Z22)
	QUADS(Z15, Z23)
	LEAQ ·constants(SB), AX
	MOVQ $3, R8

rounds:
	ROUND(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)
	NEXT(Z8, Z10, Z18, Z21)
	ROUND(1, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z10)
	NEXT(Z10, Z9, Z17, Z23)
	ROUND(2, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z9)
	NEXT(Z9, Z11, Z19, Z8)
	ROUND(3, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z11)
	NEXT(Z11, Z12, Z20, Z10)
	ROUND(4, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z12)
	NEXT(Z12, Z14, Z22, Z9)
	ROUND(5, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z14)
	NEXT(Z14, Z13, Z21, Z11)
	ROUND(6, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z13)
	NEXT(Z13, Z15, Z23, Z12)
	ROUND(7, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z15)
	NEXT(Z15, Z16, Z8, Z14)
	ROUND(8, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z16)
	NEXT(Z16, Z18, Z10, Z13)
	ROUND(9, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z18)
	NEXT(Z18, Z17, Z9, Z15)
	ROUND(10, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z17)
	NEXT(Z17, Z19, Z11, Z16)
	ROUND(11, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z19)
	NEXT(Z19, Z20, Z12, Z18)
	ROUND(12, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z20)
	NEXT(Z20, Z22, Z14, Z17)
	ROUND(13, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z22)
	NEXT(Z22, Z21, Z13, Z19)
	ROUND(14, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z21)
	NEXT(Z21, Z23, Z15, Z20)
	ROUND(15, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z23)
	NEXT(Z23, Z8, Z16, Z22)
	ADDQ $64, AX
	DECQ R8
	JNZ rounds
	ROUND(0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8)
	ROUND(1, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z10)
	ROUND(2, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z9)
	ROUND(3, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z11)
	ROUND(4, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z12)
	ROUND(5, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z14)
	ROUND(6, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z13)
	ROUND(7, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z15)
	ROUND(8, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z16)
	ROUND(9, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z18)
	ROUND(10, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z17)
	ROUND(11, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z19)
	ROUND(12, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z20)
	ROUND(13, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z22)
	ROUND(14, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z21)
	ROUND(15, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z23)
	VPADDD 0(DI), Z0, Z0
	VPADDD 64(DI), Z1, Z1
	VPADDD 128(DI), Z2, Z2
	VPADDD 192(DI), Z3, Z3
	VPADDD 256(DI), Z4, Z4
	VPADDD 320(DI), Z5, Z5
	VPADDD 384(DI), Z6, Z6
	VPADDD 448(DI), Z7, Z7
	VMOVDQU32 Z0, 0(DI)
	VMOVDQU32 Z1, 64(DI)
	VMOVDQU32 Z2, 128(DI)
	VMOVDQU32 Z3, 192(DI)
	VMOVDQU32 Z4, 256(DI)
	VMOVDQU32 Z5, 320(DI)
	VMOVDQU32 Z6, 384(DI)
	VMOVDQU32 Z7, 448(DI)
	ADDQ $64, DX
	DECQ CX
	JNZ block

done:
	VZEROUPPER
	RET
