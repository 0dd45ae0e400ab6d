package lint

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"

	"github.com/pierrec/lz4/v4"

	"github.com/edgebake/edgebake/builder/deb"
)

// The journal of systemd (systemd.io/JOURNAL_FILE_FORMAT): a header and objects, each with a type,
// flags and a size. Fields of 512 bytes and more (80 in early versions) are compressed, each on its own.
const (
	journalMagic    = "LPKSHHRH"
	journalHeader   = 88 // bytes before header_size
	journalCompact  = 1 << 4
	objectHeader    = 16
	objectData      = 1
	dataHeader      = 64 // with the object's header
	dataCompact     = 72
	compressedXZ    = 1 << 0
	compressedLZ4   = 1 << 1
	compressedZstd  = 1 << 2
	maxJournalField = 64 << 20 // systemd allows 768 MiB; messages have a few kilobytes
)

// journal searches the compressed fields of a journal. One that is cut off is searched up to there.
func (f *searcher) journal(r io.Reader) bool {
	in := bufio.NewReaderSize(r, 1<<16)
	le := binary.LittleEndian
	head := make([]byte, journalHeader+8)
	if _, err := io.ReadFull(in, head); err != nil {
		return false
	}
	payload := dataHeader
	if le.Uint32(head[12:])&journalCompact != 0 {
		payload = dataCompact
	}
	if !skip(in, le.Uint64(head[journalHeader:]), len(head)) {
		return false
	}
	for {
		var object [objectHeader]byte
		if _, err := io.ReadFull(in, object[:]); err != nil {
			return false
		}
		size := le.Uint64(object[8:])
		if size < objectHeader {
			return false // what was reserved and not written yet
		}
		padded := (size + 7) &^ 7
		if object[0] != objectData || object[1] == 0 || size < uint64(payload) || size > maxJournalField {
			if !skip(in, padded, objectHeader) {
				return false
			}
			continue
		}
		data := make([]byte, padded-objectHeader)
		n, err := io.ReadFull(in, data)
		if n >= int(size)-objectHeader && f.field(object[1], data[payload-objectHeader:size-objectHeader]) {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// skip passes over size bytes of which some were read.
func skip(in *bufio.Reader, size uint64, read int) bool {
	if size < uint64(read) || size > 1<<40 {
		return false
	}
	_, err := io.CopyN(io.Discard, in, int64(size)-int64(read))
	return err == nil
}

// field searches one compressed field.
func (f *searcher) field(flags byte, data []byte) bool {
	var r io.Reader
	switch {
	case flags&compressedLZ4 != 0:
		if len(data) < 8 {
			return false
		}
		size := binary.LittleEndian.Uint64(data)
		if size > maxJournalField || size > uint64(len(data))*255 { // LZ4's best ratio
			return false
		}
		out := make([]byte, size)
		n, err := lz4.UncompressBlock(data[8:], out)
		if err != nil {
			return false
		}
		r = bytes.NewReader(out[:n])
	case flags&(compressedXZ|compressedZstd) != 0:
		extension := ".zst"
		if flags&compressedXZ != 0 {
			extension = ".xz"
		}
		z, err := deb.Decompress(extension, bytes.NewReader(data))
		if err != nil {
			return false
		}
		defer z.Close()
		r = io.LimitReader(z, maxJournalField)
	default:
		return false
	}
	found, _ := f.search(r, true)
	return found
}
