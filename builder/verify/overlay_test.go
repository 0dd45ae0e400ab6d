package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/oracle"
)

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i/512)*7 + byte(i) + seed
	}
	return b
}

func TestOverlay(t *testing.T) {
	qemuImg := oracle.Need(t, "qemu-img")
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		base    int
		size    int64
		patches map[int64]int // offset: length
	}{
		"untouched":        {3 * mib, 3 * mib, nil},
		"grown":            {3*mib + 512, 8 * mib, nil},
		"size of the base": {3 * mib, 0, map[int64]int{0: 1}},
		"scattered":        {3 * mib, 4 * mib, map[int64]int{100: 10, 200: 70000, 131072: 65536, 2*mib - 1: 2, 3*mib - 100: 300}},
		"beyond one table": {mib, 514 * mib, map[int64]int{512*mib - 10: 20, 514*mib - 1: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := pattern(tc.base, 1)
			base, over, raw := filepath.Join(dir, "base, raw.img"), filepath.Join(dir, "over.qcow2"), filepath.Join(dir, "out.raw")
			if err := os.WriteFile(base, want, 0o400); err != nil {
				t.Fatal(err)
			}
			want = append(want, make([]byte, max(tc.size-int64(len(want)), 0))...)
			var patches []verify.Patch
			for at, n := range tc.patches {
				data := pattern(n, 99)
				copy(want[at:], data)
				patches = append(patches, verify.Patch{Offset: at, Length: int64(n), Data: bytes.NewReader(data)})
			}
			if err := verify.Overlay(context.Background(), over, base, tc.size, patches); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(qemuImg, "check", over).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors were found") {
				t.Fatalf("%v: %s", err, out)
			}
			out, err := exec.Command(qemuImg, "info", "--output=json", over).Output()
			if err != nil {
				t.Fatal(err)
			}
			var info struct {
				Size   int64  `json:"virtual-size"`
				Format string `json:"backing-filename-format"`
			}
			if err := json.Unmarshal(out, &info); err != nil || info.Size != int64(len(want)) || info.Format != "raw" {
				t.Errorf("qemu-img info: %+v %v", info, err)
			}
			if out, err = exec.Command(qemuImg, "convert", "-O", "raw", over, raw).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got, err := os.ReadFile(raw)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the overlay's contents are wrong (%d bytes, want %d, %v)", len(got), len(want), err)
			}
		})
	}
}

func TestOverlayRefusesPatches(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	if err := os.WriteFile(base, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	data := bytes.NewReader(make([]byte, 100))
	for name, patches := range map[string][]verify.Patch{
		"overlapping": {{Offset: 50, Length: 100, Data: data}, {Offset: 0, Length: 51, Data: data}},
		"outside":     {{Offset: 950, Length: 51, Data: data}},
		"negative":    {{Offset: -1, Length: 10, Data: data}},
	} {
		if err := verify.Overlay(context.Background(), filepath.Join(dir, "over"), base, 0, patches); err == nil || !strings.Contains(err.Error(), "a patch covers") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
