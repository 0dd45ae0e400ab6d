package sha256mb

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

const blockSize = sha256.BlockSize

// padding is the most that follows a message: a bit, zeros and the length, in one block or two.
const padding = 2 * blockSize

// lane is where one message after the other is hashed.
type lane struct {
	m      Message
	busy   bool
	state  state
	length uint64 // of the message, in bytes, as far as it is read
	padded bool   // the message is read to its end, and what follows it is in data
	buf    []byte
	data   []byte // of buf: read and not hashed
}

// state are the words a to h of a hash.
type state [8]uint32

// initial returns the initial hash value (FIPS 180-4, section 5.3.3).
func initial() state {
	return state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
}

func (s *state) sum() (out [sha256.Size]byte) {
	for i, word := range s {
		binary.BigEndian.PutUint32(out[4*i:], word)
	}
	return out
}

// kernel hashes the first n blocks of several lanes.
type kernel struct {
	lanes int
	hash  func(busy []*lane, n int)
}

// sumLanes keeps all lanes busy while there are messages.
func sumLanes(k kernel, next func() (Message, bool, error)) error {
	lanes, busy := make([]*lane, k.lanes), make([]*lane, 0, k.lanes)
	all := make([]byte, k.lanes*(bufferSize/k.lanes+padding))
	for i := range lanes {
		n := len(all) / k.lanes
		lanes[i] = &lane{buf: all[i*n : i*n : (i+1)*n]}
	}
	for {
		busy = busy[:0]
		n := bufferSize / blockSize
		for _, l := range lanes {
			if err := l.ready(next); err != nil {
				return err
			}
			if l.blocks() > 0 {
				busy = append(busy, l)
				n = min(n, l.blocks())
			}
		}
		if len(busy) == 0 {
			return nil
		}
		k.hash(busy, n)
		for _, l := range busy {
			l.hashed(n)
		}
	}
}

func (l *lane) blocks() int { return len(l.data) / blockSize }

// ready gives the lane at least one block, unless next has no more.
func (l *lane) ready(next func() (Message, bool, error)) error {
	for l.blocks() == 0 {
		if !l.busy {
			m, ok, err := next()
			if err != nil || !ok {
				return err
			}
			*l = lane{m: m, busy: true, state: initial(), buf: l.buf}
		}
		if err := l.fill(); err != nil {
			return fmt.Errorf("hashing %s: %w", l.m.Name, err)
		}
	}
	return nil
}

// fill reads what the buffer takes beside the padding.
func (l *lane) fill() error {
	room := l.buf[:cap(l.buf)-padding]
	rest := copy(room, l.data)
	n, err := io.ReadFull(l.m.Reader, room[rest:])
	l.length += uint64(n)
	l.data = room[:rest+n]
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		l.pad()
		return nil
	}
	return err
}

// pad appends what follows a message (section 5.1.1).
func (l *lane) pad() {
	l.padded = true
	l.data = append(l.data, 0x80)
	for len(l.data)%blockSize != blockSize-8 {
		l.data = append(l.data, 0)
	}
	l.data = binary.BigEndian.AppendUint64(l.data, 8*l.length)
}

// hashed takes n blocks off, and with the last one of a message the message.
func (l *lane) hashed(n int) {
	l.data = l.data[n*blockSize:]
	if l.padded && len(l.data) == 0 {
		l.m.Done(l.state.sum())
		l.busy = false
	}
}
