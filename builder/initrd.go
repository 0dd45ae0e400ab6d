package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	initrdVersion = "builder.initrd/3"
	maxInitrd     = 1 << 30 // the firmware and GRUB load it into memory
)

// initrd makes the image's initrd, of the kernel in s. That takes seconds, or a minute with the distribution's
// initramfs-tools, so the store keeps what came out of it.
func (c Config) initrd(ctx context.Context, root tree.Tree, s initramfs.Source) ([]byte, error) {
	var in []byte
	var err error
	produce := c.packInitrd
	if c.Profile.Profile.Boot.Initrd == profile.InitramfsTools {
		var digest cas.Digest
		digest, err = tree.Digest(root)
		in = fmt.Append(nil, guest.Version, c.Lock.Arch, c.Lock.Epoch, c.Profile.Profile.Boot.InitrdModules, digest)
		produce = func(ctx context.Context, _ []byte) ([]byte, error) { return c.makeInitramfs(ctx, root, s) }
	} else {
		in, err = initramfs.ForImage(ctx, s, initramfs.None, c.Profile.Profile.Boot.InitrdModules...)
	}
	if err != nil {
		return nil, err
	}
	key := cas.Of([]byte(initrdVersion + " " + string(cas.Of(in))))
	if blob, ok, err := c.Store.Result(key); err == nil && ok && c.Store.Intact(cas.Digest(blob)) {
		return c.Store.ReadAll(cas.Digest(blob), maxInitrd)
	}
	out, err := produce(ctx, in)
	if err != nil {
		return nil, err
	}
	blob, err := c.Store.PutBytes(out)
	if err != nil {
		return nil, err
	}
	return out, c.Store.SaveResult(key, []byte(blob))
}

func (c Config) packInitrd(_ context.Context, raw []byte) ([]byte, error) {
	return initramfs.Compress(raw, initramfs.Gzip)
}

// madeInitrd is where the guest leaves the initrd that initramfs-tools makes.
const madeInitrd = "var/tmp/edgebake-initrd"

// makeInitramfs lets the initramfs-tools in root make the initrd, with root as it will be: its fstab, hooks and
// settings are in there.
func (c Config) makeInitramfs(ctx context.Context, root tree.Tree, s initramfs.Source) (out []byte, err error) {
	if _, ok := root.Lookup("usr/sbin/mkinitramfs"); !ok {
		return nil, errors.New("there is no usr/sbin/mkinitramfs: add the package initramfs-tools to the profile, or take initrd: builtin")
	}
	version, err := initramfs.KernelVersion(s)
	if err != nil {
		return nil, err
	}
	w := work{before: root, payload: s, job: guest.Job{First: []string{}, Noop: []string{},
		Extra: []guest.Step{{Name: "mkinitramfs", Script: c.mkinitramfs(version)}}}}
	src := s.Reader
	_, _, err = c.runGuest(ctx, w, src, func(scratch string, _ *companion) error {
		after, _, done, err := openScratch(ctx, scratch, src)
		if err != nil {
			return err
		}
		defer done()
		out, err = readMade(after, src)
		return err
	})
	return out, err
}

// mkinitramfs is the step's script. It calls mkinitramfs, not update-initramfs: that has hooks which copy the initrd to
// where the firmware looks, and here edgebake does that.
func (c Config) mkinitramfs(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "export SOURCE_DATE_EPOCH=%d\ncp -r /etc/initramfs-tools /run/edgebake/initramfs-tools\n", c.Lock.Epoch)
	for _, m := range c.Profile.Profile.Boot.InitrdModules {
		fmt.Fprintf(&b, "echo '%s' >>/run/edgebake/initramfs-tools/modules\n", m)
	}
	fmt.Fprintf(&b, "mkinitramfs -d /run/edgebake/initramfs-tools -o '/%s' '%s'\n", madeInitrd, version)
	return b.String()
}

func readMade(t tree.Tree, src *tree.Reader) ([]byte, error) {
	e, ok := t.Lookup(madeInitrd)
	if !ok || e.Type != tree.File || e.Content.Size > maxInitrd {
		return nil, fmt.Errorf("reading what mkinitramfs made: %s is no file of at most %d bytes", madeInitrd, maxInitrd)
	}
	r, err := src.Open(e.Content)
	if err != nil {
		return nil, fmt.Errorf("reading what mkinitramfs made: %w", err)
	}
	return io.ReadAll(r)
}
