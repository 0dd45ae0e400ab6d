package ext4

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/tree"
)

// TestReadKernelMade lets the kernel fill file systems with the features of different releases, one entry after the other, and
// change them. Then it mounts them again, and what it shows must be what the reader finds in the image.
func TestReadKernelMade(t *testing.T) {
	const bionic = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
	tests := []struct {
		name string
		args []string
		more int // bytes of a further attribute
	}{
		{"bionic and focal", []string{"-t", "ext4", "-O", bionic}, 0},
		{"bookworm", []string{"-t", "ext4"}, 0},
		{"e2fsprogs 1.47", []string{"-t", "ext4", "-O", "metadata_csum_seed,orphan_file"}, 0},
		{"inline_data", []string{"-t", "ext4", "-O", bionic + ",inline_data"}, 0},
		{"ea_inode", []string{"-t", "ext4", "-O", bionic + ",ea_inode,large_dir"}, 60000},
		{"xenial", []string{"-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg"}, 0},
		{"ext3", []string{"-t", "ext3"}, 0},
	}
	src := tree.NewReader(nil)
	es := mustTree(t, torture(src, 3000, 14500)).Entries()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			runTool(t, "mke2fs", slices.Concat([]string{"-q", "-F", "-b", "4096", "-I", "256", "-i", "8192"}, test.args, []string{image, "300M"})...)
			mnt := mount(t, image, "rw")
			p := populator{mnt: mnt, src: src}
			p.populate(t, es)
			p.age(t, test.more)
			unmount(t, mnt)
			released(t, image)
			_, got, gotSrc := readImage(t, image)
			if got.Len() < len(es) {
				t.Fatalf("%d entries were made and %d read", len(es), got.Len())
			}
			if test.more > 0 {
				e, _ := got.Lookup("aged/attr")
				if len(e.Xattrs) != 1 || len(e.Xattrs[0].Value) != test.more {
					t.Errorf("the large attribute is missing: %d attributes", len(e.Xattrs))
				}
			}
			sameAsMounted(t, mount(t, image, "ro"), got, gotSrc)
		})
	}
}

// populator makes entries through the kernel.
type populator struct {
	mnt string
	src *tree.Reader
}

func (p populator) path(e string) string { return filepath.Join(p.mnt, e) }

// populate makes all entries, hard links after what they name, and sets the times of directories at the end.
func (p populator) populate(t *testing.T, es []tree.Entry) {
	t.Helper()
	for _, links := range []bool{false, true} {
		for _, e := range es {
			if (e.Type == tree.Hardlink) == links && e.Path != "." {
				p.must(t, e.Path, p.create(e))
			}
		}
	}
	for _, e := range slices.Backward(es) {
		if e.Type == tree.Dir {
			p.must(t, e.Path, p.setTime(e))
		}
	}
}

func (p populator) must(t *testing.T, name string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("making %q: %v", name, err)
	}
}

func (p populator) create(e tree.Entry) error {
	path, dev := p.path(e.Path), int(unix.Mkdev(e.Major, e.Minor))
	var err error
	switch e.Type {
	case tree.Dir:
		err = unix.Mkdir(path, 0o700)
	case tree.File:
		err = p.createFile(path, e.Content)
	case tree.Symlink:
		err = unix.Symlink(e.Link, path)
	case tree.Hardlink:
		return unix.Link(p.path(e.Link), path)
	case tree.CharDevice:
		err = unix.Mknod(path, unix.S_IFCHR|0o600, dev)
	case tree.BlockDevice:
		err = unix.Mknod(path, unix.S_IFBLK|0o600, dev)
	case tree.Fifo:
		err = unix.Mknod(path, unix.S_IFIFO|0o600, 0)
	case tree.Socket:
		err = unix.Mknod(path, unix.S_IFSOCK|0o600, 0)
	}
	if err != nil {
		return err
	}
	return p.setAttributes(e)
}

// setAttributes: a change of owner takes setuid bits and capabilities away, so it comes first.
func (p populator) setAttributes(e tree.Entry) error {
	path := p.path(e.Path)
	if err := unix.Lchown(path, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if e.Type != tree.Symlink {
		if err := unix.Chmod(path, e.Mode); err != nil {
			return err
		}
	}
	for _, x := range e.Xattrs {
		if err := unix.Lsetxattr(path, x.Name, x.Value, 0); err != nil {
			return fmt.Errorf("setting %s: %w", x.Name, err)
		}
	}
	return p.setTime(e)
}

func (p populator) setTime(e tree.Entry) error {
	ts := unix.Timespec{Sec: e.MTime.Sec, Nsec: int64(e.MTime.Nsec)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p.path(e.Path), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// createFile writes the data of a content and leaves out its holes.
func (p populator) createFile(path string, c tree.Content) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	content := cutter{c: c}
	for _, r := range dataOf(c) {
		in, err := p.src.Open(content.cut(r.Offset, r.Offset+r.Length))
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(f, r.Offset), in); err != nil {
			return err
		}
	}
	return f.Truncate(c.Size)
}

// age does what a file system sees in its life: names go and others come, files grow, shrink, get holes and
// space that was never written.
func (p populator) age(t *testing.T, attr int) {
	t.Helper()
	list, err := os.ReadDir(p.path("many"))
	p.must(t, "many", err)
	p.must(t, "aged", os.Mkdir(p.path("aged"), 0o755))
	for i, d := range list {
		switch name := p.path("many/" + d.Name()); i % 4 {
		case 0:
			p.must(t, name, os.Remove(name))
			p.must(t, name, os.WriteFile(p.path(fmt.Sprintf("aged/%s%d", strings.Repeat("n", i%200), i)), pattern(i%150), 0o644))
		case 1:
			p.must(t, name, os.Rename(name, p.path(fmt.Sprintf("aged/renamed-%d", i))))
		}
	}
	for name, change := range map[string]func(f *os.File) error{
		"unwritten": func(f *os.File) error {
			_, err := f.WriteAt([]byte("in the middle"), 1234567)
			return err
		},
		"punched": func(f *os.File) error {
			_, err := f.Write(pattern(mib))
			if err != nil || !punches(f) {
				return err
			}
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 10000, 500000)
		},
		"grown":  func(f *os.File) error { return grow(f, 3, 50, 80, 200, 5000) },
		"shrunk": func(f *os.File) error { return grow(f, 100000, 70) },
		"attr": func(f *os.File) error {
			if attr == 0 {
				return nil
			}
			return unix.Fsetxattr(int(f.Fd()), "user.large", pattern(attr), 0)
		},
	} {
		f, err := os.Create(p.path("aged/" + name))
		p.must(t, name, err)
		if name == "unwritten" && punches(f) {
			p.must(t, name, unix.Fallocate(int(f.Fd()), 0, 0, 3*mib))
		}
		p.must(t, name, change(f))
		p.must(t, name, f.Close())
	}
}

// punches says whether the file has extents: block maps have no space that was not written.
func punches(f *os.File) bool {
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	return err == nil && flags&flagExtents != 0
}

// grow writes a file and makes it as long as each of sizes says.
func grow(f *os.File, sizes ...int) error {
	for _, n := range sizes {
		if err := f.Truncate(int64(n)); err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte{byte(n)}, int64(n-1)); err != nil {
			return err
		}
	}
	return nil
}
