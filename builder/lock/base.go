package lock

import (
	"fmt"
	"strings"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
)

// Base is the published image that an image starts from.
type Base struct {
	URLs   []string   `json:"urls"`
	Size   int64      `json:"size"`
	SHA256 cas.Digest `json:"sha256"`
	// Signer is the fingerprint of the key that signed the publisher's list of hashes. It is empty
	// when the profile itself says the hash.
	Signer string `json:"signer,omitempty"`
	// Raw is the SHA-256 of the decoded image, RawSize its size in bytes.
	Raw     cas.Digest `json:"raw"`
	RawSize int64      `json:"rawSize"`
}

// BaseInputs is what the resolver needs to know of a base image.
type BaseInputs struct {
	Pin Base
	// Installed are the packages that its dpkg knows.
	Installed []apt.Installed
	// OwnKernel says that the image has a kernel in which the guest can run.
	OwnKernel bool
	// Epoch is the newest time of its files, in seconds since 1970.
	Epoch int64
}

// kernelFiles are the packages of a kernel and its modules, without those that only depend on them.
func kernelFiles(packages []Package) []Package {
	var out []Package
	for _, p := range packages {
		versioned := strings.ContainsAny(strings.TrimPrefix(strings.TrimPrefix(p.Name, "linux-image-"), "linux-modules-"), "0123456789")
		if versioned && (strings.HasPrefix(p.Name, "linux-image-") || strings.HasPrefix(p.Name, "linux-modules-")) {
			p.Reason = "guest"
			out = append(out, p)
		}
	}
	return out
}

// guestKernel pins a kernel that the guest can run in and that does not get into the image.
func guestKernel(in Inputs, u *apt.Universe) ([]Package, error) {
	name := in.Profile.Boot.GuestKernel
	if name == "" {
		return nil, fmt.Errorf("the base image's kernel has no drivers for the guest (virtio, ext4): name a package of one that has in boot.guestKernel, such as linux-image-generic")
	}
	all, err := solve(u, apt.Request{Install: []string{name}})
	if err != nil {
		return nil, err
	}
	kernel := kernelFiles(all)
	if len(kernel) == 0 {
		return nil, fmt.Errorf("boot.guestKernel %s brings no kernel (linux-image-VERSION)", name)
	}
	return kernel, nil
}
