package deb

import (
	"archive/tar"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"github.com/edgebake/edgebake/builder/image/decode"
)

const (
	// MaxControl bounds the decompressed control.tar. The largest in Debian, with md5sums of some
	// hundred thousand files, stay below 32 MiB.
	MaxControl = 64 << 20
	// MaxData bounds the decompressed data.tar; no package in Debian has 8 GiB.
	MaxData = 16 << 30
	// maxControlFiles bounds the members of control.tar; debconf templates are one file.
	maxControlFiles = 256
	// maxWindow bounds the decoder's memory: dictionary of xz -9 and window of zstd -19 --long=27.
	maxWindow = 128 << 20
)

// ControlFile is a file of control.tar: control, md5sums, conffiles, maintainer scripts and so on.
type ControlFile struct {
	Data []byte
	Mode int64 // permission bits
}

// File is an opened .deb.
type File struct {
	control, data arMember
}

// Open reads the ar structure of a package of size bytes. The tars are read when asked for.
func Open(r io.ReaderAt, size int64) (*File, error) {
	members, err := readAr(r, size)
	if err != nil {
		return nil, fmt.Errorf("opening package: %w", err)
	}
	if err := checkFormat(members); err != nil {
		return nil, fmt.Errorf("opening package: %w", err)
	}
	// deb(5): members whose name starts with "_" may stand before data.tar and are not for us.
	var rest []arMember
	for _, m := range members[1:] {
		if !strings.HasPrefix(m.name, "_") {
			rest = append(rest, m)
		}
	}
	if len(rest) < 2 || !isTar(rest[0].name, "control.tar") || !isTar(rest[1].name, "data.tar") {
		return nil, fmt.Errorf("opening package: members %s instead of debian-binary, control.tar*, data.tar*",
			names(members))
	}
	return &File{control: rest[0], data: rest[1]}, nil
}

func checkFormat(members []arMember) error {
	if len(members) == 0 || members[0].name != "debian-binary" {
		return fmt.Errorf("members %s, debian-binary is not the first", names(members))
	}
	var text [4]byte
	n, err := members[0].data.ReadAt(text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading debian-binary: %w", err)
	}
	if !strings.HasPrefix(string(text[:n]), "2.") {
		return fmt.Errorf("format %q, only 2.x is supported", strings.TrimSpace(string(text[:n])))
	}
	return nil
}

func isTar(name, base string) bool {
	return name == base || strings.HasPrefix(name, base+".")
}

func names(members []arMember) string {
	var list []string
	for _, m := range members {
		list = append(list, m.name)
	}
	return "[" + strings.Join(list, " ") + "]"
}

// ControlFiles returns the regular files of control.tar by their names without "./".
func (f *File) ControlFiles() (map[string]ControlFile, error) {
	r, err := openMember(f.control, MaxControl)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	files := map[string]ControlFile{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			err = addControlFile(files, h, in)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.control.name, err)
		}
	}
}

func addControlFile(files map[string]ControlFile, h *tar.Header, r io.Reader) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	if strings.Contains(name, "/") || name == ".." {
		return fmt.Errorf("file %q is not in the top directory", h.Name)
	}
	if _, twice := files[name]; twice {
		return fmt.Errorf("file %s is there twice", name)
	}
	if len(files) >= maxControlFiles {
		return fmt.Errorf("more than the allowed %d files", maxControlFiles)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	files[name] = ControlFile{Data: data, Mode: h.Mode & 0o7777}
	return nil
}

// Control returns the package's control stanza.
func (f *File) Control() (Stanza, error) {
	files, err := f.ControlFiles()
	if err != nil {
		return Stanza{}, err
	}
	c, ok := files["control"]
	if !ok {
		return Stanza{}, fmt.Errorf("reading %s: no file control", f.control.name)
	}
	return ParseStanza(c.Data)
}

// Data returns the decompressed data.tar. Each call starts anew; the caller closes it.
func (f *File) Data() (io.ReadCloser, error) { return openMember(f.data, MaxData) }

func openMember(m arMember, limit int64) (io.ReadCloser, error) {
	r, err := DecompressAt(path.Ext(m.name), m.data, m.data.Size())
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", m.name, err)
	}
	return &limited{name: m.name, r: r, left: limit, limit: limit}, nil
}

// DecompressAt is Decompress for size bytes at r, in half the time where they are an .xz.
func DecompressAt(ext string, r io.ReaderAt, size int64) (io.ReadCloser, error) {
	if ext == ".xz" {
		return decode.OpenXZ(r, size, maxWindow), nil
	}
	return Decompress(ext, io.NewSectionReader(r, 0, size))
}

// Decompress returns the decompressed bytes of r. The extension ext names the format: ".xz", ".gz",
// ".zst", ".bz2", and "" or ".tar" for bytes that are not compressed. The caller bounds how much is read.
func Decompress(ext string, r io.Reader) (io.ReadCloser, error) {
	switch ext {
	case "", ".tar":
		return io.NopCloser(r), nil
	case ".xz":
		x, err := xz.NewReader(r, maxWindow)
		return io.NopCloser(x), err
	case ".gz":
		return gzip.NewReader(r)
	case ".bz2":
		return io.NopCloser(bzip2.NewReader(r)), nil
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("compression %q, supported are .xz, .gz, .zst and .bz2", ext)
}

// limited ends with an error when more than limit bytes come, so that no bomb fills memory or disk.
type limited struct {
	name        string
	r           io.ReadCloser
	left, limit int64
}

// Read reads like the decoder; a fault of the decoder names the member.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("decompressing %s: more than the allowed %d bytes", l.name, l.limit)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("decompressing %s: %w", l.name, err)
	}
	return n, err
}

// Close releases the decoder.
func (l *limited) Close() error { return l.r.Close() }
