package decode

import (
	"hash/crc64"
	"testing"
)

func TestECMA(t *testing.T) {
	e, table := newECMA(), crc64.MakeTable(crc64.ECMA)
	image := testImage(1)
	clear(image[10000:60000])
	for _, cut := range [][2]int{{0, 0}, {0, 1}, {0, 4096}, {10000, 14096}, {9999, 60001}, {20000, 59000}, {0, len(image)}} {
		p := image[cut[0]:cut[1]]
		if got, want := e.update(77, p), crc64.Update(77, table, p); got != want {
			t.Errorf("bytes %d to %d: %x, want %x", cut[0], cut[1], got, want)
		}
	}
}
