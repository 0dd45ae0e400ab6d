package builder

import (
	"context"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
)

const (
	initrdVersion = "builder.initrd/1"
	maxInitrd     = 1 << 30 // the firmware and GRUB load it into memory
)

// initrd makes the image's initrd. Packing takes seconds, so the store keeps what came out of it.
func (c Config) initrd(ctx context.Context, s initramfs.Source) ([]byte, error) {
	raw, err := initramfs.ForImage(ctx, s, initramfs.None, c.Profile.Profile.Boot.InitrdModules...)
	if err != nil {
		return nil, err
	}
	key := cas.Of([]byte(initrdVersion + " " + string(cas.Of(raw))))
	if blob, ok, err := c.Store.Result(key); err == nil && ok && c.Store.Intact(cas.Digest(blob)) {
		return c.Store.ReadAll(cas.Digest(blob), maxInitrd)
	}
	packed, err := initramfs.Compress(raw, initramfs.Gzip)
	if err != nil {
		return nil, err
	}
	blob, err := c.Store.PutBytes(packed)
	if err != nil {
		return nil, err
	}
	return packed, c.Store.SaveResult(key, []byte(blob))
}
