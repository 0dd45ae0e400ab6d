package lint

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pierrec/lz4/v4"

	"github.com/edgebake/edgebake/test/oracle"
)

// joinToken is put together here, so that no file of this repository holds one.
func joinToken() string {
	return strings.Repeat("0a", 32) + ".eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + ".eyJleHAiOjE2MzM1NzQ0MDB9" + ".TmV2ZXIgYSByZWFsIG9uZSBvZiB0aGlydHkgdHdv"
}

func TestSearch(t *testing.T) {
	token := joinToken()
	parts := strings.Split(token, ".")
	mime := func(text string) string { // lines of 76 characters, as Python's email package makes them
		s := base64.StdEncoding.EncodeToString([]byte(text))
		var b strings.Builder
		for ; len(s) > 76; s = s[76:] {
			b.WriteString(s[:76] + "\n")
		}
		return b.String() + s + "\n"
	}
	cases := map[string]struct {
		text string
		want bool
	}{
		"alone":                {token, true},
		"quoted":               {"modules:\n  edgeHub:\n    token: \"" + token + "\"\n", true},
		"pickle":               {"\x80\x04\x95\x00\x01\x00\x00\x00\x00\x00\x00X\x0d\x01\x00\x00" + token + "q\x01.", true},
		"unit":                 {"ExecStart=/usr/bin/keadm join --token=" + token + " --cgroupdriver=systemd\n", true},
		"binary around it":     {strings.Repeat("\xff.ey", 1000) + token + "\x00", true},
		"over a boundary":      {strings.Repeat("x", window+maxToken-100) + token + strings.Repeat("y", window), true},
		"at a boundary":        {strings.Repeat("-", window+maxToken) + token, true},
		"in the second":        {strings.Repeat("-", 2*window) + token + "\n", true},
		"sign at a boundary":   {strings.Repeat("-", window-hashSize) + token + strings.Repeat("\x00", 3*maxToken), true},
		"short hash":           {token[2:], false},
		"two parts":            {parts[0] + "." + parts[1] + "." + parts[2], false},
		"no signature":         {parts[0] + "." + parts[1] + "." + parts[2] + ".", false},
		"description":          {"TOKEN=" + strings.Repeat("0a", 32) + ".eyJ... (from keadm gettoken)", false},
		"web token alone":      {strings.Join(parts[1:], "."), false},
		"empty":                {"", false},
		"a beginning, then it": {token[:80] + "\n" + token, true},
	}
	for shift := range 80 {
		text := strings.Repeat("x", shift) + " " + token + "\n"
		cases["base64 "+string(rune('0'+shift))] = struct {
			text string
			want bool
		}{"Content-Transfer-Encoding: base64\r\n\r\n" + mime(text), true}
	}
	f := newSearcher()
	for name, tc := range cases {
		for _, whole := range []bool{true, false} {
			r := iotest.OneByteReader(strings.NewReader(tc.text))
			if whole || len(tc.text) > window {
				r = strings.NewReader(tc.text)
			}
			if got, err := f.search(r, true); got != tc.want || err != nil {
				t.Errorf("%s: got %v, %v", name, got, err)
			}
		}
	}
	if _, err := f.search(iotest.ErrReader(os.ErrPermission), true); err == nil {
		t.Error("what cannot be read is taken for clean")
	}
}

// journalOf is one field of a journal, as systemd's format describes it.
func journalOf(flags byte, payload []byte) []byte {
	b := make([]byte, 256)
	copy(b, journalMagic)
	binary.LittleEndian.PutUint64(b[journalHeader:], uint64(len(b)))
	object := make([]byte, dataHeader)
	object[0], object[1] = objectData, flags
	binary.LittleEndian.PutUint64(object[8:], uint64(dataHeader+len(payload)))
	other := make([]byte, 24) // a field object with 7 bytes of text and one of padding
	other[0], other[8] = 2, 23
	return append(append(append(b, other...), object...), payload...)
}

func TestInside(t *testing.T) {
	message := []byte("MESSAGE=" + strings.Repeat("the same again ", 100) + joinToken())
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(message) // into memory
	_ = w.Close()
	block := make([]byte, lz4.CompressBlockBound(len(message)))
	n, err := lz4.CompressBlock(message, block, nil)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	size := binary.LittleEndian.AppendUint64(nil, uint64(len(message)))
	xz := exec.Command(oracle.Need(t, "xz"), "-c")
	xz.Stdin = bytes.NewReader(message)
	packed, err := xz.Output()
	if err != nil {
		t.Fatal(err)
	}
	f := newSearcher()
	for name, tc := range map[string]struct {
		file []byte
		want bool
	}{
		"gzip":        {z.Bytes(), true},
		"gzip, cut":   {z.Bytes()[:20], false},
		"lz4":         {journalOf(compressedLZ4, append(size, block[:n]...)), true},
		"lz4, bomb":   {journalOf(compressedLZ4, append(bytes.Repeat([]byte{0xff}, 8), block[:n]...)), false},
		"xz":          {journalOf(compressedXZ, packed), true},
		"unknown":     {journalOf(1<<7, message), false},
		"cut":         {journalOf(compressedXZ, packed)[:400], false},
		"header only": {[]byte(journalMagic), false},
		"plain":       {message, false}, // search finds it
	} {
		if got := f.inside(bytes.NewReader(tc.file)); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// TestRealJournal lets systemd write journals of both layouts.
func TestRealJournal(t *testing.T) {
	tool := oracle.Need(t, "/lib/systemd/systemd-journal-remote")
	for _, compact := range []string{"0", "1"} {
		name := filepath.Join(t.TempDir(), "x.journal")
		cmd := exec.Command(tool, "-o", name, "-")
		cmd.Env = append(os.Environ(), "SYSTEMD_JOURNAL_COMPACT="+compact)
		var in strings.Builder
		for i, text := range []string{"first", strings.Repeat("long ", 2000), strings.Repeat("again ", 200) + joinToken(), "last"} {
			in.WriteString("__REALTIME_TIMESTAMP=160000000000000" + string(rune('0'+i)) + "\n__MONOTONIC_TIMESTAMP=100" + string(rune('0'+i)) +
				"\n_BOOT_ID=0123456789abcdef0123456789abcdef\nMESSAGE=" + text + "\n\n")
		}
		cmd.Stdin = strings.NewReader(in.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f := newSearcher()
		plain, err := f.search(bytes.NewReader(b), true)
		if err != nil || plain {
			t.Fatalf("the message was to be compressed: %v, %v", plain, err)
		}
		if !f.inside(bytes.NewReader(b)) {
			t.Errorf("compact=%s: the token is not found", compact)
		}
	}
}

func FuzzInside(f *testing.F) {
	f.Add(journalOf(compressedLZ4, []byte("\x10\x00\x00\x00\x00\x00\x00\x00abc")))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte(joinToken()))
	s := newSearcher()
	f.Fuzz(func(t *testing.T, b []byte) {
		s.inside(bytes.NewReader(b))
		if _, err := s.search(bytes.NewReader(b), true); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	text := []byte(strings.Repeat("a.b.c.d {\"key\": \"value.eyJ\"} \x00\x01\x02 and words.\n", 1<<15))
	for name, deep := range map[string]bool{"program": false, "text": true} {
		b.Run(name, func(b *testing.B) {
			f := newSearcher()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if found, err := f.search(bytes.NewReader(text), deep); found || err != nil {
					b.Fatal(found, err)
				}
			}
		})
	}
}
