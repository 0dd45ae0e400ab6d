package decode

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"github.com/therootcompany/xz"
)

const fuzzLimit = 1 << 20

// fuzzImage is a little noise and much text: the fuzzer is slow with large inputs.
func fuzzImage() []byte { return testImage(1)[mib/4-2000:] }

// FuzzXZ reads indexes and, where they make sense, decodes the blocks; the library is the oracle
// for what comes out.
func FuzzXZ(f *testing.F) {
	raw := fuzzImage()
	f.Add(pack(f, raw[:20000], "xz", "-0", "-T2", "--block-size=8KiB", "-c"))
	f.Add(pack(f, raw[:3000], "xz", "--check=sha256", "-c"))
	f.Add(append(pack(f, raw[:5], "xz", "--check=crc32", "-c"), 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		blocks, err := readXZ(in, in.Size(), fuzzLimit)
		if err != nil {
			return
		}
		var got []byte
		d := newXZDecoder(in)
		for _, x := range blocks {
			if x.header, err = readBlockHeader(in, x); err != nil || x.header.dict == 0 || x.header.dict > fuzzLimit {
				return
			}
			buf := make([]byte, x.size)
			if err := d.whole(x, buf); err != nil {
				return
			}
			got = append(got, buf...)
		}
		r, err := xz.NewReader(bytes.NewReader(b), 0)
		if err != nil {
			return // an empty index, or stricter about what does not matter
		}
		if want, err := io.ReadAll(r); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%d bytes, the library has %d others", len(got), len(want))
		}
	})
}

// FuzzLZMA2 decodes without checksums in the way of the fuzzer.
func FuzzLZMA2(f *testing.F) {
	packed := pack(f, fuzzImage()[:20000], "xz", "--format=raw", "--lzma2=preset=1", "-c")
	f.Add(packed)
	f.Add([]byte{1, 0, 2, 'a', 'b', 'c', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &block{window: make([]byte, fuzzLimit)}
		_ = d.decodeLZMA2(bufio.NewReader(bytes.NewReader(b)), 0, nil) // must not panic
		w := &block{window: make([]byte, 4096+2*maxChunk)}
		var n int64
		err := w.decodeLZMA2(bufio.NewReader(bytes.NewReader(b)), 4096, func(p []byte) error { n += int64(len(p)); return nil })
		if err == nil && n != w.total {
			t.Errorf("%d bytes were given out of %d", n, w.total)
		}
	})
}

func FuzzQCOW2(f *testing.F) {
	raw := fuzzImage()[: 1<<15 : 1<<15]
	f.Add(qcow2File(f, raw, "-c", "-o", "cluster_size=4k"))
	f.Add(qcow2File(f, raw, "-o", "compat=0.10,cluster_size=4k"))
	f.Add(qcow2File(f, raw[:5000], "-c", "-o", "cluster_size=512,compression_type=zstd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		q, err := openQCOW2(in, in.Size(), fuzzLimit)
		if err != nil {
			return
		}
		c := newClusters(q)
		for _, p := range q.spans() {
			if !p.hole {
				_ = c.read(p, make([]byte, q.end(p)-int64(p.first)*q.cluster)) // must not panic
			}
		}
	})
}
