package decode

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/test/oracle"
)

const mib = 1 << 20

// testImage is n MiB that look like a disk: text, noise and zeros in turns.
func testImage(n int) []byte {
	out := make([]byte, n*mib+512*3) // no multiple of 1 MiB or of 4 KiB
	seed := sha256.Sum256([]byte("image"))
	for i := 0; i+32 <= len(out); i += 32 {
		switch i / (mib / 4) % 4 {
		case 0:
			seed = sha256.Sum256(seed[:])
			copy(out[i:], seed[:])
		case 1:
			copy(out[i:], "the quick brown fox jumps over the lazy dog, number "+string(rune('a'+i/4096%26)))
		case 2:
			binary.LittleEndian.PutUint64(out[i:], uint64(i/64))
		}
	}
	return out
}

func newStore(t testing.TB) *cas.Store {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// pack runs a tool with its input on stdin.
func pack(t testing.TB, in []byte, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(oracle.Need(t, tool), args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", tool, args, err)
	}
	return out
}

// qcow2File converts a raw image.
func qcow2File(t testing.TB, raw []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	if err := os.WriteFile(from, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	all := append([]string{"convert", "-f", "raw", "-O", "qcow2"}, append(args, from, to)...)
	if out, err := exec.Command(oracle.Need(t, "qemu-img"), all...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", all, err, out)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decodeBytes(t testing.TB, packed []byte, o Options) (Raw, []byte, error) {
	t.Helper()
	store := newStore(t)
	blob, err := store.PutBytes(packed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Decode(context.Background(), store, blob, o)
	if err != nil {
		return raw, nil, err
	}
	b, err := store.ReadAll(raw.Digest, raw.Size)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(context.Background(), store, blob, o)
	if err != nil || !again.Cached || again.Digest != raw.Digest {
		t.Errorf("decoding again: %+v, %v; want it cached", again, err)
	}
	return raw, b, nil
}

func TestDecodesWhatToolsPack(t *testing.T) {
	raw := testImage(6)
	half := len(raw) / 2
	xz := func(args ...string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return pack(t, raw, "xz", append([]string{"-c"}, args...)...) }
	}
	two := func(pad int) func(testing.TB) []byte {
		return func(t testing.TB) []byte {
			a := pack(t, raw[:half], "xz", "-0", "-T2", "--block-size=1MiB", "-c")
			a = append(a, make([]byte, pad)...)
			return append(append(a, pack(t, raw[half:], "xz", "-1", "--check=crc32", "-c")...), make([]byte, pad)...)
		}
	}
	qcow := func(args ...string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return qcow2File(t, raw, args...) }
	}
	tests := []struct {
		name   string
		format Format
		packed func(testing.TB) []byte
	}{
		{"raw", Plain, func(testing.TB) []byte { return raw }},
		{"xz as livecd-rootfs", XZ, xz("-0", "-T4")},
		{"xz small blocks", XZ, xz("-6", "-T2", "--block-size=300000")},
		{"xz one block", XZ, xz("-6")},
		{"xz crc32", XZ, xz("-0", "--check=crc32")},
		{"xz sha256", XZ, xz("-0", "--check=sha256", "-T2", "--block-size=1MiB")},
		{"xz no check", XZ, xz("-0", "--check=none")},
		{"xz odd literals", XZ, xz("--lzma2=preset=1,lc=1,lp=3,pb=4")},
		{"xz tiny dictionary", XZ, xz("--lzma2=preset=6,dict=4KiB")},
		{"xz with a filter for machine code", XZ, xz("--x86", "--lzma2=preset=0")},
		{"xz two streams", XZ, two(0)},
		{"xz two streams and padding", XZ, two(8192 + 4)},
		{"gzip", Gzip, func(t testing.TB) []byte { return pack(t, raw, "gzip", "-1", "-c") }},
		{"gzip two members", Gzip, func(t testing.TB) []byte {
			return append(pack(t, raw[:half], "gzip", "-1", "-c"), pack(t, raw[half:], "gzip", "-1", "-c")...)
		}},
		{"zstd", Zstd, func(t testing.TB) []byte { return pack(t, raw, "zstd", "-3", "-c") }},
		{"zstd two frames", Zstd, func(t testing.TB) []byte {
			return append(pack(t, raw[:half], "zstd", "-1", "-c"), pack(t, raw[half:], "zstd", "-1", "--long=27", "-c")...)
		}},
		{"qcow2 v2 zlib", QCOW2, qcow("-c", "-o", "compat=0.10")},
		{"qcow2 v2 plain", QCOW2, qcow("-o", "compat=0.10")},
		{"qcow2 v3 zlib", QCOW2, qcow("-c", "-o", "compat=1.1")},
		{"qcow2 v3 zstd", QCOW2, qcow("-c", "-o", "compat=1.1,compression_type=zstd")},
		{"qcow2 v3 plain", QCOW2, qcow()},
		{"qcow2 tiny clusters", QCOW2, qcow("-c", "-o", "cluster_size=512")},
		{"qcow2 huge clusters", QCOW2, qcow("-c", "-o", "cluster_size=2M")},
		{"qcow2 preallocated zeros", QCOW2, qcow("-o", "preallocation=metadata")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, b, err := decodeBytes(t, tt.packed(t), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Format != tt.format || got.Size != int64(len(raw)) || !bytes.Equal(b, raw) {
				t.Errorf("%s of %d bytes; want %s of %d, byte for byte", got.Format, got.Size, tt.format, len(raw))
			}
		})
	}
}

// TestLargeBlocksAreStreamed decodes blocks that do not fit into memory twice.
func TestLargeBlocksAreStreamed(t *testing.T) {
	raw := testImage(6)
	packed := pack(t, raw, "xz", "-c", "--block-size=5MiB", "--lzma2=preset=1,dict=64KiB")
	in := bytes.NewReader(packed)
	blocks, err := readXZ(in, in.Size(), DefaultMaxSize)
	if err != nil || len(blocks) != 2 {
		t.Fatalf("%d blocks, %v; want 2", len(blocks), err)
	}
	var got bytes.Buffer
	d := newXZDecoder(in)
	for i := range blocks {
		if blocks[i].header, err = readBlockHeader(in, blocks[i]); err != nil {
			t.Fatal(err)
		}
		err := d.stream(context.Background(), blocks[i], func(p []byte) error { _, err := got.Write(p); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), raw) || len(d.block.window) > 5*mib {
		t.Errorf("%d bytes through a window of %d", got.Len(), len(d.block.window))
	}
}

func TestZerosBecomeHoles(t *testing.T) {
	raw := make([]byte, 64*mib)
	copy(raw[20*mib:], testImage(1))
	store := newStore(t)
	for _, packed := range [][]byte{pack(t, raw, "xz", "-0", "-c"), qcow2File(t, raw, "-c")} {
		blob, err := store.PutBytes(packed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(context.Background(), store, blob, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := cas.Of(raw); got.Digest != want {
			t.Errorf("digest %s, want %s", got.Digest, want)
		}
		info, err := os.Stat(store.Path(got.Digest))
		if err != nil {
			t.Fatal(err)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 3*mib || info.Size() != int64(len(raw)) {
			t.Errorf("%d bytes take %d on the disk", info.Size(), used)
		}
	}
}

func TestBadInput(t *testing.T) {
	raw := testImage(5)
	xz := pack(t, raw, "xz", "-0", "-T2", "--block-size=1MiB", "-c")
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x40
		return b
	}
	blocks, err := readXZ(bytes.NewReader(xz), int64(len(xz)), DefaultMaxSize)
	if err != nil {
		t.Fatal(err)
	}
	third := blocks[2]
	check := int(third.at+third.unpadded+3)/4*4 - 1
	small := Options{MaxSize: 3 * mib}
	patch := func(b []byte, at int, v uint64) []byte {
		b = bytes.Clone(b)
		binary.BigEndian.PutUint64(b[at:], v)
		return b
	}
	qcow := qcow2File(t, raw)
	l1 := int(binary.BigEndian.Uint64(qcow[40:]))
	l2 := binary.BigEndian.Uint64(qcow[l1:])
	first := binary.BigEndian.Uint64(qcow[l2&entryOffset:])
	tests := []struct {
		name   string
		packed []byte
		o      Options
		want   string
	}{
		{"cut xz", xz[:len(xz)/2], Options{}, "cut off or damaged; fetch it again"},
		{"cut in the first stream's header", xz[:9], Options{}, "cut off"},
		{"wrong check", flip(xz, check), Options{}, "block 3 of 6"},
		{"wrong data", flip(xz, int(third.at)+5000), Options{}, "block 3 of 6"},
		{"wrong index", flip(xz, len(xz)-20), Options{}, "index"},
		{"xz too large", xz, small, "more than the allowed 3145728"},
		{"gzip too large", pack(t, raw, "gzip", "-1", "-c"), small, "more than the allowed"},
		{"raw too large", raw, small, "more than the allowed"},
		{"qcow2 too large", qcow, small, "more than the allowed"},
		{"cut gzip", pack(t, raw, "gzip", "-1", "-c")[:mib], Options{}, "cut off"},
		{"cut zstd", pack(t, raw, "zstd", "-1", "-c")[:mib], Options{}, "cut off"},
		{"zip", []byte("PK\x03\x04 and so on"), Options{}, "a zip archive"},
		{"empty", nil, Options{}, "empty"},
		{"cut qcow2", qcow[:len(qcow)/2], Options{}, "not in the file"},
		{"L2 table is the L1 table", patch(qcow, l1, uint64(l1)), Options{}, "used twice"},
		{"L2 table is the header", patch(qcow, int(l2&entryOffset), 1<<40), Options{}, "not in the file"},
		{"data is its own table", patch(qcow, int(l2&entryOffset), l2), Options{}, "used twice"},
		{"two clusters share data", patch(qcow, int(l2&entryOffset)+8, first), Options{}, "used twice"},
		{"L1 table outside", patch(qcow, 40, 1<<50), Options{}, "L1 table"},
		{"encrypted", patch(qcow, 32, 1<<32|1), Options{}, "encrypted"},
		{"corrupt flag", patch(qcow, 72, bitCorrupt), Options{}, "marked as corrupt"},
		{"extended L2", qcow2File(t, raw, "-o", "extended_l2=on,cluster_size=64k"), Options{}, "extended L2"},
		{"unknown feature", patch(qcow, 72, 1<<40), Options{}, "unknown incompatible features"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := decodeBytes(t, tt.packed, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBackingAndDataFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	img := oracle.Need(t, "qemu-img")
	for _, tt := range []struct {
		args []string
		want BackingFileError
	}{
		{[]string{"-b", "/etc/passwd", "-F", "raw", "a.qcow2"}, BackingFileError{"backing file", "/etc/passwd"}},
		{[]string{"-o", "compat=0.10", "-b", "base.img", "-F", "raw", "b.qcow2"}, BackingFileError{"backing file", "base.img"}},
		{[]string{"-o", "data_file=data.raw", "c.qcow2"}, BackingFileError{"external data file", "data.raw"}},
	} {
		args := append([]string{"create", "-u", "-f", "qcow2"}, append(tt.args, "1M")...)
		cmd := exec.Command(img, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, tt.args[len(tt.args)-1]))
		if err != nil {
			t.Fatal(err)
		}
		var got *BackingFileError
		if _, _, err := decodeBytes(t, b, Options{}); !errors.As(err, &got) || *got != tt.want {
			t.Errorf("got %v, want %v", err, &tt.want)
		}
	}
}

func TestDecodeStopsWithItsContext(t *testing.T) {
	store := newStore(t)
	blob, err := store.PutBytes(pack(t, testImage(5), "xz", "-0", "-T2", "--block-size=1MiB", "-c"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Decode(ctx, store, blob, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
