package artifact

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
)

// TestUntouched leaves a set and does things to it, in the same boot of the machine or before another one.
func TestUntouched(t *testing.T) {
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)) }
	}
	restored := func(t *testing.T, dir string) { // other bytes, with the time of the old ones
		path := filepath.Join(dir, "x.img")
		info, err := os.Stat(path)
		must(t, err)
		write("x.img", "imagf")(t, dir)
		must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	}
	nothing := func(*testing.T, string) {}
	tests := []struct {
		name    string
		harm    func(t *testing.T, dir string)
		another bool // boot of the machine
		want    bool
	}{
		{"nothing", nothing, false, true},
		{"nothing, after a boot", nothing, true, true},
		{"a file that is nobody's", write("notes.txt", "x"), false, true},
		{"the same bytes again", write("x.img", "image"), false, false},
		{"other bytes", write("x.img", "imagf"), false, false},
		{"other bytes with the old time", restored, false, false},
		{"other bytes with the old time, after a boot", restored, true, false},
		{"a longer file", write("manifest.json", "manifest and more"), false, false},
		{"only the time", func(t *testing.T, dir string) {
			must(t, os.Chtimes(filepath.Join(dir, "x.img"), time.Unix(1, 0), time.Unix(1, 0)))
		}, false, false},
		{"a file is gone", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "manifest.json"))) }, false, false},
		{"a link in place of a file", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "x.img"), filepath.Join(dir, "y.img")))
			must(t, os.Symlink("y.img", filepath.Join(dir, "x.img")))
		}, false, false},
		{"a copy in place of a file", func(t *testing.T, dir string) {
			write("y.img", "image")(t, dir)
			must(t, os.Rename(filepath.Join(dir, "y.img"), filepath.Join(dir, "x.img")))
		}, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write("x.img", "image")(t, dir)
			write("manifest.json", "manifest")(t, dir)
			left, err := Stands(t.Context(), dir, []string{"x.img", "manifest.json", "verdict.json"}, map[string]cas.Digest{"x.img": cas.Of([]byte("image"))})
			must(t, err)
			if len(left.Files) != 2 || left.Files[1].SHA256 != cas.Of([]byte("manifest")) {
				t.Fatalf("left %+v", left)
			}
			if test.another {
				left.Boot = "another"
			}
			test.harm(t, dir)
			now, err := left.Untouched(t.Context(), dir)
			if (err == nil) != test.want {
				t.Errorf("got %v", err)
			}
			if again, err := now.Untouched(t.Context(), dir); test.want && (err != nil || again.Boot != bootID()) {
				t.Errorf("the next time: %+v, %v", again, err)
			}
		})
	}
}

// TestUntouchedReadsAfterABoot: a power cut can leave what has the right size and times, and other bytes.
func TestUntouchedReadsAfterABoot(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x.img"), make([]byte, 5), 0o644))
	left, err := Stands(t.Context(), dir, []string{"x.img"}, map[string]cas.Digest{"x.img": cas.Of([]byte("image"))})
	must(t, err)
	if _, err := left.Untouched(t.Context(), dir); err != nil {
		t.Errorf("in the same boot: %v", err)
	}
	for _, boot := range []string{"another", ""} {
		left.Boot = boot
		if _, err := left.Untouched(t.Context(), dir); err == nil {
			t.Errorf("after boot %q the zeros are taken for the image", boot)
		}
	}
}
