package decode

import (
	"bytes"
	"encoding/binary"
	"hash"
	"hash/crc64"
)

// crcZeros is the run of zeros that a CRC takes in one step.
const crcZeros = 4096

// ecma computes the CRC-64 of xz. Most of a disk image is zeros, and what they do to a CRC is linear:
// one table lookup for each of its bytes stands for a whole run of them.
type ecma struct {
	table *crc64.Table
	zeros [crcZeros]byte
	skip  [8][256]uint64 // what crcZeros zeros make of each value of each byte
}

func newECMA() *ecma {
	e := &ecma{table: crc64.MakeTable(crc64.ECMA)}
	for i := range e.skip {
		row := &e.skip[i]
		for bit := range 8 {
			step := 1 << bit
			row[step] = ^crc64.Update(^(uint64(step) << (8 * i)), e.table, e.zeros[:])
			for lower := range step {
				row[step|lower] = row[step] ^ row[lower]
			}
		}
	}
	return e
}

// update adds p to a CRC.
func (e *ecma) update(crc uint64, p []byte) uint64 {
	for len(p) >= crcZeros {
		if !bytes.Equal(p[:crcZeros], e.zeros[:]) {
			crc = crc64.Update(crc, e.table, p[:crcZeros])
		} else {
			crc = ^e.overZeros(^crc)
		}
		p = p[crcZeros:]
	}
	return crc64.Update(crc, e.table, p)
}

func (e *ecma) overZeros(state uint64) (next uint64) {
	for i := range e.skip {
		next ^= e.skip[i][byte(state>>(8*i))]
	}
	return next
}

// crc is a running CRC.
type crc struct {
	*ecma
	value uint64
}

func (e *ecma) new() hash.Hash { return &crc{ecma: e} }

func (c *crc) Write(p []byte) (int, error) {
	c.value = c.update(c.value, p)
	return len(p), nil
}

func (c *crc) Sum(b []byte) []byte { return binary.BigEndian.AppendUint64(b, c.value) }
func (c *crc) Reset()              { c.value = 0 }
func (c *crc) Size() int           { return crc64.Size }
func (c *crc) BlockSize() int      { return 1 }
