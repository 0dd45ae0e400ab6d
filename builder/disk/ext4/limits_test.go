package ext4

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// linked returns a file with n names.
func linked(n int) []tree.Entry {
	es := []tree.Entry{dir("."), file("00000", []byte("one file"))}
	for i := 1; i < n; i++ {
		es = append(es, tree.Entry{Path: fmt.Sprintf("%05d", i), Type: tree.Hardlink, Link: "00000"})
	}
	return es
}

// TestHardLinkLimit: the kernel's EXT4_LINK_MAX names of a file are written and read, one more is refused.
func TestHardLinkLimit(t *testing.T) {
	image := writeImage(t, mustTree(t, linked(65000)), tree.NewReader(nil), testOptions(64*mib))
	fsck(t, image)
	if out := runTool(t, "debugfs", "-R", "stat /64999", image); !strings.Contains(out, "Links: 65000") {
		t.Errorf("debugfs: %s", out)
	}
	_, got, _ := readImage(t, image)
	if e, ok := got.Lookup("64999"); !ok || e.Type != tree.Hardlink || e.Link != "00000" {
		t.Errorf("the last name is %+v", e)
	}
	o := testOptions(64 * mib)
	err := Write(context.Background(), make(memory, o.Size), mustTree(t, linked(65001)), tree.NewReader(nil), o)
	if err == nil || !strings.Contains(err.Error(), "more than 65000 hard links to one file, 00000: make some of them copies") {
		t.Errorf("65,001 names: %v", err)
	}
}

// TestNameLimit has a file, a directory and a link with names of 255 bytes; 256 are refused.
func TestNameLimit(t *testing.T) {
	long := func(c string, n int) string { return strings.Repeat(c, n) }
	es := []tree.Entry{dir("."), file(long("f", 255), []byte("x")), dir(long("d", 255)), file(long("d", 255)+"/"+long("\xff", 255), nil),
		{Path: long("l", 255), Type: tree.Symlink, Mode: 0o777, MTime: when, Link: long("d", 255) + "/" + long("f", 255)}}
	want, src := mustTree(t, es), tree.NewReader(nil)
	image := writeImage(t, want, src, testOptions(16*mib))
	fsck(t, image)
	_, got, gotSrc := readImage(t, image)
	sameTrees(t, got, want, gotSrc, src)
	o := testOptions(16 * mib)
	err := Write(context.Background(), make(memory, o.Size), mustTree(t, append(es, file(long("n", 256), nil))), src, o)
	if err == nil || !strings.Contains(err.Error(), "255") {
		t.Errorf("a name of 256 bytes: %v", err)
	}
}

// TestEveryMode has a file for each of the 4,096 modes.
func TestEveryMode(t *testing.T) {
	es := []tree.Entry{dir("."), dir("modes")}
	for mode := range uint32(0o10000) {
		e := file(fmt.Sprintf("modes/%04o", mode), nil)
		e.Mode = mode
		es = append(es, e)
	}
	want, src := mustTree(t, es), tree.NewReader(nil)
	image := writeImage(t, want, src, testOptions(128*mib))
	fsck(t, image)
	_, got, gotSrc := readImage(t, image)
	sameTrees(t, got, want, gotSrc, src)
	found := 0
	for line := range strings.Lines(runTool(t, "debugfs", "-R", "ls -p /modes", image)) { // /inode/mode/uid/gid/name/size/
		f := strings.Split(line, "/")
		if len(f) < 6 || len(f[5]) != 4 {
			continue
		}
		found++
		if mode, err := strconv.ParseUint(f[2], 8, 32); err != nil || fmt.Sprintf("%04o", mode&0o7777) != f[5] {
			t.Errorf("debugfs has the mode %s for %s", f[2], f[5])
		}
	}
	if found != 0o10000 {
		t.Errorf("debugfs lists %d modes", found)
	}
}

// TestShrink: resize2fs moves what is in the way, and e2fsck and the reader find all of it afterwards.
func TestShrink(t *testing.T) {
	for _, sums := range []Checksums{MetadataCsum, UninitBG} {
		o := testOptions(600 * mib)
		o.Checksums = sums
		want, src := mustTree(t, append(everything(), manyFiles(20, 50, 5000)[1:]...)), tree.NewReader(nil)
		image := writeImage(t, want, src, o)
		runTool(t, "resize2fs", image, "300M")
		fsck(t, image)
		runTool(t, "resize2fs", "-M", image)
		fsck(t, image)
		info, err := os.Stat(image)
		if err != nil || info.Size() > 100*mib {
			t.Errorf("resize2fs -M leaves %d bytes (%v)", info.Size(), err)
		}
		_, got, gotSrc := readImage(t, image)
		sameTrees(t, got, want, gotSrc, src)
	}
}

// TestSixGigabytes has a sparse file of 6 GiB with bytes at its end, whose place e2fsck and debugfs agree on.
func TestSixGigabytes(t *testing.T) {
	const size = 6 << 30
	blob, src := cas.Of([]byte("blob")), tree.NewReader(nil)
	src.Add(blob, bytes.NewReader(pattern(5000)))
	e := tree.Entry{Path: "six", Type: tree.File, Mode: 0o644, MTime: when, Content: tree.Content{Size: size, Extents: []tree.Extent{
		{Length: size - 5000}, {Blob: blob, Length: 5000}}}}
	image := writeImage(t, mustTree(t, []tree.Entry{dir("."), e}), src, testOptions(64*mib))
	fsck(t, image)
	if out := runTool(t, "debugfs", "-R", "stat /six", image); !strings.Contains(out, fmt.Sprintf("Size: %d", size)) {
		t.Errorf("debugfs: %s", out)
	}
	_, got, gotSrc := readImage(t, image)
	six, ok := got.Lookup("six")
	if !ok || six.Content.Size != size {
		t.Fatalf("read %+v", six)
	}
	var end []byte
	for _, x := range six.Content.Extents {
		if x.Blob == "" {
			continue
		}
		end = append(end, contentOf(t, gotSrc, tree.Entry{Path: "six", Content: tree.Content{Size: x.Length, Extents: []tree.Extent{x}}})...)
	}
	if !bytes.HasSuffix(end, pattern(5000)) || len(end) > 8192 {
		t.Errorf("%d bytes that are no hole, and not those at the end", len(end))
	}
}
