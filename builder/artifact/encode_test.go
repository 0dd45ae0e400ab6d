package artifact

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
)

// TestEncode compares what is written file by file with json.MarshalIndent.
func TestEncode(t *testing.T) {
	files := []File{{"/a<b>", "0644", 1, "ab"}, {`/\xff\\"`, "4755", 0, ""}, {"/ü", "0600", 1 << 40, "cd"}}
	for n := range len(files) + 1 {
		m := Manifest{Version: 1, Profile: "null\n}", Checks: []string{"x"}, Files: files[:n:n]}
		if n == 0 {
			m.Files = nil
		}
		want, err := json.MarshalIndent(m, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		w := bufio.NewWriter(&got)
		size, err := m.encode(w)
		if err != nil || w.Flush() != nil || got.String() != string(want)+"\n" || size != int64(got.Len()) {
			t.Errorf("%d files, %v: %d bytes\n%s\nwant\n%s", n, err, size, got.Bytes(), want)
		}
	}
}
