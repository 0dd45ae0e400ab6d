package profile

import (
	"path"
	"reflect"
	"slices"
	"strings"
)

// Kind is the key of the kind that is set (tarball, crio ...), or "" when none is.
// Of several, which is a fault, it is the first.
func (c Component) Kind() string {
	if kinds := c.kinds(); len(kinds) > 0 {
		return kinds[0]
	}
	return ""
}

// kinds are the keys of the kinds that are set.
func (c Component) kinds() []string {
	var out []string
	v := reflect.ValueOf(c)
	for _, f := range fieldsOf(v.Type()) {
		if field := v.Field(f.index); field.Kind() == reflect.Pointer && !field.IsNil() {
			out = append(out, f.key)
		}
	}
	return out
}

// knownKinds are the keys of all kinds.
func knownKinds() string {
	var out []string
	t := reflect.TypeFor[Component]()
	for _, f := range fieldsOf(t) {
		if t.Field(f.index).Type.Kind() == reflect.Pointer {
			out = append(out, f.key)
		}
	}
	return strings.Join(out, ", ")
}

// or returns value, or the default when the profile leaves it out.
func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// FromModule reports whether the plugins are built from the Go module.
func (c CNI) FromModule() bool { return c.Source == "goModule" }

// Dir is the directory in the image.
func (c CNI) Dir() string { return or(c.Destination, "/opt/cni/bin") }

// For is the runtime that shall find the images.
func (c ContainerImages) For() string { return or(c.Runtime, "crio") }

// From is where the images are taken from.
func (c ContainerImages) From() string { return or(c.Source, "registry") }

// For is the runtime that kubelet uses.
func (k Kubernetes) For() string { return or(k.Runtime, "crio") }

// Preload reports whether the image has the role's container images.
func (k Kubernetes) Preload() bool { return k.Images != "pull" }

// Pause is the sandboxes' image.
func (c CRIO) Pause() string {
	return or(c.PauseImage, "registry.k8s.io/pause:"+pauseOfCRIO(c.Version))
}

// pauseOfCRIO is what the versions name themselves, on k8s.gcr.io, which is frozen.
func pauseOfCRIO(version string) string {
	switch minor, _ := minorOf(version); {
	case minor <= 20:
		return "3.2"
	case minor <= 22:
		return "3.5"
	}
	return "3.6"
}

// OCIRuntime is runc or crun; upstream's bundle for arm64 has crun alone.
func (c CRIO) OCIRuntime(arch string) string {
	if c.Source == "bundle" && arch == "arm64" {
		return or(c.Runtime, "crun")
	}
	return or(c.Runtime, "runc")
}

// BridgeSubnet is the network of the bridge.
func (c CRIO) BridgeSubnet() string { return or(c.Subnet, "10.85.0.0/16") }

// PreloadsPause reports whether the component itself has to bring the pause image: not when
// another one of the profile does.
func (c CRIO) PreloadsPause(p Profile) bool {
	is := func(image string) bool { return slices.Contains(ImageNames(image), c.Pause()) }
	for _, other := range p.Components {
		if i := other.ContainerImages; i != nil && i.For() == "crio" && slices.ContainsFunc(i.Images, is) {
			return false
		}
		if k := other.Kubernetes; k != nil && k.For() == "crio" && k.Preload() && slices.ContainsFunc(k.RoleImages(), is) {
			return false
		}
	}
	return c.Images != "pull"
}

// ImageNames are what runtimes look for a preloaded image by: its tag where there is one,
// otherwise its digest. What registry.k8s.io serves was on k8s.gcr.io when Kubernetes 1.20 was
// made, so both names mean one image.
func ImageNames(image string) []string {
	name, _, _ := strings.Cut(image, "@")
	if !strings.Contains(path.Base(name), ":") {
		return []string{image}
	}
	const now, then = "registry.k8s.io/", "k8s.gcr.io/"
	if rest, ok := strings.CutPrefix(name, now); ok {
		return []string{name, then + rest}
	}
	if rest, ok := strings.CutPrefix(name, then); ok {
		return []string{name, now + rest}
	}
	return []string{name}
}

// ImageRepository is where the control plane's images are.
func (k Kubernetes) ImageRepository() string { return or(k.Repository, "registry.k8s.io") }

// RoleImages are the images of the role (kubeadm config images list), or nil for a version whose
// list is not known.
func (k Kubernetes) RoleImages() []string {
	if len(k.ImageList) > 0 {
		return k.ImageList
	}
	minor, _ := minorOf(k.Version)
	versions, ok := map[int]struct{ pause, etcd, dns string }{
		18: {"3.2", "3.4.3-0", "coredns:1.6.7"},
		19: {"3.2", "3.4.13-0", "coredns:1.7.0"},
		20: {"3.2", "3.4.13-0", "coredns:1.7.0"},
		21: {"3.4.1", "3.4.13-0", "coredns/coredns:v1.8.0"},
	}[minor]
	if !ok {
		return nil
	}
	names := []string{"kube-proxy:" + k.Version, "pause:" + versions.pause}
	if k.Role == "master" {
		for _, part := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			names = append(names, part+":"+k.Version)
		}
		names = append(names, "etcd:"+versions.etcd, versions.dns)
	}
	for i := range names {
		names[i] = k.ImageRepository() + "/" + names[i]
	}
	slices.Sort(names)
	return names
}

// Network is the kind of network configuration.
func (c CRIO) Network() string { return or(c.CNIConfig, "bridge") }

// SocketPath is the CRI socket.
func (c Containerd) SocketPath() string { return or(c.Socket, "/run/containerd/containerd.sock") }
