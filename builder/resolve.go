package builder

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/image/decode"
	"github.com/edgebake/edgebake/builder/image/sums"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
)

// BaseError says that the published image of a profile is not one that can be baked from. Its bytes
// are those that its publisher signed or the profile names.
type BaseError struct {
	// File is its name.
	File string
	Err  error
}

func (e *BaseError) Error() string { return fmt.Sprintf("reading base image %s: %v", e.File, e.Err) }
func (e *BaseError) Unwrap() error { return e.Err }

// Resolver finds out what a lock has to know of a base image.
type Resolver struct {
	Profile profile.Loaded
	Store   *cas.Store
	Client  *fetch.Client
	Report  progress.Reporter
	// Now is compared with the time at which keys expire.
	Now time.Time
}

// Base fetches the profile's base image, verifies it, and reads what is installed in it. It
// returns nil when the profile has none.
func (r Resolver) Base(ctx context.Context) (*lock.BaseInputs, error) {
	want := r.Profile.Profile.Base.Image
	if want == nil {
		return nil, nil
	}
	digest, signer, err := r.hash(ctx, *want)
	if err != nil {
		return nil, fmt.Errorf("finding the hash of base image %s: %w", profile.FileName(want.URLs[0]), err)
	}
	if err := r.Client.All(ctx, []fetch.Request{{Name: profile.FileName(want.URLs[0]), URLs: want.URLs, Size: -1, Digest: digest}}); err != nil {
		return nil, err
	}
	inputs, err := r.read(ctx, *want, digest, signer)
	if err != nil {
		return nil, &BaseError{profile.FileName(want.URLs[0]), err}
	}
	return inputs, nil
}

// read decodes the image and looks into it.
func (r Resolver) read(ctx context.Context, want profile.BaseImage, digest cas.Digest, signer string) (*lock.BaseInputs, error) {
	raw, err := decode.Decode(ctx, r.Store, digest, decode.Options{Report: r.Report})
	if err != nil {
		return nil, err
	}
	blob, err := r.Store.Open(digest)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	pin := lock.Base{URLs: want.URLs, Size: blob.Size(), SHA256: digest, Signer: signer, Raw: raw.Digest, RawSize: raw.Size}
	return r.inspect(ctx, pin)
}

// hash is what the publisher, or the profile, says.
func (r Resolver) hash(ctx context.Context, want profile.BaseImage) (digest cas.Digest, signer string, err error) {
	if want.Sums == nil {
		return cas.Digest(want.SHA256), "", nil
	}
	list, err := r.small(ctx, want.Sums.URLs, "")
	if err != nil {
		return "", "", err
	}
	signature, err := r.small(ctx, want.Sums.URLs, ".gpg")
	if err != nil {
		return "", "", err
	}
	if signer, err = sums.Verify(list, signature, r.Profile.Keyrings[profile.ImageKeyring], want.Sums.Fingerprints, r.Now); err != nil {
		return "", "", err
	}
	if digest, err = sums.Find(list, profile.FileName(want.URLs[0])); err != nil {
		return "", "", err
	}
	if want.SHA256 != "" && want.SHA256 != string(digest) {
		return "", "", fmt.Errorf("the profile says %s and the publisher's list %s", want.SHA256, digest)
	}
	return digest, signer, nil
}

// maxSums is far above any list of hashes; Ubuntu's have 10 KiB.
const maxSums = 16 << 20

func (r Resolver) small(ctx context.Context, urls []string, suffix string) ([]byte, error) {
	var all []string
	for _, u := range urls {
		all = append(all, u+suffix)
	}
	name := profile.FileName(all[0])
	digest, err := r.Client.Get(ctx, fetch.Request{Name: name, URLs: all, Size: -1, MaxSize: maxSums})
	if err != nil {
		return nil, err
	}
	return r.Store.ReadAll(digest, maxSums)
}

// inspect reads what is inside the decoded image.
func (r Resolver) inspect(ctx context.Context, pin lock.Base) (*lock.BaseInputs, error) {
	b, err := openBase(ctx, r.Store, pin.Raw)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, w := range b.img.Warnings() {
		r.Report.Warn("base image: %s", w)
	}
	status, err := b.status()
	if err != nil {
		return nil, err
	}
	installed, err := apt.ParseStatus(strings.NewReader(status))
	if err != nil {
		return nil, fmt.Errorf("reading its packages: %w", err)
	}
	arch := r.Profile.Profile.Arch
	if got := archOf(installed); got != arch {
		return nil, fmt.Errorf("its dpkg is for %s and the profile for %s", got, arch)
	}
	out := &lock.BaseInputs{Pin: pin, Installed: installed, OwnKernel: b.ownKernel(ctx, arch)}
	for i := range b.root.Tree.Len() {
		out.Epoch = max(out.Epoch, b.root.Tree.At(i).MTime.Sec)
	}
	return out, nil
}

// archOf is the architecture of dpkg itself.
func archOf(installed []apt.Installed) string {
	for _, p := range installed {
		if p.Name == "dpkg" {
			return p.Arch
		}
	}
	return "an unknown architecture"
}

// ownKernel reports whether the guest can run with the image's newest kernel.
func (b *base) ownKernel(ctx context.Context, arch string) bool {
	versions := boot.Kernels(b.root.Tree)
	return len(versions) > 0 && initramfs.CheckGuest(ctx, initramfs.Source{Arch: arch, Tree: b.root.Tree, Reader: b.img.Reader(), Version: versions[0]}) == nil
}
