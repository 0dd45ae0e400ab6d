package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/edgebake/edgebake/builder/tree"
)

// TestCostsAreSizes holds the costs in line with what they stand for.
func TestCostsAreSizes(t *testing.T) {
	for name, c := range map[string][2]int{
		"entry": {entryCost, int(unsafe.Sizeof(tree.Entry{}))}, "name": {nameCost, int(unsafe.Sizeof(name{}))},
		"attribute": {attrCost, int(unsafe.Sizeof(tree.Xattr{}))}, "run": {runCost, 2 * int(unsafe.Sizeof(tree.Extent{}))},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, but it has %d bytes", name, c[0], c[1])
		}
	}
}

// hostileImage names, in a process that TestHostileMemory starts, the image to be read there.
const hostileImage = "EDGEBAKE_TEST_HOSTILE_IMAGE"

// TestHostileMemory reads small images that describe trees of gigabytes, each in a process of its own.
func TestHostileMemory(t *testing.T) {
	if path := os.Getenv(hostileImage); path != "" {
		readHostile(t, path)
		return
	}
	for name, build := range map[string]func(*testing.T) []byte{"shared extents": sharedExtents, "shared names": sharedNames} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, build(t), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestHostileMemory$", "-test.v")
			cmd.Env = append(os.Environ(), hostileImage+"="+path)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "128 MiB of memory") {
				t.Errorf("%v\n%s", err, out)
			}
			peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
			t.Logf("%d MiB", peak)
			if peak > 512 {
				t.Errorf("reading takes %d MiB", peak)
			}
		})
	}
}

func readHostile(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = fs.Tree(context.Background(), imageBlob, 0); err == nil {
		t.Fatal("a tree of gigabytes is read")
	}
	t.Log(err)
}

// unsummed writes a tree without checksums, so that it can be changed.
func unsummed(t *testing.T, entries []tree.Entry, size int64) []byte {
	t.Helper()
	o := testOptions(size)
	o.Checksums, o.BytesPerInode = UninitBG, 4096
	m := make(memory, o.Size)
	if err := Write(context.Background(), m, mustTree(t, entries), tree.NewReader(nil), o); err != nil {
		t.Fatal(err)
	}
	m[1024+0x64] &^= roGDTCsum
	return m
}

// inodeAt is the inode ino of an image of one flex group.
func inodeAt(t *testing.T, b []byte, ino uint32) []byte {
	t.Helper()
	fs, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	group, index := int64(ino-1)/fs.perGroup, int64(ino-1)%fs.perGroup
	return b[fs.tables[group]*fs.bs+index*fs.inodeLen:][:fs.inodeLen]
}

// sharedExtents has 12,000 files, which all have the same block of 340 extents.
func sharedExtents(t *testing.T) []byte {
	entries := []tree.Entry{dir(".")}
	for i := range 12000 {
		entries = append(entries, file(fmt.Sprintf("%06d", i), []byte("x")))
	}
	b := unsummed(t, entries, 64*mib)
	leaf := int64(len(b))/blockSize - 2 // nothing is there
	var rs []run
	for i := range int64(blockExtents) {
		rs = append(rs, run{logical: 2 * i, physical: leaf, n: 1})
	}
	copy(b[leaf*blockSize:], extentNode(rs, 0, blockSize, blockExtents))
	root := extentNode([]run{{physical: leaf}}, 1, 60, rootExtents)
	for ino := uint32(firstIno + 1); ino < firstIno+12000; ino++ {
		in := inodeAt(t, b, ino)
		copy(in[0x28:], root)
		binary.LittleEndian.PutUint32(in[4:], 2*blockExtents*blockSize)
	}
	return b
}

// sharedNames has a directory that consists of one block of names, thousands of times.
func sharedNames(t *testing.T) []byte {
	entries := []tree.Entry{dir(".")}
	for i := range 1000 {
		entries = append(entries, file(fmt.Sprintf("%09d", i), nil))
	}
	b := unsummed(t, entries, 128*mib)
	fs, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := fs.newWalk("", 0).inode(rootIno)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := fs.newWalk("", 0).runsOf(in)
	if err != nil {
		t.Fatal(err)
	}
	block := runs[len(runs)-1].physical + runs[len(runs)-1].n - 2 // neither the first nor the last
	raw, leaf := inodeAt(t, b, rootIno), int64(len(b))/blockSize-2
	const blocks = 20000
	binary.LittleEndian.PutUint32(raw[4:], blocks*blockSize)
	var leaves []run
	for at := int64(0); at < blocks; at += blockExtents {
		var rs []run
		for i := at; i < at+blockExtents; i++ {
			rs = append(rs, run{logical: i, physical: block, n: 1})
		}
		copy(b[leaf*blockSize:], extentNode(rs, 0, blockSize, blockExtents))
		leaves = append(leaves, run{logical: at, physical: leaf})
		leaf--
	}
	copy(b[leaf*blockSize:], extentNode(leaves, 1, blockSize, blockExtents))
	copy(raw[0x28:], extentNode([]run{{physical: leaf}}, 2, 60, rootExtents))
	return b
}
