package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// ledger takes an image and keeps only digests of its blocks. It notes what a disk that is written
// once and from start to end never sees.
type ledger struct {
	mu      sync.Mutex
	blocks  map[int64][32]byte
	end     int64 // of the write before
	settled int64
	faults  []string
}

func (l *ledger) WriteAt(p []byte, at int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at < l.end || at < l.settled || at%blockSize != 0 || len(p)%blockSize != 0 {
		l.faults = append(l.faults, fmt.Sprintf("%d bytes at %d after %d (settled %d)", len(p), at, l.end, l.settled))
	}
	l.end = at + int64(len(p))
	for i := 0; i < len(p); i += blockSize {
		l.blocks[at+int64(i)] = sha256.Sum256(p[i : i+blockSize])
	}
	return len(p), nil
}

func (l *ledger) Settled(before int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before < l.settled {
		l.faults = append(l.faults, fmt.Sprintf("settled %d after %d", before, l.settled))
	}
	l.settled = before
	return nil
}

// sum is a digest of places and blocks.
func (l *ledger) sum() string {
	h := sha256.New()
	for _, at := range slices.Sorted(maps.Keys(l.blocks)) {
		b := l.blocks[at]
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
		h.Write(b[:])
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// fragments is a file of n pieces with holes between them, and one of a hole that ends in the middle of a block.
func fragments(src *tree.Reader, n int) []tree.Entry {
	data := pattern(64 << 10)
	clear(data[3*blockSize : 5*blockSize]) // zeros that are no hole
	blob := cas.Of(data)
	src.Add(blob, bytes.NewReader(data))
	f := tree.Entry{Path: "fragments", Type: tree.File, Mode: 0o644, MTime: when}
	for i := range n {
		f.Content.Extents = append(f.Content.Extents, tree.Extent{Blob: blob, Offset: int64(i), Length: 4096}, tree.Extent{Length: 4096})
		f.Content.Size += 8192
	}
	odd := tree.Entry{Path: "odd", Type: tree.File, Mode: 0o600, MTime: when, Content: tree.Content{Size: 5<<20 + 60000, Extents: []tree.Extent{
		{Length: 5<<20 - 1}, {Blob: blob, Length: 60001}}}}
	return []tree.Entry{f, odd}
}

// TestImagesStay holds the bytes of images: a faster writer makes the same. Whoever changes the layout on
// purpose says so in CHANGELOG.md and replaces the digests.
func TestImagesStay(t *testing.T) {
	src := tree.NewReader(nil)
	all := slices.Concat(everything(), fragments(src, 2000))
	tests := []struct {
		name, want string
		entries    []tree.Entry
		size       int64
		change     func(*Options)
	}{
		{"everything", "a53f3867b135c62f", all, 64 * mib, nil},
		{"uninit_bg", "6b0663001e46f250", all, 300 * mib, func(o *Options) { o.Checksums = UninitBG }},
		{"flex groups", "c860924e942b4008", slices.Concat(all, manyFiles(10, 100, 100<<10)[1:]), 20000 * mib, func(o *Options) { o.BytesPerInode = 4096 }},
		{"data in two flex groups", "3a6953aaaffd9961", slices.Concat(all, manyFiles(1, 20, 2*mib)[1:]), 4500 * mib, func(o *Options) { o.JournalSize = 2000 * mib }},
		{"index of two levels", "2cae5e8700740212", names(20000, 250), 1024 * mib, nil},
		{"no journal", "8daedbc34c856351", all, 128 * mib, func(o *Options) { o.JournalSize, o.ReservedPercent, o.MaxResize = -1, -1, 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := testOptions(test.size)
			if test.change != nil {
				test.change(&o)
			}
			l := &ledger{blocks: map[int64][32]byte{}}
			if err := Write(context.Background(), l, mustTree(t, test.entries), src, o); err != nil {
				t.Fatal(err)
			}
			if got := l.sum(); got != test.want {
				t.Errorf("the image is %s instead of %s", got, test.want)
			}
			if len(l.faults) > 0 {
				t.Errorf("%d writes are not in order: %q", len(l.faults), l.faults[:min(3, len(l.faults))])
			}
		})
	}
}
