package profile

// Component is one input that is not a package; exactly one kind is set. What a kind downloads is
// pinned in the lock with size and SHA-256; a hash that nobody published is marked there.
type Component struct {
	// Name of the component in the lock and in messages.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// GoModule builds programs of a Go module.
	GoModule *GoModule `yaml:"goModule,omitempty" json:"goModule,omitempty"`
	// Tarball unpacks an archive: .tar, .tar.gz, .tar.xz or .tar.zst.
	Tarball *Tarball `yaml:"tarball,omitempty" json:"tarball,omitempty"`
	// Files puts single files into the image.
	Files *Files `yaml:"files,omitempty" json:"files,omitempty"`
	// Debs installs packages from files of this machine, with their dependencies from the archives.
	Debs *Debs `yaml:"debs,omitempty" json:"debs,omitempty"`
	// CNI installs the reference network plugins.
	CNI *CNI `yaml:"cni,omitempty" json:"cni,omitempty"`
	// ContainerImages puts container images where the runtime finds them without a network.
	ContainerImages *ContainerImages `yaml:"containerImages,omitempty" json:"containerImages,omitempty"`
	// KubeEdge brings keadm and all that it needs to join without a network.
	KubeEdge *KubeEdge `yaml:"kubeedge,omitempty" json:"kubeedge,omitempty"`
	// CRIO is the container runtime CRI-O, its configuration or all of it.
	CRIO *CRIO `yaml:"crio,omitempty" json:"crio,omitempty"`
	// Containerd configures the container runtime containerd, which a package brings.
	Containerd *Containerd `yaml:"containerd,omitempty" json:"containerd,omitempty"`
	// Kubernetes brings kubeadm, kubelet and kubectl for a machine of the cluster's own.
	Kubernetes *Kubernetes `yaml:"kubernetes,omitempty" json:"kubernetes,omitempty"`
}

// GoModule builds programs of a Go module for the image's architecture, static and reproducible.
type GoModule struct {
	// Module is the module's path, without a version.
	Module string `yaml:"module" json:"module" jsonschema:"required,example=github.com/containernetworking/plugins"`
	// Version of the module: v0.8.7.
	Version string `yaml:"version" json:"version" jsonschema:"required,example=v0.8.7"`
	// Sum is the module's h1: sum, as in go.sum.
	Sum string `yaml:"sum" json:"sum" jsonschema:"required,example=h1:bU7QieuAp+sACI2vCzESJ3FoT860urYP+lThyZkb/2M="`
	// Packages to build, relative to the module: plugins/...
	Packages []string `yaml:"packages" json:"packages" jsonschema:"required"`
	// LDFlags are added to -s -w.
	LDFlags string `yaml:"ldflags,omitempty" json:"ldflags,omitempty"`
	// Destination is the directory in the image.
	Destination string `yaml:"destination" json:"destination" jsonschema:"required,example=/opt/cni/bin"`
	// Exclude names programs that are built but not installed.
	Exclude []string `yaml:"exclude,omitempty" json:"exclude,omitempty"`
}

// Tarball unpacks an archive. Names that leave it, links that point out of the destination, devices and
// set-id files are refused. Without sha256, sha512 or sums the hash is pinned when the profile is locked first.
type Tarball struct {
	// URLs that serve the archive, in the order they are tried; file:///absolute/path is understood.
	URLs []string `yaml:"urls" json:"urls" jsonschema:"required,example=https://example.org/tool-1.2-linux-arm64.tar.gz"`
	// SHA256 of the archive as published: 64 hexadecimal digits.
	SHA256 string `yaml:"sha256,omitempty" json:"sha256,omitempty"`
	// SHA512 of the archive as published: 128 hexadecimal digits.
	SHA512 string `yaml:"sha512,omitempty" json:"sha512,omitempty"`
	// Sums is the URL of a file with the archive's checksum: the bare digits, or lines as of sha256sum and sha512sum.
	Sums string `yaml:"sums,omitempty" json:"sums,omitempty" jsonschema:"example=https://example.org/tool-1.2-linux-arm64.tar.gz.sha256"`
	// Strip is how many leading directories of each name are dropped, as of tar --strip-components.
	Strip int `yaml:"strip,omitempty" json:"strip,omitempty" jsonschema:"example=1"`
	// Pick are patterns (*, ?, [a-z]; a directory takes all below it) of the names to take, after strip; all without any.
	Pick []string `yaml:"pick,omitempty" json:"pick,omitempty" jsonschema:"example=bin/*"`
	// Destination is the directory in the image: /usr/local.
	Destination string `yaml:"destination" json:"destination" jsonschema:"required,example=/usr/local"`
	// Owner of everything as USER:GROUP in numbers, or root; root is the default, the archive's own owners are not taken.
	Owner string `yaml:"owner,omitempty" json:"owner,omitempty" jsonschema:"example=1000:1000"`
	// Mode of the files in octal digits, as "0755"; the archive's modes are the default.
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty" jsonschema:"example=0755"`
}

// Files puts single files into the image.
type Files struct {
	// Files with their places.
	Files []ComponentFile `yaml:"files" json:"files" jsonschema:"required"`
}

// ComponentFile is one file of a component; exactly one of content and source is set.
type ComponentFile struct {
	// Path in the image: /etc/motd.
	Path string `yaml:"path" json:"path" jsonschema:"required,example=/etc/motd"`
	// Content is the file's text.
	Content string `yaml:"content,omitempty" json:"content,omitempty"`
	// Source is a file of this machine: its path relative to this profile. Its content is pinned in the lock.
	Source string `yaml:"source,omitempty" json:"source,omitempty" jsonschema:"example=files/motd"`
	// Owner of the file: a number or root, the default.
	Owner string `yaml:"owner,omitempty" json:"owner,omitempty" jsonschema:"example=1000"`
	// Group of the file: a number or root, the default.
	Group string `yaml:"group,omitempty" json:"group,omitempty" jsonschema:"example=1000"`
	// Mode in octal digits, as "0600"; the default is 0644.
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty" jsonschema:"example=0600"`
}

// Debs installs packages from files of this machine: what no archive serves any more.
type Debs struct {
	// Files are paths of .deb files relative to this profile.
	Files []string `yaml:"files" json:"files" jsonschema:"required,example=debs/cri-o_1.20.0~2_amd64.deb"`
}

// CNI installs the reference plugins of containernetworking. Version v0.8.7 is known with its hashes
// and is the newest that KubeEdge 1.8 needs; another one names its own sum.
type CNI struct {
	// Version of the plugins: v0.8.7.
	Version string `yaml:"version" json:"version" jsonschema:"required,example=v0.8.7"`
	// Source is goModule (built here, needs Go) or tarball (the release as published); the default is tarball.
	Source string `yaml:"source,omitempty" json:"source,omitempty" jsonschema:"enum=goModule,enum=tarball"`
	// Sum of a version that is not known: the Go module's h1: sum, or the tarball's SHA-256.
	Sum string `yaml:"sum,omitempty" json:"sum,omitempty"`
	// URLs of the tarball instead of upstream's.
	URLs []string `yaml:"urls,omitempty" json:"urls,omitempty"`
	// Destination is the directory in the image; the default is /opt/cni/bin.
	Destination string `yaml:"destination,omitempty" json:"destination,omitempty"`
}

// ContainerImages puts container images of the image's architecture where the runtime finds them:
// CRI-O in a read-only additional image store, containerd by an import at the first boot.
type ContainerImages struct {
	// Images as registry/repository:tag, registry/repository@sha256:digest or both; tags are resolved when the profile is locked.
	Images []string `yaml:"images" json:"images" jsonschema:"required,example=registry.k8s.io/pause:3.2"`
	// Source is registry, layout (a directory in OCI image layout) or archive (that directory or docker save's output as one tar); the default is registry.
	Source string `yaml:"source,omitempty" json:"source,omitempty" jsonschema:"enum=registry,enum=layout,enum=archive"`
	// Path of the layout or archive relative to this profile.
	Path string `yaml:"path,omitempty" json:"path,omitempty" jsonschema:"example=images/pause.tar"`
	// Runtime that shall find them: crio, the default, or containerd.
	Runtime string `yaml:"runtime,omitempty" json:"runtime,omitempty" jsonschema:"enum=crio,enum=containerd"`
	// Variant of the architecture: v8.
	Variant string `yaml:"variant,omitempty" json:"variant,omitempty"`
}

// KubeEdge brings keadm to /usr/bin, and to /usr/lib/edgebake/kubeedge golden copies of all that
// keadm join and keadm init would download: release, checksum, units, custom resource definitions.
// They are copied to /etc/kubeedge before each run, since keadm reset empties that.
type KubeEdge struct {
	// Version without a v: 1.8.2.
	Version string `yaml:"version" json:"version" jsonschema:"required,example=1.8.2"`
	// Releases are URLs of directories that serve keadm-vVERSION-linux-ARCH.tar.gz and its like, instead of upstream's.
	Releases []string `yaml:"releases,omitempty" json:"releases,omitempty"`
	// Sources are URLs of directories that serve build/tools/edgecore.service and build/crds/, instead of upstream's.
	Sources []string `yaml:"sources,omitempty" json:"sources,omitempty"`
}

// CRIO is the container runtime CRI-O with the configuration that KubeEdge and Kubernetes need.
type CRIO struct {
	// Version: 1.20.0. KubeEdge's edgecore speaks to 1.18 to 1.25 only (CRI v1alpha2).
	Version string `yaml:"version" json:"version" jsonschema:"required,example=1.20.0"`
	// Source is apt (packages of the profile bring it), bundle (upstream's static release) or debs (files of this machine).
	Source string `yaml:"source" json:"source" jsonschema:"required,enum=apt,enum=bundle,enum=debs"`
	// Bundle is the release's archive instead of upstream's; for source bundle.
	Bundle *Download `yaml:"bundle,omitempty" json:"bundle,omitempty"`
	// Debs are paths of .deb files relative to this profile; for source debs.
	Debs []string `yaml:"debs,omitempty" json:"debs,omitempty"`
	// Runtime is runc or crun. The default is runc, and crun for the arm64 bundle, which has no runc.
	Runtime string `yaml:"runtime,omitempty" json:"runtime,omitempty" jsonschema:"enum=runc,enum=crun"`
	// RuntimePath is where the runtime's program is, when it is not where the source puts it.
	RuntimePath string `yaml:"runtimePath,omitempty" json:"runtimePath,omitempty" jsonschema:"example=/usr/lib/cri-o-runc/sbin/runc"`
	// PauseImage is the sandboxes' image; the default is the version's own, on registry.k8s.io.
	PauseImage string `yaml:"pauseImage,omitempty" json:"pauseImage,omitempty" jsonschema:"example=registry.k8s.io/pause:3.2"`
	// Images is preload (the default: the pause image is in the image) or pull (CRI-O pulls it).
	Images string `yaml:"images,omitempty" json:"images,omitempty" jsonschema:"enum=preload,enum=pull"`
	// CNIConfig is bridge (a bridge of this node alone, until a network plugin of the cluster brings its own) or none.
	CNIConfig string `yaml:"cniConfig,omitempty" json:"cniConfig,omitempty" jsonschema:"enum=bridge,enum=none"`
	// Subnet of the bridge; the default is 10.85.0.0/16.
	Subnet string `yaml:"subnet,omitempty" json:"subnet,omitempty" jsonschema:"example=10.85.0.0/16"`
}

// Download is a file that is fetched; without a hash it is pinned when the profile is locked first.
type Download struct {
	// URLs that serve the file, in the order they are tried.
	URLs []string `yaml:"urls" json:"urls" jsonschema:"required"`
	// SHA256 of the file as published.
	SHA256 string `yaml:"sha256,omitempty" json:"sha256,omitempty"`
	// SHA512 of the file as published.
	SHA512 string `yaml:"sha512,omitempty" json:"sha512,omitempty"`
	// Sums is the URL of a file with the checksum.
	Sums string `yaml:"sums,omitempty" json:"sums,omitempty"`
}

// Containerd configures containerd for edgecore or kubelet: cgroups by systemd, the sandboxes'
// image, network plugins. A package (containerd or containerd.io) brings the program.
type Containerd struct {
	// SandboxImage is the sandboxes' image.
	SandboxImage string `yaml:"sandboxImage" json:"sandboxImage" jsonschema:"required,example=registry.k8s.io/pause:3.6"`
	// Runtime is the path of runc; the default is found on the PATH.
	Runtime string `yaml:"runtime,omitempty" json:"runtime,omitempty"`
	// Socket of the CRI; the default is /run/containerd/containerd.sock.
	Socket string `yaml:"socket,omitempty" json:"socket,omitempty"`
	// CNIBinaries is the directory of the network plugins; the default is /opt/cni/bin.
	CNIBinaries string `yaml:"cniBinaries,omitempty" json:"cniBinaries,omitempty"`
}

// Kubernetes brings kubeadm, kubelet and kubectl as published, with kubelet's unit and kubeadm's
// drop-in. Swap, sysctls and modules are the profile's.
type Kubernetes struct {
	// Version: v1.20.5. KubeEdge 1.8 needs one below v1.22.
	Version string `yaml:"version" json:"version" jsonschema:"required,example=v1.20.5"`
	// Role is master (the control plane's images too) or worker (kube-proxy's and the sandboxes' image).
	Role string `yaml:"role" json:"role" jsonschema:"required,enum=master,enum=worker"`
	// Runtime whose socket kubelet uses: crio, the default, or containerd.
	Runtime string `yaml:"runtime,omitempty" json:"runtime,omitempty" jsonschema:"enum=crio,enum=containerd"`
	// Images is preload (the default: the role's images are in the image) or pull (kubeadm pulls them).
	Images string `yaml:"images,omitempty" json:"images,omitempty" jsonschema:"enum=preload,enum=pull"`
	// Repository of the images; the default is registry.k8s.io, which has what k8s.gcr.io had.
	Repository string `yaml:"repository,omitempty" json:"repository,omitempty"`
	// ImageList replaces the role's images: for versions whose list is not known.
	ImageList []string `yaml:"imageList,omitempty" json:"imageList,omitempty"`
	// Binaries are URLs of directories that serve vVERSION/bin/linux/ARCH/kubeadm and its like, instead of upstream's.
	Binaries []string `yaml:"binaries,omitempty" json:"binaries,omitempty"`
}
