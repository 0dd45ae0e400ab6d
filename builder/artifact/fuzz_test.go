package artifact

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// FuzzManifest: what is read as a manifest is written and read again as the same one.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"profile":"node","arch":"arm64","epoch":1700000000,"disk":{"table":"gpt","size":1048576,"id":"x","partitions":[` +
		`{"number":1,"label":"root","type":"linux","fs":"ext4","mount":"/","start":1048576,"size":4194304,"partUUID":"x","grow":true}]},` +
		`"packages":[{"name":"a","version":"1","arch":"all","sha256":"00"}],"artifacts":[{"name":"node.img","size":5,"sha256":"00"}],` +
		`"files":[{"path":"etc/x","mode":"0644","size":1,"sha256":"00"}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"disk":{"partitions":[{"number":-1,"start":-1,"size":9223372036854775807}]}}`))
	f.Add(bytes.Repeat([]byte("["), 20000))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readWritten(t, dir, data)
		if err != nil {
			return
		}
		first, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readWritten(t, dir, first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s becomes %s, %v", first, second, err)
		}
	})
}

func readWritten(t *testing.T, dir string, data []byte) (Manifest, error) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ManifestName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return ReadManifest(dir)
}
