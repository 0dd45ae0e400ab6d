package deb

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// FuzzAr: members are inside of the archive, in order, and do not overlap.
func FuzzAr(f *testing.F) {
	f.Add(ar("debian-binary", "2.0\n", "control.tar.gz", "odd", "data.tar/", ""))
	f.Add([]byte("!<arch>\n"))
	f.Add(ar("debian-binary", "2.0\n")[:40])
	f.Add(bytes.Replace(ar("a", "x"), []byte("1         `"), []byte("9999999999`"), 1))
	f.Add(bytes.Replace(ar("a", "x"), []byte("1         `"), []byte("-1        `"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := readAr(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if len(members) > maxMembers {
			t.Errorf("%d members", len(members))
		}
		total := int64(len(arMagic))
		for _, m := range members {
			total += arHeader + m.data.Size()
			if n, err := io.Copy(io.Discard, m.data); err != nil || n != m.data.Size() {
				t.Errorf("member %q has %d of %d bytes, %v", m.name, n, m.data.Size(), err)
			}
		}
		if total > int64(len(data)) {
			t.Errorf("%d bytes of members in an archive of %d", total, len(data))
		}
	})
}

// tarText is a tar of regular files: names and contents by turns.
func tarText(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipText(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstdText(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func FuzzOpen(f *testing.F) {
	control := tarText(f, "./control", "Package: demo\nVersion: 1-1\nArchitecture: all\n", "./postinst", "#!/bin/sh\n")
	data := tarText(f, "./etc/demo", "setting\n", "./usr/share/doc/demo/copyright", "free")
	f.Add(ar("debian-binary", "2.0\n", "control.tar", "", "data.tar", ""))
	f.Add(ar("debian-binary", "2.0\n", "control.tar", string(control), "data.tar", string(data)))
	f.Add(ar("debian-binary", "2.0\n", "control.tar.gz", string(gzipText(f, control)), "data.tar.zst", string(zstdText(f, data))))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		_, _ = d.ControlFiles() // any error will do, but no panic
		if r, err := d.Data(); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			r.Close()
		}
	})
}
