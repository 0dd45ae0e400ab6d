package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// Repack returns the package as a .deb whose archives are not compressed. The bytes of its files
// stay where they are in the store; what stands before them is put there. epoch is the time of the
// members and control files, in seconds since 1970.
func Repack(store *cas.Store, e Extracted, epoch int64) (tree.Content, error) {
	control, err := controlTar(e.Control, time.Unix(epoch, 0))
	if err != nil {
		return tree.Content{}, fmt.Errorf("packing control.tar: %w", err)
	}
	var head bytes.Buffer
	head.WriteString(arMagic)
	writeMember(&head, "debian-binary", epoch, []byte("2.0\n"))
	writeMember(&head, "control.tar", epoch, control)
	writeArHeader(&head, "data.tar", epoch, e.DataSize)
	blob, err := store.PutBytes(head.Bytes())
	if err != nil {
		return tree.Content{}, err
	}
	extents := []tree.Extent{{Blob: blob, Length: int64(head.Len())}}
	if e.DataSize > 0 {
		extents = append(extents, tree.Extent{Blob: e.Data, Length: e.DataSize})
	}
	if e.DataSize%2 != 0 { // members begin at even offsets; the filling is the newline of the magic
		extents = append(extents, tree.Extent{Blob: blob, Offset: int64(len(arMagic)) - 1, Length: 1})
	}
	return tree.Content{Size: int64(head.Len()) + e.DataSize + e.DataSize%2, Extents: extents}, nil
}

func controlTar(members []ControlMember, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	dir := tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatGNU}
	if err := w.WriteHeader(&dir); err != nil {
		return nil, err
	}
	for _, m := range members {
		h := tar.Header{Typeflag: tar.TypeReg, Name: "./" + m.Name, Mode: int64(m.Mode), Size: int64(len(m.Data)),
			ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatGNU}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(m.Data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func writeMember(w *bytes.Buffer, name string, epoch int64, data []byte) {
	writeArHeader(w, name, epoch, int64(len(data)))
	w.Write(data)
	if len(data)%2 != 0 {
		w.WriteByte('\n')
	}
}

// writeArHeader writes the header of a member as dpkg-deb does (deb(5)).
func writeArHeader(w *bytes.Buffer, name string, epoch, size int64) {
	fmt.Fprintf(w, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, epoch, 0, 0, "100644", size)
}

// Names returns the package's name and those of its Pre-Depends, without versions.
func (e Extracted) Names() (name string, preDepends []string, err error) {
	p, err := newInstalled(e)
	if err != nil {
		return "", nil, err
	}
	return p.name, p.preinst().PreDepends, nil
}
