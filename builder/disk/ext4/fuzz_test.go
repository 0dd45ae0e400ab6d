package ext4

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/oracle"
)

// FuzzOpen damages file systems without checksums. The first byte chooses one: ours, or one of mke2fs with an extent
// tree of several levels, inline data, or block maps. The rest is a list of changes of four bytes: three
// of the place, where the metadata is, and one of the value.
func FuzzOpen(f *testing.F) {
	ours := smallImage(f, UninitBG)
	ours[1024+0x64] &^= 0x10
	images := [][]byte{ours}
	if _, err := exec.LookPath("mke2fs"); err == nil || os.Getenv("CI") != "" {
		images = append(images, foreignImages(f)...)
	}
	for i := range images {
		f.Add([]byte{byte(i)}) // must be read as it is
		f.Add([]byte{byte(i), 0x00, 0x04, 0x18, 9, 0x00, 0x04, 0x20, 0})
		f.Add([]byte{byte(i), 0x00, 0x04, 0x60, 0xff})
		f.Add([]byte{byte(i), 0x10, 0x08, 0x07, 0xff, 0x30, 0x01, 0x28, 7, 0x30, 0x1b, 0xa2, 1})
	}
	f.Fuzz(func(t *testing.T, changes []byte) {
		if len(changes) == 0 {
			return
		}
		b := bytes.Clone(images[int(changes[0])%len(images)])
		for changes = changes[1:]; len(changes) >= 4; changes = changes[4:] {
			at := int(changes[0])<<16 | int(changes[1])<<8 | int(changes[2])
			b[at%len(b)] = changes[3]
		}
		checkDamaged(t, b)
	})
}

// foreignImages are small file systems as mke2fs makes them, with what Write never writes.
func foreignImages(f *testing.F) [][]byte {
	root := f.TempDir()
	fragments, err := os.Create(filepath.Join(root, "fragments"))
	if err != nil {
		f.Fatal(err)
	}
	for i := range int64(600) { // holes between, so that every block is an extent
		if _, err := fragments.WriteAt([]byte("x"), i*8192); err != nil {
			f.Fatal(err)
		}
	}
	if err := fragments.Close(); err != nil {
		f.Fatal(err)
	}
	for name, size := range map[string]int{"inline": 100, "zero": 0, "block": 5000} {
		if err := os.WriteFile(filepath.Join(root, name), pattern(size), 0o640); err != nil {
			f.Fatal(err)
		}
	}
	at := time.Unix(when.Sec, 0) // every process that fuzzes makes the same images, but for ctimes
	for _, name := range []string{"fragments", "inline", "zero", "block", "."} {
		if err := os.Chtimes(filepath.Join(root, name), at, at); err != nil {
			f.Fatal(err)
		}
	}
	const id = "01020304-0506-0708-090a-0b0c0d0e0f10"
	var images [][]byte
	for _, features := range []string{"^metadata_csum,^has_journal", "^metadata_csum,^has_journal,inline_data", "^metadata_csum,^has_journal,^extents,^64bit"} {
		image := filepath.Join(f.TempDir(), "image")
		cmd := exec.Command(oracle.Need(f, "mke2fs"), "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "64", "-O", features+",^uninit_bg",
			"-U", id, "-E", "hash_seed="+id, "-d", root, image, "2M")
		cmd.Env = append(os.Environ(), fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", when.Sec))
		if out, err := cmd.CombinedOutput(); err != nil {
			f.Fatalf("mke2fs -O %s: %v\n%s", features, err, out)
		}
		b, err := os.ReadFile(image)
		if err != nil {
			f.Fatal(err)
		}
		fs, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			f.Fatal(err)
		}
		tr, err := fs.Tree(context.Background(), imageBlob, 0)
		if err != nil {
			f.Fatal(err)
		}
		if e, ok := tr.Lookup("fragments"); !ok || len(e.Content.Extents) < 1000 || fs.Info().Checksums != NoChecksums {
			f.Fatalf("mke2fs -O %s: %d extents, %s", features, len(e.Content.Extents), fs.Info().Checksums)
		}
		images = append(images, b)
	}
	return images
}
