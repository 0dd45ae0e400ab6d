package builder

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/image/decode"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/system"
	"github.com/edgebake/edgebake/builder/tree"
)

// base is the published image that an image starts from, decoded.
type base struct {
	img  *image.Image
	raw  cas.Digest
	root image.Root
	blob *cas.Blob
}

// close lets go of the image and its trees; nothing may be asked of it afterwards.
func (b *base) close() {
	if b != nil && b.img != nil {
		_ = b.img.Close() // both were opened for reading only
		_ = b.blob.Close()
		*b = base{}
	}
}

// base decodes the lock's base image, once, and opens it.
func (c Config) base(ctx context.Context) (*base, progress.Outcome, error) {
	b, outcome, err := c.openBase(ctx)
	if err != nil {
		return nil, outcome, &BaseError{profile.FileName(c.Lock.Base.URLs[0]), err}
	}
	for _, w := range b.img.Warnings() {
		c.Report.Warn("base image: %s", w)
	}
	return b, outcome, nil
}

func (c Config) openBase(ctx context.Context) (*base, progress.Outcome, error) {
	pin := c.Lock.Base
	raw, err := decode.Decode(ctx, c.Store, pin.SHA256, decode.Options{Workers: c.Jobs, Report: c.Report})
	if err != nil {
		return nil, progress.Outcome{}, err
	}
	if raw.Digest != pin.Raw {
		return nil, progress.Outcome{}, fmt.Errorf("its SHA-256 is %s, decoded, and the lock says %s; lock again", raw.Digest, pin.Raw)
	}
	b, err := openBase(ctx, c.Store, raw.Digest)
	if err != nil {
		return nil, progress.Outcome{}, err
	}
	if err := fits(b.root.Tree, "its root file system"); err != nil {
		b.close()
		return nil, progress.Outcome{}, err
	}
	return b, progress.Outcome{Note: fmt.Sprintf("%d files", b.root.Tree.Len()), Cached: raw.Cached}, nil
}

func openBase(ctx context.Context, store *cas.Store, raw cas.Digest) (*base, error) {
	blob, err := store.Open(raw)
	if err != nil {
		return nil, err
	}
	b := &base{raw: raw, blob: blob}
	if b.img, err = image.New(blob, blob.Size(), raw); err != nil {
		_ = blob.Close() // opened for reading only
		return nil, err
	}
	if b.root, err = b.img.Root(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

const statusFile = "var/lib/dpkg/status"

// maxStatus is far above the largest dpkg database: a desktop's has 8 MiB.
const maxStatus = 256 << 20

// status is the content of the base's dpkg database.
func (b *base) status() (string, error) {
	e, ok := b.root.Tree.Lookup(statusFile)
	if !ok {
		return "", fmt.Errorf("reading its packages: there is no /%s; only Debian and its descendants are supported", statusFile)
	}
	r, err := b.img.Reader().Open(e.Content)
	if err != nil {
		return "", fmt.Errorf("reading its packages: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxStatus))
	return string(text), err
}

// needsRepair reports whether dpkg was interrupted in the base: a package is not in the state that
// it should be in, or the journal has what is not in the database yet.
func (b *base) needsRepair(status string) bool {
	if tree.Sub(b.root.Tree, system.Journal).Len() > 1 { // than the directory itself
		return true
	}
	for line := range strings.Lines(status) {
		state, ok := strings.CutPrefix(line, "Status: ")
		if !ok {
			continue
		}
		fields := strings.Fields(state)
		if len(fields) == 3 && fields[2] != "installed" && fields[2] != "config-files" && fields[2] != "not-installed" {
			return true
		}
	}
	return false
}

// kernelSource is where the guest's kernel comes from: the tools when the lock pins one, otherwise
// the base's newest.
func kernelSource(arch string, src *tree.Reader, tools, root tree.Tree) (initramfs.Source, error) {
	if len(boot.Kernels(tools)) > 0 {
		return initramfs.Source{Arch: arch, Tree: tools, Reader: src}, nil
	}
	versions := boot.Kernels(root)
	if len(versions) == 0 {
		return initramfs.Source{}, fmt.Errorf("finding a kernel for the guest: the base image has none in /boot; name one in boot.guestKernel")
	}
	s, err := payload(arch, src, tools, root)
	s.Version = versions[0]
	return s, err
}

// workOnBase lets the base's own dpkg install the packages. Where it has nothing to do, the locks that
// somebody left behind are still in its way later.
func (c Config) workOnBase(b *base, p packages, src *tree.Reader) (w work, needed bool, err error) {
	w.before = b.root.Tree
	status, err := b.status()
	if err != nil || len(p.lower) == 0 && !b.needsRepair(status) {
		w.before = tree.Without(w.before, system.Locks()...)
		return w, false, err
	}
	if w.payload, err = kernelSource(c.Lock.Arch, src, p.guest, w.before); err != nil {
		return w, false, err
	}
	w.job.Repair, w.debs = true, p.lower
	w.normalise = func(ctx context.Context, after tree.Tree) (tree.Tree, error) {
		return system.NormaliseChanges(ctx, w.before, after, c.Lock.Epoch)
	}
	return w, true, nil
}
