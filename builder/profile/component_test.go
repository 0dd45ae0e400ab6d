package profile_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/profile"
)

func TestImageNames(t *testing.T) {
	digest := "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for image, want := range map[string][]string{
		"registry.k8s.io/pause:3.2":             {"registry.k8s.io/pause:3.2", "k8s.gcr.io/pause:3.2"},
		"k8s.gcr.io/pause:3.2" + digest:         {"k8s.gcr.io/pause:3.2", "registry.k8s.io/pause:3.2"},
		"localhost:5000/a/b" + digest:           {"localhost:5000/a/b" + digest},
		"docker.io/library/busybox:1.36":        {"docker.io/library/busybox:1.36"},
		"example.org:5000/registry.k8s.io/x:v1": {"example.org:5000/registry.k8s.io/x:v1"},
	} {
		if d := cmp.Diff(want, profile.ImageNames(image)); d != "" {
			t.Errorf("%s: %s", image, d)
		}
	}
}

func TestPauseImageIsPreloadedOnce(t *testing.T) {
	c := profile.CRIO{Version: "1.20.0"}
	for name, tt := range map[string]struct {
		others []profile.Component
		crio   profile.CRIO
		want   bool
	}{
		"alone":              {nil, c, true},
		"pulled":             {nil, profile.CRIO{Version: "1.20.0", Images: "pull"}, false},
		"under another name": {[]profile.Component{{ContainerImages: &profile.ContainerImages{Images: []string{"k8s.gcr.io/pause:3.2"}}}}, c, false},
		"for containerd":     {[]profile.Component{{ContainerImages: &profile.ContainerImages{Images: []string{"k8s.gcr.io/pause:3.2"}, Runtime: "containerd"}}}, c, true},
		"of the role":        {[]profile.Component{{Kubernetes: &profile.Kubernetes{Version: "v1.20.5", Role: "worker"}}}, c, false},
		"another version":    {[]profile.Component{{Kubernetes: &profile.Kubernetes{Version: "v1.20.5", Role: "worker"}}}, profile.CRIO{Version: "1.22.0"}, true},
		"not preloaded":      {[]profile.Component{{Kubernetes: &profile.Kubernetes{Version: "v1.20.5", Role: "worker", Images: "pull"}}}, c, true},
	} {
		if got := tt.crio.PreloadsPause(profile.Profile{Components: tt.others}); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The examples of the documentation must load, and together show every kind.
func TestDocumentedComponents(t *testing.T) {
	text, err := os.ReadFile("../../docs/components.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for i, block := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(block, "```")
		file := filepath.Join(t.TempDir(), "example.yaml")
		if err := os.WriteFile(file, []byte("apiVersion: edgebake/v1\nname: example\nabstract: true\narch: arm64\n"+example), 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := profile.Load(t.Context(), profile.Options{Name: file})
		if err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
		for _, c := range l.Profile.Components {
			shown[c.Kind()] = true
		}
	}
	for kind := range reflect.TypeFor[profile.Component]().Fields() {
		if key, _, _ := strings.Cut(kind.Tag.Get("yaml"), ","); key != "name" && !shown[key] {
			t.Errorf("there is no example of %s", key)
		}
	}
}
