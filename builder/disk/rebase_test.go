package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

func noTrees(*image.Image) map[int]tree.Tree { return nil }

func rootWithFile(number int) func(*testing.T) func(*image.Image) map[int]tree.Tree {
	return func(t *testing.T) func(*image.Image) map[int]tree.Tree {
		return func(img *image.Image) map[int]tree.Tree {
			return map[int]tree.Tree{number: with(t, img, number, "etc/added", "added\n")}
		}
	}
}

func TestRebaseOfNothingKeepsAllBytes(t *testing.T) {
	for name, base := range map[string]string{"pi": piBase(t), "cloud": cloudBase(t)} {
		t.Run(name, func(t *testing.T) {
			out, p := rebaseImage(t, base, noTrees, 0)
			if !bytes.Equal(readFile(t, base), readFile(t, out)) {
				t.Error("bytes differ")
			}
			for _, part := range p.Partitions {
				if !part.Kept() {
					t.Errorf("partition %d is not kept", part.Number)
				}
			}
			size := int64(len(readFile(t, base)))
			if again, _ := rebaseImage(t, base, noTrees, size); !bytes.Equal(readFile(t, base), readFile(t, again)) {
				t.Error("with its own size as disk.size, bytes differ")
			}
		})
	}
}

// outside fails for bytes that differ outside of [from, to).
func outside(t *testing.T, a, b []byte, from, to int64) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d and %d bytes", len(a), len(b))
	}
	if !bytes.Equal(a[:from], b[:from]) || !bytes.Equal(a[to:], b[to:]) {
		t.Error("bytes outside of the partition differ")
	}
}

// superblock returns what dumpe2fs says about what must stay.
func superblock(t *testing.T, p string, keys string) string {
	t.Helper()
	var out []string
	lines := regexp.MustCompile(`(?m)^(` + keys + `):.*$`)
	for _, line := range lines.FindAllString(run(t, "dumpe2fs", "-h", p), -1) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "\n")
}

const (
	keptAlways = "Filesystem UUID|Filesystem volume name|Filesystem features|Default mount options|Errors behavior|Block size|Inodes per group|Inode size|Directory Hash Seed|Default directory hash|Maximum mount count|Check interval|Mount options"
	keptInSize = "|Reserved block count|Block count|Inode count|Reserved GDT blocks|Journal size|Total journal size"
)

func section(t *testing.T, image string, start, size int64) string {
	t.Helper()
	b := readFile(t, image)
	return newFile(t, size, map[int64][]byte{0: b[start : start+size]})
}

func TestRebaseWritesTheRootAnew(t *testing.T) {
	tests := map[string]struct {
		base   string
		number int
		tune   []string
	}{
		"uninit_bg":     {base: piBase(t, "-O", "^metadata_csum,uninit_bg"), number: 2},
		"metadata_csum": {base: piBase(t, "-O", "metadata_csum"), number: 2},
		"tuned":         {base: piBase(t, "-m", "1.7", "-i", "4096", "-e", "remount-ro"), number: 2, tune: []string{"-o", "journal_data_writeback,^acl", "-c", "30", "-i", "5d", "-E", "mount_opts=noatime"}},
		"cloud":         {base: cloudBase(t), number: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from := partition(t, tt.base, tt.number)
			if tt.tune != nil {
				tune(t, tt.base, from, tt.tune)
			}
			out, _ := rebaseImage(t, tt.base, rootWithFile(tt.number)(t), 0)
			outside(t, readFile(t, tt.base), readFile(t, out), from.Start, from.Start+from.Size)
			before, after := section(t, tt.base, from.Start, from.Size), section(t, out, from.Start, from.Size)
			run(t, "e2fsck", "-fn", after)
			keys := keptAlways + keptInSize
			if a, b := superblock(t, before, keys), superblock(t, after, keys); a != b {
				t.Errorf("superblock was\n%s\nand is\n%s", a, b)
			}
			if got := run(t, "debugfs", "-R", "cat /etc/added", after); !strings.Contains(got, "added\n") {
				t.Errorf("the new file says %q", got)
			}
			if got := run(t, "debugfs", "-R", "cat /usr/bin/tool", after); !strings.Contains(got, strings.Repeat("tool", 50000)) {
				t.Errorf("an old file has %d bytes", len(got))
			}
		})
	}
}

func partition(t *testing.T, p string, number int) image.Partition {
	t.Helper()
	for _, part := range openImage(t, p).Partitions() {
		if part.Number == number {
			return part
		}
	}
	t.Fatalf("no partition %d", number)
	return image.Partition{}
}

// tune runs tune2fs on a partition of an image.
func tune(t *testing.T, p string, part image.Partition, args []string) {
	t.Helper()
	fs := section(t, p, part.Start, part.Size)
	run(t, "tune2fs", append(args, fs)...)
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(readFile(t, fs), part.Start); err != nil {
		t.Fatal(err)
	}
}

func TestRebaseWritesTheFATAnew(t *testing.T) {
	fsck := func(t *testing.T, p string) {
		if got := run(t, "fsck.vfat", "-n", p); strings.Contains(got, "differ") || strings.Contains(got, "unused") {
			t.Errorf("fsck.vfat: %s", got)
		}
	}
	tests := map[string]struct {
		base   string
		number int
	}{
		"pi":    {piBase(t), 1},
		"cloud": {cloudBase(t, "-h", "24576", "-R", "40", "-f", "1", "-i", "1234abcd"), 15},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from := partition(t, tt.base, tt.number)
			out, _ := rebaseImage(t, tt.base, func(img *image.Image) map[int]tree.Tree {
				return map[int]tree.Tree{tt.number: with(t, img, tt.number, "new file.txt", strings.Repeat("n", 3000))}
			}, 0)
			a, b := readFile(t, tt.base), readFile(t, out)
			outside(t, a, b, from.Start, from.Start+from.Size)
			if !bytes.Equal(a[from.Start:from.Start+sector], b[from.Start:from.Start+sector]) {
				t.Error("the boot sector differs")
			}
			after := section(t, out, from.Start, from.Size)
			fsck(t, after)
			if got := run(t, "mtype", "-i", after, "::new file.txt"); got != strings.Repeat("n", 3000) {
				t.Errorf("the new file has %d bytes", len(got))
			}
			now := partition(t, out, tt.number)
			if now.Label != from.Label || now.UUID != from.UUID {
				t.Errorf("was %+v and is %+v", from, now)
			}
		})
	}
}

func TestRebaseGrowsTheLastPartition(t *testing.T) {
	t.Run("mbr", func(t *testing.T) {
		base := piBase(t, "-O", "^metadata_csum,uninit_bg", "-m", "5")
		const size = 90<<20 + 5*sector
		out, p := rebaseImage(t, base, noTrees, size+100)
		from, now := partition(t, base, 2), partition(t, out, 2)
		if p.Size != size || now.Start != from.Start || now.Start+now.Size != size-piSpare || now.PartUUID != from.PartUUID || now.UUID != from.UUID {
			t.Errorf("was %+v and is %+v on a disk of %d", from, now, p.Size)
		}
		a, b := readFile(t, base), readFile(t, out)
		if !bytes.Equal(a[:446], b[:446]) || !bytes.Equal(a[sector:from.Start], b[sector:from.Start]) || !bytes.Equal(a[len(a)-piSpare:], b[len(b)-piSpare:]) {
			t.Error("bytes around the partition differ")
		}
		before, after := section(t, base, from.Start, from.Size), section(t, out, now.Start, now.Size)
		run(t, "e2fsck", "-fn", after)
		if a, b := superblock(t, before, keptAlways), superblock(t, after, keptAlways); a != b {
			t.Errorf("superblock was\n%s\nand is\n%s", a, b)
		}
		if got := run(t, "sfdisk", "--verify", out); !strings.Contains(got, "No errors") {
			t.Errorf("sfdisk: %s", got)
		}
	})
	t.Run("mbr that was enlarged before", func(t *testing.T) {
		base := piBase(t)
		const size = 90 << 20
		if err := os.Truncate(base, size); err != nil {
			t.Fatal(err)
		}
		out, _ := rebaseImage(t, base, noTrees, size)
		now := partition(t, out, 2)
		if now.Start+now.Size != size-piSpare {
			t.Errorf("the partition ends at %d of %d", now.Start+now.Size, size)
		}
		run(t, "e2fsck", "-fn", section(t, out, now.Start, now.Size))
	})
	t.Run("gpt", func(t *testing.T) {
		base := cloudBase(t)
		const size = 120 << 20
		out, _ := rebaseImage(t, base, rootWithFile(1)(t), size)
		checkGrownGPT(t, base, out, size)
	})
	t.Run("gpt whose backup is in the middle", func(t *testing.T) {
		base := cloudBase(t)
		old := int64(len(readFile(t, base)))
		const size = 120 << 20
		if err := os.Truncate(base, size); err != nil {
			t.Fatal(err)
		}
		if w := openImage(t, base).Warnings(); len(w) != 1 || !strings.Contains(w[0], fmt.Sprintf("sector %d and not in the last one", old/sector-1)) {
			t.Errorf("warnings: %q", w)
		}
		out, _ := rebaseImage(t, base, rootWithFile(1)(t), size)
		checkGrownGPT(t, base, out, size)
	})
	t.Run("hybrid", func(t *testing.T) {
		base := cloudBase(t)
		run(t, "sgdisk", "-h", "1", base)
		if w := openImage(t, base).Warnings(); len(w) != 1 || !strings.Contains(w[0], "hybrid") {
			t.Errorf("warnings: %q", w)
		}
		const size = 120 << 20
		out, _ := rebaseImage(t, base, rootWithFile(1)(t), size)
		checkGrownGPT(t, base, out, size)
		if got := run(t, "sfdisk", "-d", "-Y", "dos", out); !strings.Contains(got, fmt.Sprintf("size= %11d, type=83", partition(t, out, 1).Size/sector)) {
			t.Errorf("the MBR says\n%s", got)
		}
	})
}

// entry is what sgdisk says of a partition, without its warnings about the table.
func entry(t *testing.T, p, number string) string {
	t.Helper()
	_, info, _ := strings.Cut(run(t, "sgdisk", "-i", number, p), "Partition GUID code")
	return info
}

func checkGrownGPT(t *testing.T, base, out string, size int64) {
	t.Helper()
	if got := run(t, "sgdisk", "-v", out); !strings.Contains(got, "No problems found") {
		t.Errorf("sgdisk: %s", got)
	}
	from, now := partition(t, base, 1), partition(t, out, 1)
	if now.Start+now.Size != size-33*sector || now.PartUUID != from.PartUUID || openImage(t, out).ID() != openImage(t, base).ID() {
		t.Errorf("was %+v and is %+v", from, now)
	}
	for _, n := range []string{"14", "15", "3"} {
		if a, b := entry(t, base, n), entry(t, out, n); a != b {
			t.Errorf("partition %s was\n%s\nand is\n%s", n, a, b)
		}
	}
	a, b := readFile(t, base), readFile(t, out)
	if !bytes.Equal(a[:440], b[:440]) || !bytes.Equal(a[34*sector:from.Start], b[34*sector:from.Start]) {
		t.Error("bytes before the partition differ")
	}
	run(t, "e2fsck", "-fn", section(t, out, now.Start, now.Size))
}

// TestRebaseOverADamagedTable uses the backup, and repairs the table: Linux does not look for a backup.
func TestRebaseOverADamagedTable(t *testing.T) {
	base := cloudBase(t)
	f, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(noise(200, "damage"), sector); err != nil {
		t.Fatal(err)
	}
	if w := openImage(t, base).Warnings(); len(w) != 1 || !strings.Contains(w[0], "its backup at the end of the image is used") {
		t.Errorf("warnings: %q", w)
	}
	out, _ := rebaseImage(t, base, rootWithFile(1)(t), 0)
	if w := openImage(t, out).Warnings(); len(w) > 0 {
		t.Errorf("the table was not repaired: %q", w)
	}
	for _, p := range openImage(t, base).Partitions() {
		if n := strconv.Itoa(p.Number); entry(t, base, n) != entry(t, out, n) {
			t.Errorf("partition %s was\n%s\nand is\n%s", n, entry(t, base, n), entry(t, out, n))
		}
	}
	grown, _ := rebaseImage(t, base, rootWithFile(1)(t), 120<<20)
	checkGrownGPT(t, out, grown, 120<<20)
}

func TestRebaseIsReproducible(t *testing.T) {
	base := piBase(t)
	trees := func(img *image.Image) map[int]tree.Tree {
		return map[int]tree.Tree{1: with(t, img, 1, "a.txt", "a"), 2: with(t, img, 2, "b", "b")}
	}
	a, _ := rebaseImage(t, base, trees, 80<<20)
	b, _ := rebaseImage(t, base, trees, 80<<20)
	if !bytes.Equal(readFile(t, a), readFile(t, b)) {
		t.Error("two images differ")
	}
}

func TestRebaseRefuses(t *testing.T) {
	pi, cloud := piBase(t), cloudBase(t)
	flagged := piBase(t)
	tune(t, flagged, partition(t, flagged, 2), []string{"-E", "force_fsck"})
	big := func(number int, size int64) func(*image.Image) map[int]tree.Tree {
		return func(img *image.Image) map[int]tree.Tree {
			own := with(t, img, number, "x", "x").Entries()
			own[len(own)-1].Content = tree.Content{Size: size, Extents: []tree.Extent{{Blob: baseBlob, Length: size}}}
			out, err := tree.New(own)
			if err != nil {
				t.Fatal(err)
			}
			return map[int]tree.Tree{number: out}
		}
	}
	tests := map[string]struct {
		base  string
		trees func(*image.Image) map[int]tree.Tree
		size  int64
		want  string
	}{
		"smaller":           {pi, noTrees, 20 << 20, "can't be made smaller"},
		"unknown partition": {cloud, func(*image.Image) map[int]tree.Tree { return map[int]tree.Tree{3: {}} }, 0, "no file system that can be written"},
		"no partition":      {cloud, func(*image.Image) map[int]tree.Tree { return map[int]tree.Tree{7: {}} }, 0, "partition 7, which the base does not have"},
		"no room in FAT":    {pi, big(1, 45<<20), 0, "enlarge it by"},
		"no room in root":   {pi, big(2, 60<<20), 0, "too few"},
		"errors flagged":    {flagged, noTrees, 0, "marked as having errors"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := sha256.Sum256(readFile(t, tt.base))
			_, _, err := tryRebase(t, tt.base, tt.trees, tt.size)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			var noRoom *fat.TooSmallError
			var noRoot *ext4.TooSmallError
			if strings.HasPrefix(name, "no room") && !errors.As(err, &noRoom) && !errors.As(err, &noRoot) {
				t.Errorf("%T says by how much", err)
			}
			if sha256.Sum256(readFile(t, tt.base)) != before {
				t.Error("the base was changed")
			}
		})
	}
}

// TestRebasedContentsAreTheBases compares a file that nobody touched.
func TestRebasedContentsAreTheBases(t *testing.T) {
	base := piBase(t)
	out, _ := rebaseImage(t, base, rootWithFile(2)(t), 80<<20)
	img := openImage(t, out)
	root, err := img.Tree(context.Background(), 2)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := root.Lookup("usr/bin/tool")
	if !ok {
		t.Fatal("the file is gone")
	}
	r, err := img.Reader().Open(e.Content)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != strings.Repeat("tool", 50000) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
