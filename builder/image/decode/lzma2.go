package decode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

const maxChunk = 2 << 20 // uncompressed bytes of one LZMA2 chunk

// block decodes the LZMA2 data of a block and gives its bytes to emit piece by piece. The window
// is the dictionary; it is either the whole block, or slides.
type block struct {
	lzma
	window []byte
	at     int   // next byte of window
	total  int64 // bytes so far
	origin int   // where the dictionary was reset
	chunk  []byte
	ready  bool // properties were given
	begun  bool // the dictionary was reset
}

// decodeLZMA2 reads from in up to the end marker. When the window is smaller than the data, its
// first dict bytes are kept and emit gets all others.
func (b *block) decodeLZMA2(in *bufio.Reader, dict int, emit func([]byte) error) error {
	b.at, b.origin, b.ready, b.begun = 0, 0, false, false
	for {
		control, err := in.ReadByte()
		if err != nil {
			return truncated(err)
		}
		if control == 0 {
			return nil
		}
		if len(b.window)-b.at < maxChunk && emit != nil {
			b.slide(dict)
		}
		start := b.at
		if err := b.decodeChunk(in, control); err != nil {
			return err
		}
		b.total += int64(b.at - start)
		if emit == nil {
			continue
		}
		if err := emit(b.window[start:b.at]); err != nil {
			return err
		}
	}
}

// slide keeps the last dict bytes of the window.
func (b *block) slide(dict int) {
	if move := b.at - dict; move > 0 {
		copy(b.window, b.window[move:b.at])
		b.at, b.origin = dict, b.origin-move
	}
}

func (b *block) decodeChunk(in *bufio.Reader, control byte) error {
	if control >= 0xe0 || control == 1 {
		b.origin, b.begun = b.at, true
	}
	if !b.begun || control > 2 && control < 0x80 {
		return errLZMA
	}
	if control < 0x80 {
		return b.copyChunk(in)
	}
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return truncated(err)
	}
	size := (int(control&0x1f)<<16 | int(head[0])<<8 | int(head[1])) + 1
	packed := (int(head[2])<<8 | int(head[3])) + 1
	if err := b.newState(in, control); err != nil {
		return err
	}
	if size > len(b.window)-b.at {
		return fmt.Errorf("%w: it holds more than its header says", errLZMA)
	}
	return b.lzmaChunk(in, packed, size)
}

// newState resets what the control byte says.
func (b *block) newState(in *bufio.Reader, control byte) error {
	if control >= 0xc0 {
		props, err := in.ReadByte()
		if err != nil {
			return truncated(err)
		}
		if err := b.setProps(props); err != nil {
			return err
		}
		b.ready = true
	}
	if !b.ready {
		return errLZMA
	}
	if control >= 0xa0 {
		b.resetState()
	}
	return nil
}

func (b *block) lzmaChunk(in *bufio.Reader, packed, size int) error {
	if b.chunk == nil {
		b.chunk = make([]byte, 1<<16+symbolBytes)
	}
	chunk := b.chunk[:packed+symbolBytes]
	if _, err := io.ReadFull(in, chunk[:packed]); err != nil {
		return truncated(err)
	}
	clear(chunk[packed:])
	if err := b.begin(chunk); err != nil {
		return err
	}
	if err := b.run(b.window, b.at, b.at+size, b.origin); err != nil {
		return err
	}
	b.at += size
	return b.finish()
}

// copyChunk takes bytes that were not compressed.
func (b *block) copyChunk(in *bufio.Reader) error {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return truncated(err)
	}
	size := (int(head[0])<<8 | int(head[1])) + 1
	if size > len(b.window)-b.at {
		return fmt.Errorf("%w: it holds more than its header says", errLZMA)
	}
	if _, err := io.ReadFull(in, b.window[b.at:b.at+size]); err != nil {
		return truncated(err)
	}
	b.at += size
	return nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", errLZMA)
	}
	return err
}
