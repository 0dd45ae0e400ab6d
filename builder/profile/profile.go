// Package profile reads what a person writes: the YAML description of an image.
//
// A Profile is the effective description after its parents (extends) were laid under it,
// variables were put in and defaults were filled. A Fault is one thing wrong with it, at a
// position; Load returns all of them at once. An Origin says which file and line gave a value.
package profile

//go:generate go run ./schemagen . ../../profiles/schema.json

// Profile describes one image. Every field's comment is its documentation and becomes the
// description in the JSON schema.
type Profile struct {
	// APIVersion is the version of this format: edgebake/v1.
	APIVersion string `yaml:"apiVersion" json:"apiVersion" jsonschema:"required,enum=edgebake/v1"`
	// Name of the profile: lower-case letters, digits, dots and hyphens.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Summary is one line for lists.
	Summary string `yaml:"summary,omitempty" json:"summary,omitempty"`
	// Extends names profiles that are laid under this one, in order: built-in names or paths relative to this file.
	// Lists are appended to the parent's, maps are merged by key, single values replace the parent's.
	// An explicit null takes the parent's value away, lists included. A profile that is reached twice is laid once.
	Extends []string `yaml:"extends,omitempty" json:"extends,omitempty"`
	// Abstract marks a profile that is only meant to be extended.
	Abstract bool `yaml:"abstract,omitempty" json:"abstract,omitempty"`
	// Variables are strings that ${name} in any other value stands for; --set replaces them. $${ stands for ${.
	Variables map[string]string `yaml:"variables,omitempty" json:"variables,omitempty"`
	// Arch is the Debian name of the architecture: arm64 or amd64.
	Arch string `yaml:"arch" json:"arch" jsonschema:"enum=arm64,enum=amd64"`
	// Base is what the image starts from.
	Base Base `yaml:"base" json:"base"`
	// Apt says where packages come from.
	Apt Apt `yaml:"apt" json:"apt"`
	// Packages to install, by name; "name=version", "name/suite" and "name-" (never install) are understood.
	Packages []string `yaml:"packages,omitempty" json:"packages,omitempty"`
	// Components are inputs that are not packages.
	Components []Component `yaml:"components,omitempty" json:"components,omitempty"`
	// Overlays are directories of files laid over everything else: built-in names or paths relative to this file.
	Overlays []string `yaml:"overlays,omitempty" json:"overlays,omitempty"`
	// Boot says how the image starts.
	Boot Boot `yaml:"boot" json:"boot"`
	// Disk is the layout of the image.
	Disk Disk `yaml:"disk" json:"disk"`
	// Hostname that the image carries until its seed names the node.
	Hostname string `yaml:"hostname,omitempty" json:"hostname,omitempty"`
	// Users that exist in the image. Passwords are refused: they belong into the seed.
	Users []User `yaml:"users,omitempty" json:"users,omitempty"`
	// Services are systemd units to enable, disable or mask.
	Services Services `yaml:"services,omitempty" json:"services,omitzero"`
	// Sysctls by key, written to /etc/sysctl.d.
	Sysctls map[string]string `yaml:"sysctls,omitempty" json:"sysctls,omitempty"`
	// Modules are kernel modules loaded at boot.
	Modules []string `yaml:"modules,omitempty" json:"modules,omitempty"`
	// Outputs are the formats of the artifact: raw.
	Outputs []string `yaml:"outputs,omitempty" json:"outputs,omitempty" jsonschema:"enum=raw"`
	// Checks are what a boot must prove; see Check.
	Checks []string `yaml:"checks,omitempty" json:"checks,omitempty" jsonschema:"enum=multi-user,enum=no-failed-units,enum=cloud-init,enum=cmdline-flags,enum=memory-cgroup,enum=cri,enum=mosquitto-user,enum=cni-plugins,enum=root-grown,enum=clock,enum=packages,enum=joined,enum=token-scrubbed,enum=stays-joined"`
}

// Apt says where packages come from.
type Apt struct {
	// Sources of packages.
	Sources []Source `yaml:"sources" json:"sources"`
	// Recommends installs recommended packages too.
	Recommends bool `yaml:"recommends,omitempty" json:"recommends,omitempty"`
}

// Source is one archive of packages.
type Source struct {
	// Name of the source in the lock and in messages.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// URL of the archive: the directory above dists/, or of the flat repository.
	URL string `yaml:"url" json:"url" jsonschema:"required"`
	// Suites below dists/; a flat repository has the one suite "/" or "./path/".
	Suites []string `yaml:"suites" json:"suites" jsonschema:"required"`
	// Components of the suites: main, non-free-firmware. None for a flat repository.
	Components []string `yaml:"components,omitempty" json:"components,omitempty"`
	// Keyring is the file of OpenPGP keys, binary or armored: built-in name or path relative to this file.
	Keyring string `yaml:"keyring" json:"keyring" jsonschema:"required"`
	// Fingerprints of the primary keys in Keyring that may sign (40 hexadecimal digits); at least one good signature of one of them is needed.
	Fingerprints []string `yaml:"fingerprints" json:"fingerprints" jsonschema:"required"`
	// Priority of the source's packages, as in apt_preferences; the default is 500.
	Priority int `yaml:"priority,omitempty" json:"priority,omitempty"`
	// Snapshot is the URL of the distribution's snapshot archive, above the date.
	Snapshot string `yaml:"snapshot,omitempty" json:"snapshot,omitempty"`
	// IgnoreValidUntil accepts expired Release files (archives that are frozen for good).
	IgnoreValidUntil bool `yaml:"ignoreValidUntil,omitempty" json:"ignoreValidUntil,omitempty"`
}

// Boot says how the image starts.
type Boot struct {
	// Loader is raspberrypi (firmware on the FAT), grub-efi (signed shim and GRUB on the ESP), grub (the one that a
	// base image brings, for BIOS or UEFI) or none.
	Loader string `yaml:"loader" json:"loader" jsonschema:"enum=raspberrypi,enum=grub-efi,enum=grub,enum=none"`
	// Kernel is the package that brings the kernel: linux-image-arm64. A base image has its own when this is left out.
	Kernel string `yaml:"kernel,omitempty" json:"kernel,omitempty"`
	// GuestKernel is the package of a kernel with virtio drivers, for running packages' scripts on a base image
	// whose own kernel has none: linux-image-generic. It does not get into the image.
	GuestKernel string `yaml:"guestKernel,omitempty" json:"guestKernel,omitempty"`
	// Initrd is builtin (made in process: finds root and nothing else) or initramfs-tools (the distribution's, made by its
	// own program in the guest, which takes a minute more after each change of the image).
	Initrd string `yaml:"initrd,omitempty" json:"initrd,omitempty" jsonschema:"enum=builtin,enum=initramfs-tools"`
	// Cmdline are the kernel's parameters in order, without root=.
	Cmdline []string `yaml:"cmdline,omitempty" json:"cmdline,omitempty"`
	// ConfigTxt are lines added to the Raspberry Pi's config.txt.
	ConfigTxt []string `yaml:"configTxt,omitempty" json:"configTxt,omitempty"`
	// InitrdModules are kernel modules in the initrd besides those that every image has.
	InitrdModules []string `yaml:"initrdModules,omitempty" json:"initrdModules,omitempty"`
}

// Disk is the layout of the image. With a base image its partitions can't be given: the layout is the base's.
type Disk struct {
	// Table is mbr or gpt.
	Table string `yaml:"table,omitempty" json:"table,omitempty" jsonschema:"enum=mbr,enum=gpt"`
	// Size of the image: 4GiB. The last partition of a base image grows by what the size grows; left out, it keeps its size.
	Size Size `yaml:"size,omitempty" json:"size,omitempty"`
	// Partitions in the order of the disk.
	Partitions []Partition `yaml:"partitions,omitempty" json:"partitions,omitempty"`
	// NoDelayedAllocation makes nodelalloc a default mount option of the ext4 file systems that are written
	// (tune2fs -o nodelalloc): a power cut leaves no file empty whose name is there already. Costs some speed.
	NoDelayedAllocation bool `yaml:"noDelayedAllocation,omitempty" json:"noDelayedAllocation,omitempty"`
}

// Partition is one partition with its file system.
type Partition struct {
	// Label of the file system.
	Label string `yaml:"label" json:"label" jsonschema:"required"`
	// Type is linux, esp, fat or bios-boot; it becomes the table's own code.
	Type string `yaml:"type" json:"type" jsonschema:"required,enum=linux,enum=esp,enum=fat,enum=bios-boot"`
	// FS is ext4, vfat or none.
	FS string `yaml:"fs" json:"fs" jsonschema:"required,enum=ext4,enum=vfat,enum=none"`
	// Size of the partition; the last one may leave it out and takes the rest.
	Size Size `yaml:"size,omitempty" json:"size,omitempty"`
	// Mount is where the file system appears: /, /boot/firmware, /boot/efi.
	Mount string `yaml:"mount" json:"mount"`
	// Options of /etc/fstab; the default is defaults.
	Options string `yaml:"options,omitempty" json:"options,omitempty"`
	// Grow lets the first boot enlarge the partition and its file system to the whole disk; only the last one can.
	Grow bool `yaml:"grow,omitempty" json:"grow,omitempty"`
	// ClusterSize of a vfat in bytes; the default fits its size.
	ClusterSize Size `yaml:"clusterSize,omitempty" json:"clusterSize,omitempty"`
}

// Size is a number of bytes; YAML writes it with a unit: 256MiB, 4GiB.
type Size int64

// User is an account of the image.
type User struct {
	// Name of the account.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// UID is chosen from 1000 on when left out.
	UID int `yaml:"uid,omitempty" json:"uid,omitempty"`
	// Groups besides the user's own.
	Groups []string `yaml:"groups,omitempty" json:"groups,omitempty"`
	// Shell is /bin/bash when left out.
	Shell string `yaml:"shell,omitempty" json:"shell,omitempty"`
	// Home is /home/NAME when left out.
	Home string `yaml:"home,omitempty" json:"home,omitempty"`
	// Sudo gives the user sudo without a password.
	Sudo bool `yaml:"sudo,omitempty" json:"sudo,omitempty"`
	// AuthorizedKeys are public SSH keys.
	AuthorizedKeys []string `yaml:"authorizedKeys,omitempty" json:"authorizedKeys,omitempty"`
}

// Services are systemd units by what is done with them.
type Services struct {
	// Enable units at boot.
	Enable []string `yaml:"enable,omitempty" json:"enable,omitempty"`
	// Disable units that packages enable.
	Disable []string `yaml:"disable,omitempty" json:"disable,omitempty"`
	// Mask units, so that nothing can start them.
	Mask []string `yaml:"mask,omitempty" json:"mask,omitempty"`
}
