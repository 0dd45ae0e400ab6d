package profile

import (
	"reflect"
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

// Network is the kind of network configuration.
func (c CRIO) Network() string { return or(c.CNIConfig, "bridge") }

// SocketPath is the CRI socket.
func (c Containerd) SocketPath() string { return or(c.Socket, "/run/containerd/containerd.sock") }
