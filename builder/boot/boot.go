// Package boot makes the boot files of an image, and reads them as the board would.
//
// The boot files are data: they come from packages that are already in the merged root tree, plus
// a few lines of text. Nothing is run. RaspberryPi makes the FAT that the VideoCore firmware of a
// Raspberry Pi 3 or 4 reads; GrubEFI makes the EFI system partition and the GRUB files of an amd64
// machine with Secure Boot. EditRaspberryPi and EditGrub add to those of an image that boots already.
// Evaluate answers what the firmware would start from a Raspberry Pi's FAT: the Effective kernel,
// initrd, device tree and command line of one Board.
package boot

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/tree"
)

// Config is what a profile and a lock say about booting.
type Config struct {
	// Cmdline are the kernel's parameters in order, without root=.
	Cmdline []string
	// RootLabel is the label of the root file system; "writable" when empty.
	RootLabel string
	// RootUUID is the UUID of the root file system. GrubEFI prefers it to the label, which two
	// attached disks may share.
	RootUUID string
	// ConfigTxt are lines added at the end of the Raspberry Pi's config.txt, under [all].
	ConfigTxt []string
	// Initrd is the initial RAM disk. Empty means that the root tree carries one for its kernel
	// (/boot/initrd.img-VERSION), or that GRUB starts the kernel without one.
	Initrd []byte
	// Title names the system in GRUB's menu; "Debian GNU/Linux" when empty.
	Title string
	// Time is the modification time of every file that is made here.
	Time tree.Time
}

func (c Config) rootLabel() string {
	if c.RootLabel == "" {
		return "writable"
	}
	return c.RootLabel
}

// MissingFileError says that a boot file was not in the tree it is taken from.
type MissingFileError struct {
	Path    string // relative path or pattern
	Package string // the Debian package that brings it, when known
}

func (e *MissingFileError) Error() string {
	if e.Package == "" {
		return fmt.Sprintf("looking for boot file %s: it is not there", e.Path)
	}
	return fmt.Sprintf("looking for boot file %s: it is not there; add package %s to the profile", e.Path, e.Package)
}

// Kernels returns the versions of the kernels in /boot of root, newest first in Debian's
// version order.
func Kernels(root tree.Tree) []string {
	var versions []string
	for _, e := range children(root, "boot") {
		v, ok := strings.CutPrefix(path.Base(e.Path), "vmlinuz-")
		if ok && e.Type == tree.File && !strings.HasSuffix(v, ".dpkg-bak") && !strings.HasSuffix(v, ".old-dkms") {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return deb.CompareVersions(b, a) })
	return versions
}

// newestKernel returns the version of the kernel to start, after a look at its first bytes.
func newestKernel(root tree.Tree, src *tree.Reader, arch string) (string, error) {
	versions := Kernels(root)
	if len(versions) == 0 {
		return "", &MissingFileError{Path: "boot/vmlinuz-*", Package: "linux-image-" + arch}
	}
	e, _ := root.Lookup("boot/vmlinuz-" + versions[0])
	head, err := readHead(src, e, kernelHead)
	if err != nil {
		return "", err
	}
	return versions[0], checkKernel(e.Path, head, arch)
}

// kernelHead is enough of a kernel for the magic numbers of both architectures.
const kernelHead = 1024

// checkKernel refuses a kernel that the loader of arch can't start: arm64 wants an Image, plain or
// gzip'ed (Documentation/arm64/booting.rst), amd64 a bzImage (Documentation/x86/boot.rst).
func checkKernel(name string, head []byte, arch string) error {
	at := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	switch {
	case arch == "amd64" && at(0x202, "HdrS"), arch == "arm64" && (at(56, "ARM\x64") || at(0, "\x1f\x8b")):
		return nil
	case at(4, "zimg"):
		return fmt.Errorf("checking kernel %s: it is an EFI zboot image, which the Raspberry Pi firmware can't unpack; choose a kernel package with a plain Image", name)
	}
	return fmt.Errorf("checking kernel %s: its first bytes are not those of a kernel for %s; does the profile's arch fit its kernel package?", name, arch)
}

func readHead(src *tree.Reader, e tree.Entry, n int64) ([]byte, error) {
	r, err := src.Open(e.Content)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, n))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return b, nil
}

// children returns the entries directly inside dir.
func children(t tree.Tree, dir string) []tree.Entry {
	var found []tree.Entry
	for i := range t.Len() {
		if e := t.At(i); path.Dir(e.Path) == dir && e.Path != "." {
			found = append(found, e)
		}
	}
	return found
}

// maxText bounds the text files read here: config.txt and cmdline.txt are a few hundred bytes, and
// the firmware itself gives up on large ones.
const maxText = 64 << 10

func readText(src *tree.Reader, e tree.Entry) (string, error) { return readLimited(src, e, maxText) }

func readLimited(src *tree.Reader, e tree.Entry, limit int64) (string, error) {
	if e.Content.Size > limit {
		return "", fmt.Errorf("reading %s: %d bytes, at most %d are expected of a text file", e.Path, e.Content.Size, limit)
	}
	b, err := readHead(src, e, limit)
	return string(b), err
}

// set collects the entries of a new tree and makes the directories above them.
type set struct {
	time    tree.Time
	entries map[string]tree.Entry
}

func newSet(t tree.Time) *set {
	return &set{time: t, entries: map[string]tree.Entry{".": {Path: ".", Type: tree.Dir, Mode: 0o755, MTime: t}}}
}

func (s *set) put(p string, mode uint32, c tree.Content) {
	s.dir(path.Dir(p))
	s.entries[p] = tree.Entry{Path: p, Type: tree.File, Mode: mode, MTime: s.time, Content: c}
}

func (s *set) text(p, text string) { s.put(p, 0o644, tree.InlineContent([]byte(text))) }

func (s *set) dir(p string) {
	if _, ok := s.entries[p]; ok {
		return
	}
	s.dir(path.Dir(p))
	s.entries[p] = tree.Entry{Path: p, Type: tree.Dir, Mode: 0o755, MTime: s.time}
}

// sorted returns the entries in the order of trees.
func (s *set) sorted() []tree.Entry {
	list := make([]tree.Entry, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b tree.Entry) int { return tree.ComparePaths(a.Path, b.Path) })
	return list
}

func (s *set) tree() (tree.Tree, error) { return tree.New(s.sorted()) }
