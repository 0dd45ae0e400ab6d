package initramfs

import (
	"bufio"
	"fmt"
	"io"

	"github.com/edgebake/edgebake/builder/tree"
)

// File is one entry of an archive. Directories must come before what is in them.
type File struct {
	Path         string    // relative, no leading slash
	Type         tree.Type // the zero value is a regular file
	Mode         uint32    // permission bits
	Data         []byte    // a file's bytes or a symbolic link's target
	Major, Minor uint32
}

// newc's limits: sizes are 8 hexadecimal digits.
const (
	maxCpioSize = 1<<32 - 1
	cpioTrailer = "TRAILER!!!"
)

// Archive writes files in cpio's newc format: owner root, times 0, inodes numbered from 1.
func Archive(w io.Writer, files []File) error {
	b := &cpioWriter{w: bufio.NewWriter(w)}
	for i, f := range files {
		if err := b.file(i+1, f); err != nil {
			return err
		}
	}
	b.entry(0, 0, 1, File{Path: cpioTrailer})
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("writing cpio archive: %w", err)
	}
	return nil
}

type cpioWriter struct {
	w      *bufio.Writer
	offset int64
}

func (b *cpioWriter) file(inode int, f File) error {
	format, err := fileFormat(f.Type)
	if err != nil {
		return fmt.Errorf("writing cpio archive: %s: %w", f.Path, err)
	}
	if f.Path == "" || f.Path[0] == '/' || int64(len(f.Data)) > maxCpioSize {
		return fmt.Errorf("writing cpio archive: %q (%d bytes): its path must be relative and its size below 4 GiB", f.Path, len(f.Data))
	}
	mode, links := format|f.Mode, 1
	switch f.Type {
	case tree.Symlink:
		mode = format | 0o777
	case tree.Dir:
		links = 2
	}
	b.entry(inode, mode, links, f)
	return nil
}

func fileFormat(t tree.Type) (uint32, error) {
	switch t {
	case 0, tree.File:
		return 0o100000, nil
	case tree.Dir:
		return 0o040000, nil
	case tree.Symlink:
		return 0o120000, nil
	case tree.CharDevice:
		return 0o020000, nil
	case tree.BlockDevice:
		return 0o060000, nil
	}
	return 0, fmt.Errorf("a %s cannot be written", t)
}

// entry writes a header of 13 numbers, the name and the data, each padded to 4 bytes. Errors
// stay in the buffered writer until Flush.
func (b *cpioWriter) entry(inode int, mode uint32, links int, f File) {
	n, _ := fmt.Fprintf(b.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, mode, 0, 0, links, 0, len(f.Data), 0, 0, f.Major, f.Minor, len(f.Path)+1, 0, f.Path)
	b.offset += int64(n)
	b.pad()
	_, _ = b.w.Write(f.Data)
	b.offset += int64(len(f.Data))
	b.pad()
}

func (b *cpioWriter) pad() {
	for ; b.offset%4 != 0; b.offset++ {
		_ = b.w.WriteByte(0)
	}
}
