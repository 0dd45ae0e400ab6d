package disk

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// behind hashes an image while it is written, as far as it is said not to change any more.
type behind struct {
	hash  hash.Hash
	at    int64
	steps int
}

func (b *behind) settled(f *os.File, n int64) error {
	if n < b.at {
		return fmt.Errorf("%d bytes were settled and then %d", b.at, n)
	}
	if n > b.at {
		b.steps++
	}
	copied, err := io.Copy(b.hash, io.NewSectionReader(f, b.at, n-b.at))
	b.at += copied
	return err
}

func sumOfFile(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// crowded has what lies at the end of its nodes' data: indexes of large directories, attributes, holes.
func crowded(t *testing.T) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	for i := range 1500 {
		content := tree.InlineContent([]byte(strings.Repeat("x", i*23)))
		if i%50 == 0 { // fragments with holes between them need an index
			content = tree.Content{}
			for range 20 {
				content.Extents = append(content.Extents, tree.Extent{Length: 8192})
			}
			content.Size = 20 * 8192
		}
		attrs := []tree.Xattr{{Name: "user.long", Value: []byte(strings.Repeat("y", i%7*300))}}
		b.Add(tree.Entry{Path: fmt.Sprintf("srv/a-rather-long-directory/and-a-rather-long-name-%04d", i), Type: tree.File, Mode: 0o644, Content: content, Xattrs: attrs})
	}
	for _, p := range []string{"etc/fstab", "boot/firmware/cmdline.txt", "boot/efi/EFI/BOOT/BOOTX64.EFI", "zz/last"} {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(p))})
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSettledBytesStay(t *testing.T) {
	for name, d := range map[string]profile.Disk{"mbr": piDisk(), "gpt": pcDisk()} {
		t.Run(name, func(t *testing.T) {
			d.Size = 140 << 20
			p, err := NewPlan(d, crowded(t), [32]byte{1}, 1700000000)
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Join(t.TempDir(), "x.img")
			checkSettled(t, base, p, tree.NewReader(nil))
			img, err := image.Open(base)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			last := p.Partitions[len(p.Partitions)-1].Number
			if p, err = Rebase(t.Context(), img, "base", map[int]tree.Tree{last: crowded(t)}, p.Size+8<<20, [32]byte{2}, 1700000001); err != nil {
				t.Fatal(err)
			}
			src := tree.NewReader(nil)
			src.Add("base", img)
			checkSettled(t, filepath.Join(t.TempDir(), "y.img"), p, src)
		})
	}
}

// checkSettled writes the image twice, the second time over the first.
func checkSettled(t *testing.T, name string, p Plan, src *tree.Reader) {
	t.Helper()
	for range 2 {
		b := &behind{hash: sha256.New()}
		p.Settled = b.settled
		if err := Assemble(t.Context(), name, p, src, progress.Discard{}); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%x", b.hash.Sum(nil)), sumOfFile(t, name); got != want || b.at != p.Size {
			t.Errorf("%d of %d bytes were settled with SHA-256 %s; the file's is %s", b.at, p.Size, got, want)
		}
		if b.steps < 10 {
			t.Errorf("the bytes were settled in %d steps: the reader waits for the writer", b.steps)
		}
		if _, err := os.Stat(name + ".partial"); err == nil {
			t.Error("the file of an earlier image is left over")
		}
	}
}

func TestWindowRefusesWhatWasSettled(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	task := progress.Discard{}.Task("", 0, progress.Bytes)
	w := window{w: f, base: 1000, size: 1000, limit: 1500, task: task, tell: func(*os.File, int64) error { return nil }}
	if err := w.Settled(700); err != nil || w.settled != 1500 {
		t.Errorf("settled %d, %v: the limit is another partition's", w.settled, err)
	}
	for off, ok := range map[int64]bool{0: false, 499: false, 500: true, 999: true, 1000: false, -1: false} {
		if _, err := w.WriteAt([]byte{1}, off); (err == nil) != ok {
			t.Errorf("writing at %d: %v", off, err)
		}
	}
}
