package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/disk/sparse"
	"github.com/edgebake/edgebake/builder/tree"
)

// mount lets the running kernel mount an image until the test ends, or unmount is called.
func mount(t *testing.T, image, options string) string {
	t.Helper()
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,"+options, image, mnt).CombinedOutput(); err != nil {
		t.Skipf("the running kernel mounts nothing here: %s (it takes root and loop devices)", out)
	}
	t.Cleanup(func() { unmount(t, mnt) })
	return mnt
}

func unmount(t *testing.T, mnt string) {
	t.Helper()
	out, err := exec.Command("umount", mnt).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not mounted") {
		t.Errorf("umount: %s", out)
	}
}

// released waits until nobody has the image mounted: other tests' mount namespaces, copied meanwhile, have it, too, until they end.
func released(t *testing.T, image string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("losetup", "-j", image).CombinedOutput()
		switch {
		case err == nil && len(out) == 0:
			return
		case time.Now().After(end):
			t.Fatalf("the image is still mounted somewhere: %s (%v)", out, err)
		}
	}
}

// sameAsMounted compares all names of a mounted file system, and what the kernel says of each, with a tree.
func sameAsMounted(t *testing.T, mnt string, want tree.Tree, src *tree.Reader) {
	t.Helper()
	names, faults := 0, 0
	var walk func(p string)
	walk = func(p string) {
		names++
		e, ok := want.Lookup(p)
		var err error
		switch {
		case !ok:
			err = errors.New("it is not in the tree")
		default:
			err = sameAsKernel(mnt, e, want, src)
		}
		if err != nil {
			if faults++; faults <= 20 {
				t.Errorf("%q: %v", p, err)
			}
		}
		if e.Type != tree.Dir {
			return
		}
		list, err := os.ReadDir(filepath.Join(mnt, p))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			walk(filepath.Join(p, d.Name()))
		}
	}
	walk(".")
	if names != want.Len() || faults > 20 {
		t.Errorf("the kernel has %d names and the tree %d; %d faults", names, want.Len(), faults)
	}
}

// sameAsKernel compares one entry with the file that the kernel shows.
func sameAsKernel(mnt string, e tree.Entry, all tree.Tree, src *tree.Reader) error {
	path := filepath.Join(mnt, e.Path)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if e.Type == tree.Hardlink {
		var first unix.Stat_t
		if err := unix.Lstat(filepath.Join(mnt, e.Link), &first); err != nil || first.Ino != st.Ino {
			return errors.Join(fmt.Errorf("inode %d, and %d of %s", st.Ino, first.Ino, e.Link), err)
		}
		e, _ = all.Lookup(e.Link)
	}
	got := tree.Entry{Path: e.Path, Type: typeOf(st.Mode), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		MTime: tree.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}, Content: e.Content}
	var err error
	switch got.Type {
	case tree.Symlink:
		got.Link, err = os.Readlink(path)
	case tree.CharDevice, tree.BlockDevice:
		got.Major, got.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case tree.File:
		if st.Size != e.Content.Size {
			return fmt.Errorf("%d bytes, want %d", st.Size, e.Content.Size)
		}
		err = sameBytesAsKernel(path, e.Content, src)
	}
	if err != nil {
		return err
	}
	if got.Xattrs, err = kernelAttrs(path); err != nil {
		return err
	}
	if diff := tree.DifferingAttributes(got, e); len(diff) > 0 {
		got.Content, e.Content = tree.Content{}, tree.Content{}
		return fmt.Errorf("%v differ:\nkernel %.600s\n  tree %.600s", diff, fmt.Sprint(got), fmt.Sprint(e))
	}
	return nil
}

func typeOf(mode uint32) tree.Type {
	return map[uint32]tree.Type{unix.S_IFREG: tree.File, unix.S_IFDIR: tree.Dir, unix.S_IFLNK: tree.Symlink, unix.S_IFIFO: tree.Fifo,
		unix.S_IFSOCK: tree.Socket, unix.S_IFCHR: tree.CharDevice, unix.S_IFBLK: tree.BlockDevice}[mode&unix.S_IFMT]
}

// kernelAttrs returns the extended attributes of a file, sorted.
func kernelAttrs(path string) (out []tree.Xattr, err error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil || n == 0 {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("reading attribute %s: %w", name, err)
		}
		out = append(out, tree.Xattr{Name: name, Value: value[:n]})
	}
	slices.SortFunc(out, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// sameBytesAsKernel compares what is data for the kernel or for us. All else is a hole for both.
func sameBytesAsKernel(path string, c tree.Content, src *tree.Reader) error {
	if c.Size == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	theirs, err := sparse.Ranges(f, c.Size)
	if err != nil {
		return err
	}
	content := cutter{c: c}
	for _, r := range sparse.Union(theirs, dataOf(c)) {
		in, err := src.Open(content.cut(r.Offset, r.Offset+r.Length))
		if err != nil {
			return err
		}
		ours, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		b := make([]byte, r.Length)
		if _, err := f.ReadAt(b, r.Offset); err != nil || !bytes.Equal(b, ours) {
			return errors.Join(fmt.Errorf("%d bytes at %d differ", r.Length, r.Offset), err)
		}
	}
	return nil
}

func dataOf(c tree.Content) (out []sparse.Range) {
	if c.Inline != nil {
		return []sparse.Range{{Length: c.Size}}
	}
	var at int64
	for _, e := range c.Extents {
		if e.Blob != "" {
			out = append(out, sparse.Range{Offset: at, Length: e.Length})
		}
		at += e.Length
	}
	return out
}
