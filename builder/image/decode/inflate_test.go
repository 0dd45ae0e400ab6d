package decode

import (
	"bytes"
	"compress/flate"
	"io"
	"testing"
)

func deflate(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInflate(t *testing.T) {
	image := testImage(2)
	f := &inflater{}
	for _, level := range []int{0, 1, 6, 9, flate.HuffmanOnly} {
		for _, size := range []int{1, 7, 300, 65536} {
			for at := 0; at+size < len(image); at += 100003 {
				want := image[at : at+size]
				got := make([]byte, size)
				if err := f.inflate(got, append(deflate(t, want, level), "noise behind it"...)); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("level %d, %d bytes at %d: %v", level, size, at, err)
				}
			}
		}
	}
	packed := deflate(t, image[:65536], 6)
	if err := f.inflate(make([]byte, 65537), packed); err == nil {
		t.Error("more bytes came out than went in")
	}
	if err := f.inflate(make([]byte, 65536), packed[:len(packed)-20]); err == nil {
		t.Error("data that is cut off was decoded")
	}
}

// FuzzInflate compares with the standard library: where that fills the output, so must we, with
// the same bytes.
func FuzzInflate(f *testing.F) {
	for _, level := range []int{0, 1, 9, flate.HuffmanOnly} {
		f.Add(deflate(f, fuzzImage()[:5000], level))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, want := make([]byte, 4096), make([]byte, 4096)
		fault := (&inflater{}).inflate(got, b)
		_, err := io.ReadFull(flate.NewReader(bytes.NewReader(b)), want)
		if err == nil && (fault != nil || !bytes.Equal(got, want)) {
			t.Errorf("%v; the library decodes it", fault)
		}
	})
}
