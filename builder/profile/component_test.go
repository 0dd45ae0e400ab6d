package profile_test

import (
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
