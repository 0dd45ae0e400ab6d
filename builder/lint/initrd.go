package lint

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"

	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/tree"
)

// maxInitrd bounds what is read of an initrd, decompressed; Ubuntu's have about 200 MB.
const maxInitrd = 1 << 30

// initrdVersion is the version of the kernel that the modules in an initrd are for: the first that
// is found. It is empty when there are no modules. One that is compressed in a way that is not read
// here (lzo) is an errCompression.
func (s *system) initrdVersion(e tree.Entry) (string, error) {
	r, err := s.src.Open(e.Content)
	if err != nil {
		return "", err
	}
	in := &initrd{r: bufio.NewReaderSize(io.LimitReader(r, maxInitrd), 1<<16)}
	defer in.close()
	return in.version()
}

// initrd is a concatenation of cpio archives, each compressed or not (initramfs buffer format,
// Documentation/driver-api/early-userspace/buffer-format.rst).
type initrd struct {
	r      *bufio.Reader
	outer  *bufio.Reader // what comes behind a compressed archive, where its end is known
	n      int64         // read of the current archive, for its padding
	layers int           // of compression
	inner  []io.Closer
}

func (in *initrd) close() {
	for _, c := range in.inner {
		_ = c.Close() // a decoder: nothing can be lost
	}
}

// maxLayers of compression: there is a gzip file that decompresses to itself.
const maxLayers = 3

func (in *initrd) version() (string, error) {
	for {
		magic, err := in.r.Peek(6)
		switch {
		case len(magic) > 0 && magic[0] == 0:
			_, _ = in.r.Discard(1) // it was just seen
			continue
		case errors.Is(err, io.EOF) && in.outer != nil:
			in.r, in.outer, in.layers = in.outer, nil, 0
			continue
		case len(magic) == 0 && errors.Is(err, io.EOF):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("reading cpio archive: %d bytes at its end make no sense: %w", len(magic), io.ErrUnexpectedEOF)
		case string(magic) == "070701" || string(magic) == "070702":
			version, err := in.archive()
			if version != "" || err != nil {
				return version, err
			}
			continue
		}
		if in.layers++; in.layers > maxLayers {
			return "", fmt.Errorf("it is compressed more than %d times", maxLayers)
		}
		if err := in.unpack(magic); err != nil {
			return "", err
		}
	}
}

// errCompression says that an initrd begins like nothing that is known here.
var errCompression = errors.New("it is neither cpio nor compressed with gzip, xz, zstd, lz4, lzma or bzip2")

// unpack goes on inside of the compressed archive that begins with magic. Of gzip it is known where that ends.
func (in *initrd) unpack(magic []byte) error {
	inner, err := decompressor(magic, in.r)
	if err != nil {
		return err
	}
	in.outer = nil
	if c, ok := inner.(io.Closer); ok {
		in.inner = append(in.inner, c)
	}
	if z, ok := inner.(*gzip.Reader); ok {
		z.Multistream(false)
		in.outer = in.r
	}
	in.r = bufio.NewReaderSize(io.LimitReader(inner, maxInitrd), 1<<16)
	return nil
}

// decompressor knows the formats of the kernel's lib/decompress.c but for lzo. Ubuntu takes lz4 in
// the legacy format since 19.10.
func decompressor(magic []byte, r *bufio.Reader) (io.Reader, error) {
	for prefix, extension := range map[string]string{"\xfd7zXZ": ".xz", "\x28\xb5\x2f\xfd": ".zst", "BZh": ".bz2"} {
		if strings.HasPrefix(string(magic), prefix) {
			return deb.Decompress(extension, r)
		}
	}
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		return gzip.NewReader(r)
	case strings.HasPrefix(string(magic), "\x04\x22\x4d\x18"), strings.HasPrefix(string(magic), "\x02\x21\x4c\x18"):
		return lz4.NewReader(r), nil
	case strings.HasPrefix(string(magic), "\x5d\x00\x00"):
		return lzma.ReaderConfig{DictCap: maxDictionary}.NewReader(r)
	}
	return nil, errCompression
}

// maxDictionary bounds what the header of an lzma stream may ask for; xz -9 writes 64 MiB.
const maxDictionary = 128 << 20

const (
	cpioHeader = 110
	maxName    = 4096
)

// archive reads one cpio archive of the "newc" format to its end.
func (in *initrd) archive() (string, error) {
	in.n = 0
	for {
		head := make([]byte, cpioHeader)
		if err := in.read(head); err != nil {
			return "", err
		}
		var size, nameSize int64
		if _, err := fmt.Sscanf(string(head[54:62])+" "+string(head[94:102]), "%x %x", &size, &nameSize); err != nil || nameSize > maxName || nameSize < 1 {
			return "", fmt.Errorf("reading cpio archive at byte %d: its header makes no sense", in.n)
		}
		name := make([]byte, nameSize)
		if err := in.read(name); err != nil {
			return "", err
		}
		if err := in.pad(); err != nil {
			return "", err
		}
		file := string(name[:nameSize-1])
		if file == "TRAILER!!!" {
			return "", nil
		}
		if version := moduleDir(file); version != "" {
			return version, nil
		}
		version, err := in.data(file, size)
		if version != "" || err != nil {
			return version, err
		}
	}
}

// data passes over a file, or reads a module's version.
func (in *initrd) data(name string, size int64) (string, error) {
	if strings.HasSuffix(name, ".ko") && size < maxModule {
		b := make([]byte, size)
		if err := in.read(b); err != nil {
			return "", err
		}
		if version := vermagic(b); version != "" {
			return version, nil
		}
		return "", in.pad()
	}
	n, err := io.CopyN(io.Discard, in.r, size)
	if in.n += n; err != nil {
		return "", err
	}
	return "", in.pad()
}

const maxModule = 64 << 20

func (in *initrd) read(b []byte) error {
	n, err := io.ReadFull(in.r, b)
	in.n += int64(n)
	return err
}

func (in *initrd) pad() error {
	n, err := in.r.Discard(int(-in.n & 3))
	in.n += int64(n)
	return err
}

// moduleDir returns VERSION of lib/modules/VERSION/….
func moduleDir(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "./"), "usr/")
	rest, ok := strings.CutPrefix(name, "lib/modules/")
	version, _, _ := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return version
}

// vermagic returns the kernel that a module says it is for.
func vermagic(module []byte) string {
	_, rest, ok := bytes.Cut(module, []byte("\x00vermagic="))
	if !ok {
		return ""
	}
	version, _, _ := bytes.Cut(rest[:min(len(rest), maxName)], []byte(" "))
	return string(version)
}
