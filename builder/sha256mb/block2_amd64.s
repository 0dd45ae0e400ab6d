#include "textflag.h"

// The SHA extensions' rounds wait for each other: a round's result is the next one's input, so a processor that could
// begin two of them at a time begins one. Two independent messages fill the gaps.
//
// Registers: X0 is the implied operand of SHA256RNDS2, W + K of two rounds. Lane A has its state in X1 (FEBA, lowest
// word first) and X2 (HGDC) and sixteen words of the schedule in X3 to X6; lane B in X7, X8 and X9 to X12. X13 is for
// passing, X14 reverses the bytes of each word.

// FIRST are four rounds of words as they are in the message.
#define FIRST(p, i, s0, s1, m) \
	MOVOU (i*16)(p), m; \
	PSHUFB X14, m; \
	MOVOU (i*16)(AX), X0; \
	PADDD m, X0; \
	SHA256RNDS2 X0, s0, s1; \
	PSHUFD $0x0e, X0, X0; \
	SHA256RNDS2 X0, s1, s0

// ROUNDS are four rounds of m; next are the four words that are needed next, to which the last part of the schedule is
// added here: they hold msg1's sum. before are the words before m.
#define ROUNDS(i, s0, s1, before, m, next) \
	MOVOU (i*16)(AX), X0; \
	PADDD m, X0; \
	SHA256RNDS2 X0, s0, s1; \
	MOVO m, X13; \
	PALIGNR $4, before, X13; \
	PADDD X13, next; \
	SHA256MSG2 m, next; \
	PSHUFD $0x0e, X0, X0; \
	SHA256RNDS2 X0, s1, s0

// LAST are four rounds after which no word is needed.
#define LAST(i, s0, s1, m) \
	MOVOU (i*16)(AX), X0; \
	PADDD m, X0; \
	SHA256RNDS2 X0, s0, s1; \
	PSHUFD $0x0e, X0, X0; \
	SHA256RNDS2 X0, s1, s0

// TOREGISTERS and TOMEMORY bring a state from the order a to h into the registers, and back.
#define TOREGISTERS(p, s0, s1) \
	MOVOU 0(p), X13; \
	MOVOU 16(p), s1; \
	PSHUFD $0xb1, X13, X13; \
	PSHUFD $0x1b, s1, s1; \
	MOVO X13, s0; \
	PALIGNR $8, s1, s0; \
	SHUFPD $2, X13, s1

#define TOMEMORY(p, s0, s1) \
	PSHUFD $0x1b, s0, X13; \
	PSHUFD $0xb1, s1, s1; \
	MOVO X13, s0; \
	SHUFPD $2, s1, s0; \
	MOVOU s0, 0(p); \
	PALIGNR $8, X13, s1; \
	MOVOU s1, 16(p)

#define FIRST2(i, ma, mb) FIRST(SI, i, X1, X2, ma); FIRST(DI, i, X7, X8, mb)
#define MSG2(ma, na, mb, nb) SHA256MSG1 ma, na; SHA256MSG1 mb, nb
#define FIRST3(ba, ma, na, bb, mb, nb) \
	MOVOU 48(SI), ma; PSHUFB X14, ma; ROUNDS(3, X1, X2, ba, ma, na); \
	MOVOU 48(DI), mb; PSHUFB X14, mb; ROUNDS(3, X7, X8, bb, mb, nb)
#define ROUNDS2(i, ba, ma, na, bb, mb, nb) \
	ROUNDS(i, X1, X2, ba, ma, na); \
	ROUNDS(i, X7, X8, bb, mb, nb)

// func block2(a, b *state, p, q *byte, blocks int)
// FIPS 180-4, section 6.2.2, four rounds at a time.
TEXT ·block2(SB), NOSPLIT, $64-40
	MOVQ a+0(FP), R8
	MOVQ b+8(FP), R9
	MOVQ p+16(FP), SI
	MOVQ q+24(FP), DI
	MOVQ blocks+32(FP), CX
	LEAQ ·constants(SB), AX
	MOVOU ·reverse(SB), X14
	TOREGISTERS(R8, X1, X2)
	TOREGISTERS(R9, X7, X8)
	TESTQ CX, CX
	JZ done

block:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)
	FIRST2(0, X3, X9)
	FIRST2(1, X4, X10)
	MSG2(X4, X3, X10, X9)
	FIRST2(2, X5, X11)
	MSG2(X5, X4, X11, X10)
	FIRST3(X5, X6, X3, X11, X12, X9)
	MSG2(X6, X5, X12, X11)
	ROUNDS2(4, X6, X3, X4, X12, X9, X10)
	MSG2(X3, X6, X9, X12)
	ROUNDS2(5, X3, X4, X5, X9, X10, X11)
	MSG2(X4, X3, X10, X9)
	ROUNDS2(6, X4, X5, X6, X10, X11, X12)
	MSG2(X5, X4, X11, X10)
	ROUNDS2(7, X5, X6, X3, X11, X12, X9)
	MSG2(X6, X5, X12, X11)
	ROUNDS2(8, X6, X3, X4, X12, X9, X10)
	MSG2(X3, X6, X9, X12)
	ROUNDS2(9, X3, X4, X5, X9, X10, X11)
	MSG2(X4, X3, X10, X9)
	ROUNDS2(10, X4, X5, X6, X10, X11, X12)
	MSG2(X5, X4, X11, X10)
	ROUNDS2(11, X5, X6, X3, X11, X12, X9)
	MSG2(X6, X5, X12, X11)
	ROUNDS2(12, X6, X3, X4, X12, X9, X10)
	MSG2(X3, X6, X9, X12)
	ROUNDS2(13, X3, X4, X5, X9, X10, X11)
	ROUNDS2(14, X4, X5, X6, X10, X11, X12)
	LAST(15, X1, X2, X6)
	LAST(15, X7, X8, X12)
	MOVOU 0(SP), X0
	PADDD X0, X1
	MOVOU 16(SP), X0
	PADDD X0, X2
	MOVOU 32(SP), X0
	PADDD X0, X7
	MOVOU 48(SP), X0
	PADDD X0, X8
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ block

done:
	TOMEMORY(R8, X1, X2)
	TOMEMORY(R9, X7, X8)
	RET

DATA ·constants+0(SB)/4, $0x428a2f98
DATA ·constants+4(SB)/4, $0x71374491
DATA ·constants+8(SB)/4, $0xb5c0fbcf
DATA ·constants+12(SB)/4, $0xe9b5dba5
DATA ·constants+16(SB)/4, $0x3956c25b
DATA ·constants+20(SB)/4, $0x59f111f1
DATA ·constants+24(SB)/4, $0x923f82a4
DATA ·constants+28(SB)/4, $0xab1c5ed5
DATA ·constants+32(SB)/4, $0xd807aa98
DATA ·constants+36(SB)/4, $0x12835b01
DATA ·constants+40(SB)/4, $0x243185be
DATA ·constants+44(SB)/4, $0x550c7dc3
DATA ·constants+48(SB)/4, $0x72be5d74
DATA ·constants+52(SB)/4, $0x80deb1fe
DATA ·constants+56(SB)/4, $0x9bdc06a7
DATA ·constants+60(SB)/4, $0xc19bf174
DATA ·constants+64(SB)/4, $0xe49b69c1
DATA ·constants+68(SB)/4, $0xefbe4786
DATA ·constants+72(SB)/4, $0x0fc19dc6
DATA ·constants+76(SB)/4, $0x240ca1cc
DATA ·constants+80(SB)/4, $0x2de92c6f
DATA ·constants+84(SB)/4, $0x4a7484aa
DATA ·constants+88(SB)/4, $0x5cb0a9dc
DATA ·constants+92(SB)/4, $0x76f988da
DATA ·constants+96(SB)/4, $0x983e5152
DATA ·constants+100(SB)/4, $0xa831c66d
DATA ·constants+104(SB)/4, $0xb00327c8
DATA ·constants+108(SB)/4, $0xbf597fc7
DATA ·constants+112(SB)/4, $0xc6e00bf3
DATA ·constants+116(SB)/4, $0xd5a79147
DATA ·constants+120(SB)/4, $0x06ca6351
DATA ·constants+124(SB)/4, $0x14292967
DATA ·constants+128(SB)/4, $0x27b70a85
DATA ·constants+132(SB)/4, $0x2e1b2138
DATA ·constants+136(SB)/4, $0x4d2c6dfc
DATA ·constants+140(SB)/4, $0x53380d13
DATA ·constants+144(SB)/4, $0x650a7354
DATA ·constants+148(SB)/4, $0x766a0abb
DATA ·constants+152(SB)/4, $0x81c2c92e
DATA ·constants+156(SB)/4, $0x92722c85
DATA ·constants+160(SB)/4, $0xa2bfe8a1
DATA ·constants+164(SB)/4, $0xa81a664b
DATA ·constants+168(SB)/4, $0xc24b8b70
DATA ·constants+172(SB)/4, $0xc76c51a3
DATA ·constants+176(SB)/4, $0xd192e819
DATA ·constants+180(SB)/4, $0xd6990624
DATA ·constants+184(SB)/4, $0xf40e3585
DATA ·constants+188(SB)/4, $0x106aa070
DATA ·constants+192(SB)/4, $0x19a4c116
DATA ·constants+196(SB)/4, $0x1e376c08
DATA ·constants+200(SB)/4, $0x2748774c
DATA ·constants+204(SB)/4, $0x34b0bcb5
DATA ·constants+208(SB)/4, $0x391c0cb3
DATA ·constants+212(SB)/4, $0x4ed8aa4a
DATA ·constants+216(SB)/4, $0x5b9cca4f
DATA ·constants+220(SB)/4, $0x682e6ff3
DATA ·constants+224(SB)/4, $0x748f82ee
DATA ·constants+228(SB)/4, $0x78a5636f
DATA ·constants+232(SB)/4, $0x84c87814
DATA ·constants+236(SB)/4, $0x8cc70208
DATA ·constants+240(SB)/4, $0x90befffa
DATA ·constants+244(SB)/4, $0xa4506ceb
DATA ·constants+248(SB)/4, $0xbef9a3f7
DATA ·constants+252(SB)/4, $0xc67178f2
GLOBL ·constants(SB), RODATA|NOPTR, $256

DATA ·reverse+0(SB)/8, $0x0405060700010203
DATA ·reverse+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL ·reverse(SB), RODATA|NOPTR, $16
