// Package decode turns the files in which images are published into raw images in the store.
//
// A Format is how a file is packed: raw, xz, gzip, zstd or qcow2, found by its first bytes. A Raw
// is the image itself: a blob with holes where it has zeros. Decoding is a stage: its result is
// remembered under the digest of the file, so each file is decoded once. Packages and indexes are read by OpenXZ.
//
// Subset: .xz with any checks, blocks and streams (blocks are decoded in parallel from the index;
// filters other than LZMA2 on one core); gzip and zstd with several members or frames; qcow2
// versions 2 and 3 with zlib or zstd clusters, without backing file, external data file,
// encryption or extended L2 entries; its internal snapshots are passed over.
//
// Three things are done here that libraries do elsewhere. LZMA2: therootcompany/xz 1.0.1 decodes
// half as fast as xz because all bytes go through a ring buffer, and blocks here fit into memory.
// Deflate: the same, and a cluster is 64 KiB.
// qcow2: go-qcow2reader 0.7.1 opens the backing file that an image names, wherever that leads;
// takes a zstd decoder only through a process-wide table; and believes table sizes of a header.
package decode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/progress"
)

// version is part of the key of results: raise it when the bytes that come out change.
const version = "1"

// DefaultMaxSize bounds what a file may unpack to: 64 GiB, the largest common SD card. A few
// kilobytes of xz can announce millions of times that.
const DefaultMaxSize = 64 << 30

// Format is how an image is packed.
type Format string

const (
	Plain Format = "raw"
	XZ    Format = "xz"
	Gzip  Format = "gzip"
	Zstd  Format = "zstd"
	QCOW2 Format = "qcow2"
)

// Options of Decode; the zero value will do.
type Options struct {
	// MaxSize in bytes of the raw image; 0 is DefaultMaxSize.
	MaxSize int64
	// Workers decode at the same time; 0 is one for each core.
	Workers int
	// Report hears of progress; nil is silent.
	Report progress.Reporter
}

// Raw is an image in the store, sparse where it has zeros.
type Raw struct {
	Digest cas.Digest `json:"digest"`
	Size   int64      `json:"size"`
	// Format that it came in.
	Format Format `json:"format"`
	// Cached says that it was decoded before.
	Cached bool `json:"-"`
}

// LimitError says that a file unpacks to more than Options.MaxSize.
type LimitError struct {
	Format Format
	Max    int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("decoding %s: it unpacks to more than the allowed %d bytes: is this an image?", e.Format, e.Max)
}

// Decode unpacks a blob. Faults name the place in the file: which block of an xz has a wrong
// check, which table of a qcow2 points outside.
func Decode(ctx context.Context, store *cas.Store, blob cas.Digest, o Options) (Raw, error) {
	o = o.withDefaults()
	key := cas.Of([]byte("decode " + version + " " + string(blob)))
	if raw, ok := saved(store, key, o); ok {
		return raw, nil
	}
	in, err := store.Open(blob)
	if err != nil {
		return Raw{}, fmt.Errorf("decoding image: %w", err)
	}
	defer in.Close()
	format, err := Detect(in, in.Size())
	if err != nil {
		return Raw{}, fmt.Errorf("decoding image %s: %w", blob.Short(), err)
	}
	raw := Raw{Digest: blob, Size: in.Size(), Format: format}
	if format != Plain {
		if raw, err = unpack(ctx, store, in, format, o); err != nil {
			return Raw{}, fmt.Errorf("decoding image %s: %w", blob.Short(), err)
		}
	} else if raw.Size > o.MaxSize {
		return Raw{}, &LimitError{Format: Plain, Max: o.MaxSize}
	}
	value, err := json.Marshal(raw)
	if err != nil {
		return Raw{}, fmt.Errorf("remembering image %s: %w", blob.Short(), err)
	}
	return raw, store.SaveResult(key, value)
}

func (o Options) withDefaults() Options {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Report == nil {
		o.Report = progress.Discard{}
	}
	return o
}

// saved returns an earlier result whose blob is still there.
func saved(store *cas.Store, key cas.Digest, o Options) (Raw, bool) {
	value, ok, err := store.Result(key)
	if err != nil || !ok {
		return Raw{}, false
	}
	raw := Raw{Cached: true}
	if err := json.Unmarshal(value, &raw); err != nil || raw.Size > o.MaxSize || !store.Intact(raw.Digest) {
		return Raw{}, false
	}
	return raw, true
}

// Detect finds the format of size bytes at r by their beginning.
func Detect(r io.ReaderAt, size int64) (Format, error) {
	head := make([]byte, 16)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the beginning: %w", err)
	}
	head = head[:n]
	for _, f := range []struct {
		magic  string
		format Format
	}{
		{string(xzMagic()), XZ}, {"\x1f\x8b", Gzip}, {"\x28\xb5\x2f\xfd", Zstd}, {qcowMagic, QCOW2},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.format, nil
		}
	}
	others := map[string]string{"PK\x03\x04": "a zip archive", "BZh": "bzip2", "KDMV": "a VMDK", "vhdxfile": "a VHDX", "conectix": "a VHD", "7z\xbc\xaf": "a 7z archive"}
	for magic, name := range others {
		if bytes.HasPrefix(head, []byte(magic)) {
			return "", fmt.Errorf("it is %s: give a raw image, or one in xz, gzip, zstd or qcow2", name)
		}
	}
	if size == 0 {
		return "", errors.New("it is empty")
	}
	return Plain, nil
}

// input is a packed file.
type input interface {
	io.ReaderAt
	Size() int64
}

func unpack(ctx context.Context, store *cas.Store, in input, format Format, o Options) (Raw, error) {
	w, err := store.CreateSparse()
	if err != nil {
		return Raw{}, err
	}
	defer w.Abort()
	if err := unpackTo(ctx, &counter{w: w, max: o.MaxSize, format: format, report: o.Report}, in, format, o); err != nil {
		return Raw{}, err
	}
	digest, err := w.Commit()
	return Raw{Digest: digest, Size: w.Size(), Format: format}, err
}

func unpackTo(ctx context.Context, out *counter, in input, format Format, o Options) error {
	switch format {
	case XZ:
		return unpackXZ(ctx, out, in, o)
	case QCOW2:
		return unpackQCOW2(ctx, out, in, o)
	}
	return unpackStream(ctx, out, in, format)
}

// counter bounds what is written and tells of it.
type counter struct {
	w      *cas.SparseWriter
	n, max int64
	format Format
	report progress.Reporter
	task   progress.Task
}

// begin announces how many bytes will come; below zero it is unknown.
func (c *counter) begin(total int64) {
	c.task = c.report.Task("unpack base image ("+string(c.format)+")", total, progress.Bytes)
}

func (c *counter) add(n int64) error {
	if c.n += n; c.n > c.max {
		return &LimitError{Format: c.format, Max: c.max}
	}
	c.task.Add(n)
	return nil
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.add(int64(len(p))); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// sum adds what was placed.
func (c *counter) sum(p []byte) error {
	if err := c.add(int64(len(p))); err != nil {
		return err
	}
	return c.w.Sum(p)
}

// zeros adds a hole.
func (c *counter) zeros(n int64) error {
	if err := c.add(n); err != nil {
		return err
	}
	return c.w.Skip(n)
}
