// Package standin makes stand-ins of what can't be fetched where tests run: the images that Ubuntu
// publishes, the package archives and releases that the Ubuntu profiles name.
//
// A stand-in has the outside of the original (partition table, file systems, labels, names, texts,
// compression, signatures, URLs) and the inside of a Debian system that edgebake configured: a Base.
// Purge takes packages out of it that the original does not have, a wardrobe dresses it as the
// distribution. What a stand-in can't have is said in its README, or by its programs themselves.
//
// Upstream serves all of it over HTTP under the paths of the real URLs, for --mirror.
package standin

import (
	"context"
	"fmt"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/tree"
)

// Base is a configured Debian system: what a bake has before components, overlays and settings.
type Base struct {
	Lock  lock.Lock
	Store *cas.Store
	Tree  tree.Tree
	// Tools are the packages that only the guest has: static busybox.
	Tools  tree.Tree
	Reader *tree.Reader
}

// New returns the base that a bake configured: configured is builder.Config.ConfiguredTree of the
// lock, in the store that the bake has used. The caller closes the Reader.
func New(ctx context.Context, store *cas.Store, l lock.Lock, configured tree.Tree) (Base, error) {
	b := Base{Lock: l, Store: store, Tree: configured, Reader: tree.NewReader(store)}
	var tools []deb.Extracted
	for _, p := range l.Guest {
		x, err := deb.Extract(ctx, store, p.SHA256)
		if err != nil {
			return b, err
		}
		tools = append(tools, x)
	}
	in, err := deb.Install(tools, b.Reader, l.Arch, b.time())
	b.Tools = in.Tree
	return b, err
}

func (b Base) time() tree.Time { return tree.Time{Sec: b.Lock.Epoch} }

// kernel is the version of the newest kernel.
func (b Base) kernel() (string, error) {
	versions := boot.Kernels(b.Tree)
	if len(versions) == 0 {
		return "", fmt.Errorf("dressing %s: /boot has no kernel", b.Lock.Profile)
	}
	return versions[0], nil
}

// initrd mounts the root file system that the kernel's command line names.
func (b Base) initrd(ctx context.Context) ([]byte, error) {
	all, err := tree.Merge(tree.Layer{Name: "tools", Tree: b.Tools}, tree.Layer{Name: "root", Tree: b.Tree})
	if err != nil {
		return nil, err
	}
	return initramfs.ForImage(ctx, initramfs.Source{Arch: b.Lock.Arch, Tree: all, Reader: b.Reader}, initramfs.Gzip)
}
