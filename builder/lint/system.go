package lint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// system is the image as the rules see it. Paths are relative, as in trees.
type system struct {
	ctx        context.Context // of Run
	booted     bool
	partitions []image.Partition
	usage      map[int]image.Usage
	device     func(spec string) (image.Partition, bool)
	root       image.Root
	src        *tree.Reader
	dirs       map[string][]int32 // directory to the places in the root's tree of what is directly in it
	fats       []fatTree
	trees      map[int]tree.Tree // of each partition with files
	debs       map[string]installed
	arch       string
	role       Role
	// err is the first fault of reading: rules go on as if the file were not there.
	err error
}

// fatTree is a FAT and where it is mounted; dir is empty when it is not.
type fatTree struct {
	partition image.Partition
	tree      tree.Tree
	dir       string
}

// path is how people find a file of the FAT.
func (f fatTree) path(name string) string {
	if f.dir == "" {
		return fmt.Sprintf("partition %d: /%s", f.partition.Number, name)
	}
	return "/" + f.dir + "/" + name
}

// installed is what dpkg's database says of a package.
type installed struct{ version, arch, status string }

func newSystem(ctx context.Context, img *image.Image, o Options) (*system, error) {
	root, err := img.Root(ctx)
	if err != nil {
		return nil, err
	}
	s := &system{ctx: ctx, booted: o.Booted, trees: map[int]tree.Tree{}, partitions: img.Partitions(), usage: map[int]image.Usage{}, device: img.Device, root: root, src: img.Reader(),
		dirs: map[string][]int32{}, role: o.Role, arch: o.Arch}
	for i := range root.Tree.Len() {
		if e := root.Tree.At(i); e.Path != "." {
			dir := path.Dir(e.Path)
			s.dirs[dir] = append(s.dirs[dir], int32(i))
		}
	}
	if err := s.fileSystems(ctx, img); err != nil {
		return nil, err
	}
	s.readPackages()
	if s.arch == "" {
		s.arch = s.debs["dpkg"].arch
	}
	s.findRole()
	return s, s.err
}

func (s *system) fileSystems(ctx context.Context, img *image.Image) (err error) {
	for _, p := range s.partitions {
		if p.FS == "" {
			continue
		}
		if s.usage[p.Number], err = img.Usage(ctx, p.Number); err != nil {
			return err
		}
		t, err := img.Tree(ctx, p.Number)
		if err != nil {
			return err
		}
		s.trees[p.Number] = t
		if p.FS == "vfat" {
			s.fats = append(s.fats, fatTree{p, t, s.mountedAt(p.Number)})
		}
	}
	return nil
}

// mountedAt returns the directory of a partition, or "".
func (s *system) mountedAt(number int) string {
	for _, m := range s.root.Mounts {
		if m.Partition == number {
			return m.Dir
		}
	}
	return ""
}

const (
	statusFile = "var/lib/dpkg/status"
	maxStatus  = 64 << 20 // a desktop's is about 5 MB
)

func (s *system) readPackages() {
	s.debs = map[string]installed{}
	e, ok := s.file(statusFile)
	if !ok {
		return
	}
	r, err := s.src.Open(e.Content)
	if err != nil {
		s.fail(statusFile, err)
		return
	}
	for stanza, err := range deb.ParseStanzas(r, maxStatus) {
		if err != nil {
			s.fail(statusFile, err)
			return
		}
		name := strings.Clone(stanza.Get("Package"))
		p := installed{strings.Clone(stanza.Get("Version")), strings.Clone(stanza.Get("Architecture")), strings.Clone(stanza.Get("Status"))}
		if was, ok := s.debs[name]; !ok || !was.present() {
			s.debs[name] = p
		}
	}
}

// present reports whether the package's files are there.
func (p installed) present() bool {
	return p.version != "" && !strings.HasSuffix(p.status, " not-installed") && !strings.HasSuffix(p.status, " config-files")
}

// findRole takes the role from the image when nobody said it.
func (s *system) findRole() {
	if s.role != "" && s.role != Any {
		return
	}
	s.role = Any
	edge := s.exists(goldenDir+"/edgecore.service") || s.exists("etc/kubeedge/edgecore.service") || s.exists("usr/local/bin/edgecore")
	master := s.program("kubeadm") != "" || s.program("kube-apiserver") != ""
	switch {
	case master:
		s.role = Master
	case edge:
		s.role = Edge
	}
}

func (s *system) fail(name string, err error) {
	if s.err == nil {
		s.err = fmt.Errorf("reading /%s: %w", name, err)
	}
}

// exists reports whether a path leads to something, links followed.
func (s *system) exists(p string) bool {
	_, err := s.root.Resolve(p)
	return err == nil
}

// file returns the file that a path leads to.
func (s *system) file(p string) (tree.Entry, bool) {
	e, err := s.root.Resolve(p)
	return e, err == nil && e.Type == tree.File
}

// in yields what is directly in a directory.
func (s *system) in(dir string) iter.Seq[tree.Entry] {
	return func(yield func(tree.Entry) bool) {
		for _, i := range s.dirs[dir] {
			if !yield(s.root.Tree.At(int(i))) {
				return
			}
		}
	}
}

// list returns what is directly in a directory; links to it are followed.
func (s *system) list(dir string) []tree.Entry {
	e, err := s.root.Resolve(dir)
	if err != nil || e.Type != tree.Dir {
		return nil
	}
	return slices.Collect(s.in(e.Path))
}

// inode is e, or the file that a hard link names under the link's path.
func (s *system) inode(e tree.Entry) tree.Entry {
	if e.Type == tree.Hardlink {
		if f, ok := s.root.Tree.Lookup(e.Link); ok {
			f.Path = e.Path
			return f
		}
	}
	return e
}

// below yields all files under a directory, hard links as files.
func (s *system) below(dir string) func(func(tree.Entry) bool) {
	return func(yield func(tree.Entry) bool) { s.walk(dir, yield) }
}

func (s *system) walk(dir string, yield func(tree.Entry) bool) bool {
	for e := range s.in(dir) {
		if e.Type == tree.Dir && !s.walk(e.Path, yield) {
			return false
		}
		if e = s.inode(e); e.Type == tree.File && !yield(e) {
			return false
		}
	}
	return true
}

// maxText bounds a file that is read as text: no configuration is near it.
const maxText = 1 << 20

// text returns the text of a file; ok is false when there is none, or when it is far too large.
func (s *system) text(p string) (text string, ok bool) {
	e, ok := s.file(p)
	if !ok {
		return "", false
	}
	return s.content(e)
}

func (s *system) content(e tree.Entry) (text string, ok bool) {
	if e.Content.Size > maxText {
		return "", false
	}
	b := s.head(e, maxText)
	return string(b), b != nil
}

// head returns the first n bytes of a file, or nil when it cannot be read.
func (s *system) head(e tree.Entry, n int64) []byte {
	b, err := s.readHead(e, n)
	if err != nil {
		s.fail(e.Path, err)
		return nil
	}
	return b
}

func (s *system) readHead(e tree.Entry, n int64) ([]byte, error) {
	b := make([]byte, min(n, e.Content.Size))
	r, err := s.src.Open(e.Content)
	if err != nil {
		return nil, err
	}
	_, err = io.ReadFull(r, b)
	return b, err
}

// program returns the path of a program in one of the usual directories, or "".
func (s *system) program(name string) string {
	for _, dir := range []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"} {
		if _, ok := s.file(dir + "/" + name); ok {
			return dir + "/" + name
		}
	}
	return ""
}

// version returns the upstream version of the first package that is there, without epoch,
// revision and what distributions append.
func (s *system) version(packages ...string) string {
	for _, name := range packages {
		p, ok := s.debs[name]
		if v, err := deb.ParseVersion(p.version); ok && p.present() && err == nil {
			upstream, _, _ := strings.Cut(v.Upstream, "~")
			upstream, _, _ = strings.Cut(upstream, "+")
			return upstream
		}
	}
	return ""
}

// readerAt makes the bytes of a file readable at any offset.
func (s *system) readerAt(e tree.Entry) (io.ReaderAt, error) {
	if x := e.Content.Extents; e.Content.Inline == nil && len(x) == 1 && x[0].Blob != "" {
		at, err := s.src.Blob(x[0].Blob)
		if err != nil {
			return nil, err
		}
		return io.NewSectionReader(at, x[0].Offset, x[0].Length), nil
	}
	if e.Content.Size > maxInMemory {
		return nil, errors.New("it is too large to be examined")
	}
	b := s.head(e, maxInMemory)
	return bytes.NewReader(b), s.err
}

// maxInMemory bounds a fragmented file that is read as a whole; the largest programs of a node
// (kubelet, crio) have about 120 MB.
const maxInMemory = 256 << 20

// word reports whether list, of words, has w.
func word(list []string, w string) bool { return slices.Contains(list, w) }
