package component_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/component"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/standin"
)

// published serves stand-ins of all that upstream has, under the real URLs.
func published(t *testing.T, arch string) []fetch.Mirror {
	t.Helper()
	u := standin.NewUpstream(t.TempDir(), time.Unix(1_600_000_000, 0))
	p := standin.Programs{Arch: arch, Named: []byte("named"), CRIO: map[string][]byte{"1.20.0": []byte("1.20.0"), "1.20.3": []byte("1.20.3")}}
	if err := errors.Join(u.Releases(p), u.ControlPlaneImages(p)); err != nil {
		t.Fatal(err)
	}
	server := u.Serve()
	t.Cleanup(server.Close)
	var out []fetch.Mirror
	for _, flag := range u.Mirrors(server.URL) {
		if m, err := fetch.ParseMirror(flag); err == nil {
			out = append(out, m)
		}
	}
	return out
}

// bakeStandins makes the components of a profile from the stand-ins alone.
func bakeStandins(t *testing.T, arch, components string) tree.Tree {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: edgebake/v1\nname: node\nabstract: true\narch: "+arch+"\ncomponents:\n"+components), 0o644); err != nil {
		t.Fatal(err)
	}
	loaded, err := profile.Load(t.Context(), profile.Options{Name: file})
	if err != nil {
		t.Fatal(err)
	}
	store, err := cas.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	k := component.Kit{Store: store, Profile: loaded, Client: fetch.New(fetch.Config{Store: store, Retries: -1, Mirrors: published(t, arch)})}
	pins, err := k.Resolve(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Fetch(t.Context(), pins); err != nil {
		t.Fatal(err)
	}
	layers, _, err := k.Build(t.Context(), lock.Lock{Arch: arch, Epoch: 1_600_000_000, Components: pins})
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.Merge(layers...)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestMasterFromStandins(t *testing.T) {
	root := bakeStandins(t, "amd64", `  - name: crio
    crio: {version: 1.20.0, source: bundle, cniConfig: none}
  - name: kubernetes
    kubernetes: {version: v1.20.5, role: master}
  - name: kubeedge
    kubeedge: {version: 1.8.2}
`)
	wantFiles(t, root, "usr/local/bin/crio", "usr/local/bin/runc", "usr/local/lib/systemd/system/crio.service", "opt/cni/bin/loopback", "usr/bin/kubelet",
		"usr/lib/edgebake/images/kubernetes/overlay-images/images.json", "usr/bin/keadm", "usr/lib/edgebake/kubeedge/crds/router/router_v1_rule.yaml")
}

func TestEdgeFromStandins(t *testing.T) {
	root := bakeStandins(t, "arm64", `  - name: crio
    crio: {version: 1.20.3, source: bundle}
  - name: kubeedge
    kubeedge: {version: 1.8.2}
`)
	wantFiles(t, root, "usr/local/bin/crun", "etc/cni/net.d/99-edgebake-bridge.conf", "usr/lib/edgebake/images/crio/overlay-images/images.json",
		"usr/lib/edgebake/kubeedge/kubeedge-v1.8.2-linux-arm64.tar.gz")
	for _, p := range []string{"usr/bin/kubelet", "etc/systemd/system/edgecore.service"} {
		if _, ok := root.Lookup(p); ok {
			t.Errorf("an edge has %s", p)
		}
	}
}

func wantFiles(t *testing.T, root tree.Tree, paths ...string) {
	t.Helper()
	missing := slices.DeleteFunc(paths, func(p string) bool {
		e, ok := root.Lookup(p)
		return ok && e.Type == tree.File
	})
	if len(missing) > 0 {
		t.Errorf("there is no %q", missing)
	}
}
