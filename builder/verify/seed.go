package verify

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// target is an image that is opened for reading, with the tree of its FAT.
type target struct {
	path   string
	size   int64
	file   *os.File
	image  *image.Image
	region image.Partition // of the FAT
	info   fat.Info
	fat    tree.Tree
	reader *tree.Reader
}

func openTarget(ctx context.Context, path string) (*target, error) {
	t := &target{path: path}
	if err := t.open(ctx); err != nil {
		t.close()
		return nil, fmt.Errorf("opening image %s: %w", path, err)
	}
	return t, nil
}

func (t *target) open(ctx context.Context) (err error) {
	if t.file, err = os.Open(t.path); err != nil {
		return err
	}
	if t.image, err = image.Open(t.path); err != nil {
		return err
	}
	t.size, t.reader = t.image.Size(), t.image.Reader()
	parts := t.image.Partitions()
	i := slices.IndexFunc(parts, func(p image.Partition) bool { return p.FS == "vfat" })
	if i < 0 {
		return fmt.Errorf("none of its %d partitions is a FAT to boot from", len(parts))
	}
	t.region = parts[i]
	fs, err := fat.Open(io.NewSectionReader(t.file, t.region.Start, t.region.Size), t.region.Size)
	if err != nil {
		return err
	}
	t.info = fs.Info()
	t.fat, err = t.image.Tree(ctx, t.region.Number)
	return err
}

func (t *target) close() {
	if t.image != nil {
		_ = t.image.Close() // read only, as the file: nothing can be lost
	}
	if t.file != nil {
		_ = t.file.Close()
	}
}

// grubFlags are the parameters of the first kernel in the grub.cfg of a Linux partition.
func (t *target) grubFlags(ctx context.Context) ([]string, error) {
	for _, p := range t.image.Partitions() {
		if p.FS != "ext4" {
			continue
		}
		files, err := t.image.Tree(ctx, p.Number)
		if err != nil {
			return nil, err
		}
		for _, name := range []string{"boot/grub/grub.cfg", "grub/grub.cfg"} {
			if e, ok := files.Lookup(name); ok {
				return boot.GrubParameters(t.reader, e)
			}
		}
	}
	return nil, &boot.MissingFileError{Path: "boot/grub/grub.cfg"}
}

// extract copies a file of the FAT to a file of the host.
func (t *target) extract(name, to string) error {
	e, ok := t.fat.Lookup(name)
	if !ok {
		return fmt.Errorf("extracting %s from %s: it is not there", name, t.path)
	}
	r, err := t.reader.Open(e.Content)
	if err != nil {
		return fmt.Errorf("extracting %s from %s: %w", name, t.path, err)
	}
	f, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("extracting %s from %s: %w", name, t.path, err)
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("extracting %s from %s: %w", name, t.path, err)
	}
	return nil
}

// maxKernel bounds what a compressed kernel may become; Debian's has 35 MiB.
const maxKernel = 512 << 20

// gunzip replaces the kernel at path by its uncompressed form when it is gzip'ed: firmware and
// u-boot unpack it, QEMU does so only for some boards.
func gunzip(path string) error {
	packed, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("unpacking kernel: %w", err)
	}
	if !bytes.HasPrefix(packed, []byte{0x1f, 0x8b}) {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("unpacking kernel %s: %w", path, err)
	}
	kernel, err := io.ReadAll(io.LimitReader(z, maxKernel))
	if err != nil {
		return fmt.Errorf("unpacking kernel %s: %w", path, err)
	}
	if err := os.WriteFile(path, kernel, 0o600); err != nil {
		return fmt.Errorf("unpacking kernel: %w", err)
	}
	return nil
}

// seed returns what puts the files where cloud-init will find them: patches of the image, when its
// FAT is a seed already, otherwise the path of a disk with the label "cidata".
func (t *target) seed(ctx context.Context, dir string, files map[string][]byte) (patches []Patch, disk string, err error) {
	if files == nil {
		return nil, "", nil
	}
	if t.seeded() {
		patches, err = t.reseed(ctx, dir, files)
	} else {
		disk = filepath.Join(dir, "cidata.img")
		err = writeCidata(ctx, disk, files)
	}
	if err != nil {
		return nil, "", fmt.Errorf("seeding %s: %w", t.path, err)
	}
	return patches, disk, nil
}

// seeded reports whether cloud-init looks for its seed in the image's own FAT.
func (t *target) seeded() bool {
	_, ok := t.fat.Lookup("user-data")
	return ok
}

// cidataSize is enough for the seeds of the boot tests.
const cidataSize = 4 << 20

func writeCidata(ctx context.Context, path string, files map[string][]byte) error {
	seedTree, err := withFiles(tree.Tree{}, files)
	if err != nil {
		return err
	}
	return writeFAT(ctx, path, seedTree, nil, fat.Options{Size: cidataSize, Label: "cidata", VolumeID: 0xeb5eed})
}

// reseed writes the FAT anew with the files of the seed in it and compares: the image itself stays
// as it is, and its overlay shows the clusters that differ.
func (t *target) reseed(ctx context.Context, dir string, files map[string][]byte) ([]Patch, error) {
	seeded, err := withFiles(t.fat, files)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "seeded.fat")
	o := fat.Options{Size: t.info.Size, Label: t.info.Label, VolumeID: t.info.VolumeID, ClusterSize: t.info.ClusterSize}
	if err := writeFAT(ctx, path, seeded, t.reader, o); err != nil {
		return nil, err
	}
	made, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return t.compare(ctx, made)
}

// compare returns patches for the clusters of the overlay in which made differs from the FAT.
func (t *target) compare(ctx context.Context, made []byte) ([]Patch, error) {
	var patches []Patch
	old := make([]byte, clusterSize)
	for at := int64(0); at < int64(len(made)); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// Up to the next border of a cluster of the whole disk.
		n := min(clusterSize-(t.region.Start+at)%clusterSize, int64(len(made))-at)
		if _, err := t.file.ReadAt(old[:n], t.region.Start+at); err != nil {
			return nil, err
		}
		if !bytes.Equal(old[:n], made[at:at+n]) {
			patches = append(patches, Patch{Offset: t.region.Start + at, Length: n, Data: bytes.NewReader(made[at : at+n])})
		}
		at += n
	}
	return patches, nil
}

func writeFAT(ctx context.Context, path string, files tree.Tree, src *tree.Reader, o fat.Options) error {
	if src == nil {
		src = tree.NewReader(nil)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(o.Size), fat.Write(ctx, f, files, src, o), f.Close())
}

// withFiles returns the tree with files in its root, replacing those of the same name.
func withFiles(t tree.Tree, files map[string][]byte) (tree.Tree, error) {
	var entries []tree.Entry
	for _, e := range t.Entries() {
		if _, replaced := files[e.Path]; !replaced {
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		entries = append(entries, tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755})
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Content: tree.InlineContent(files[name])})
	}
	return tree.New(entries)
}
