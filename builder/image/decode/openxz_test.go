package decode

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

// TestOpenXZ reads what the xz tool packed: in one block larger than its dictionary, in many, in two streams, empty, and with
// a filter for machine code.
func TestOpenXZ(t *testing.T) {
	oracle.Need(t, "xz")
	var text bytes.Buffer
	for n := 0; text.Len() < 4*mib; n++ {
		text.WriteString(strings.Repeat(string(rune('a'+n%26)), n%71) + "\n")
	}
	for name, tt := range map[string]struct {
		flags string
		data  []byte
		fault string
	}{
		"one block":      {"--lzma2=dict=64KiB", text.Bytes(), ""},
		"many blocks":    {"-T2 --block-size=700000", text.Bytes(), ""},
		"no check":       {"-C none -0", text.Bytes(), ""},
		"SHA-256":        {"-C sha256", text.Bytes(), ""},
		"machine code":   {"--x86 --lzma2=dict=1MiB", text.Bytes(), ""},
		"empty":          {"", nil, ""},
		"a large window": {"--lzma2=dict=16MiB", text.Bytes(), "its dictionary of 16777216 bytes is larger than the allowed 8388608"},
	} {
		t.Run(name, func(t *testing.T) {
			packed := packXZ(t, tt.flags, tt.data)
			if name == "many blocks" {
				packed, tt.data = append(packed, packXZ(t, "-0", tt.data)...), append(bytes.Clone(tt.data), tt.data...)
			}
			r := OpenXZ(bytes.NewReader(packed), int64(len(packed)), 8*mib)
			defer r.Close()
			got, err := io.ReadAll(r)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, tt.data) {
				t.Errorf("%d bytes instead of %d, %v", len(got), len(tt.data), err)
			}
			damaged := bytes.Clone(packed)
			damaged[len(damaged)/2] ^= 1
			if _, err := io.ReadAll(OpenXZ(bytes.NewReader(damaged), int64(len(damaged)), 8*mib)); err == nil && len(tt.data) > 0 && name != "no check" {
				t.Error("damage is not found")
			}
		})
	}
}

func packXZ(t *testing.T, flags string, data []byte) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "xz", append(strings.Fields("-c "+flags), file)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
