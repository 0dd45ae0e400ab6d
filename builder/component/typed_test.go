package component

import (
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

// kubeEdgeUpstream has stand-ins under the real URLs of KubeEdge 1.8.2.
func kubeEdgeUpstream(t testing.TB, arch string) *upstream {
	t.Helper()
	const release, source = "github.com/kubeedge/kubeedge/releases/download/v1.8.2/", "raw.githubusercontent.com/kubeedge/kubeedge/v1.8.2/build/"
	end := "-v1.8.2-linux-" + arch
	files := map[string][]byte{}
	for name, archive := range map[string][]byte{
		"keadm" + end + ".tar.gz":    gzipped(t, tarOf(t, program("keadm"+end+"/keadm/keadm", "K"), member{body: "x", Header: program("keadm"+end+"/version", "").Header})),
		"kubeedge" + end + ".tar.gz": gzipped(t, tarOf(t, program("kubeedge"+end+"/edge/edgecore", "E"), program("kubeedge"+end+"/cloud/cloudcore/cloudcore", "C"))),
	} {
		sum := sha512.Sum512(archive)
		files[release+name], files[release+"checksum_"+name+".txt"] = archive, []byte(hex.EncodeToString(sum[:])+"\n")
	}
	for _, unit := range keadmUnits() {
		files[source+"tools/"+unit] = []byte("[Unit]\n")
	}
	for _, crd := range keadmDefinitions() {
		files[source+"crds/"+crd] = []byte("kind: CustomResourceDefinition\n")
	}
	return newUpstream(t, files)
}

func TestKubeEdge(t *testing.T) {
	u := kubeEdgeUpstream(t, "arm64")
	k := newKit(t, t.TempDir(), "arm64", "  - name: kubeedge\n    kubeedge: {version: 1.8.2}\n", u)
	root, l := mustBake(t, k)
	if d := cmp.Diff(goldenText(t, "testdata/kubeedge.txt", listing(root)), listing(root)); d != "" {
		t.Errorf("golden (-) and now (+)\n%s", d)
	}
	tarball := read(t, k, root, "usr/lib/edgebake/kubeedge/kubeedge-v1.8.2-linux-arm64.tar.gz")
	sum := sha512.Sum512([]byte(tarball))
	if got := read(t, k, root, "usr/lib/edgebake/kubeedge/checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt"); got != hex.EncodeToString(sum[:])+"\n" {
		t.Errorf("keadm compares the whole text with the digits; it is %q", got)
	}
	if _, ok := root.Lookup("etc/systemd"); ok {
		t.Error("keadm's ln fails where a unit is linked already")
	}
	var first []string
	for _, f := range l.FirstUse() {
		first = append(first, strings.TrimPrefix(f, "kubeedge/"))
	}
	if want := append(keadmUnits(), "crds/"+keadmDefinitions()[0]); !slices.Contains(first, want[0]) || !slices.Contains(first, want[2]) || len(first) != 8 {
		t.Errorf("pinned on first use: %q", first)
	}
	name := "github.com/kubeedge/kubeedge/releases/download/v1.8.2/kubeedge-v1.8.2-linux-arm64.tar.gz"
	u.files[name] = append(u.files[name], 0)
	k = newKit(t, t.TempDir(), "arm64", "  - name: kubeedge\n    kubeedge: {version: 1.8.2}\n", u)
	if _, _, err := bake(t, k); err == nil || !strings.Contains(err.Error(), "kubeedge-v1.8.2-linux-arm64.tar.gz (SHA-512)") {
		t.Errorf("a tarball that is not what its checksum says: %v", err)
	}
}

type crioConf struct {
	Crio struct {
		Runtime struct {
			DefaultRuntime string `toml:"default_runtime"`
			CgroupManager  string `toml:"cgroup_manager"`
			ConmonCgroup   string `toml:"conmon_cgroup"`
			Conmon         string
			Runtimes       map[string]struct {
				Path string `toml:"runtime_path"`
			}
		}
		Image struct {
			PauseImage string `toml:"pause_image"`
		}
		Network struct {
			PluginDirs []string `toml:"plugin_dirs"`
		}
	}
}

func crioOf(t testing.TB, k Kit, root tree.Tree) crioConf {
	t.Helper()
	var c crioConf
	if _, err := toml.Decode(read(t, k, root, "etc/crio/crio.conf.d/20-edgebake.conf"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func storesOf(t testing.TB, k Kit, root tree.Tree) []string {
	t.Helper()
	var c struct {
		Storage struct {
			Options struct {
				Additional []string `toml:"additionalimagestores"`
				Overlay    struct{ Mountopt string }
			}
		}
	}
	if _, err := toml.Decode(read(t, k, root, "etc/containers/storage.conf"), &c); err != nil {
		t.Fatal(err)
	}
	if c.Storage.Options.Overlay.Mountopt != "nodev" {
		t.Errorf("mountopt is %q: metacopy keeps CRI-O from starting on kernel 4.15", c.Storage.Options.Overlay.Mountopt)
	}
	return c.Storage.Options.Additional
}

func TestCRIOFromPackages(t *testing.T) {
	k := newKit(t, t.TempDir(), "amd64", "  - name: crio\n    crio: {version: 1.20.0, source: apt}\n", newRegistry(t, "pause:3.2"))
	root, l := mustBake(t, k)
	c := crioOf(t, k, root)
	if r := c.Crio.Runtime; r.DefaultRuntime != "runc" || r.CgroupManager != "systemd" || r.ConmonCgroup != "pod" || len(r.Runtimes) != 0 {
		t.Errorf("runtime is %+v", r)
	}
	if c.Crio.Image.PauseImage != "registry.k8s.io/pause:3.2" {
		t.Errorf("pause image is %s", c.Crio.Image.PauseImage)
	}
	if d := cmp.Diff([]string{"/usr/lib/edgebake/images/crio"}, storesOf(t, k, root)); d != "" {
		t.Error(d)
	}
	if images := read(t, k, root, "usr/lib/edgebake/images/crio/overlay-images/images.json"); !strings.Contains(images, `"names":["registry.k8s.io/pause:3.2","k8s.gcr.io/pause:3.2"]`) {
		t.Errorf("images: %s", images)
	}
	if got := read(t, k, root, "etc/cni/net.d/99-edgebake-bridge.conf"); !strings.Contains(got, `"subnet": "10.85.0.0/16"`) {
		t.Errorf("bridge: %s", got)
	}
	if e, ok := root.Lookup("etc/systemd/system/multi-user.target.wants/crio.service"); !ok || e.Type != tree.Symlink {
		t.Error("crio.service is not enabled")
	}
	checkOverPackages(t, k, l.Components[0].Name)
}

// checkOverPackages lays the component over what the packages bring.
func checkOverPackages(t *testing.T, k Kit, name string) {
	t.Helper()
	_, l := mustBake(t, k)
	layers, _, err := k.Build(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	b := tree.NewBuilder(tree.Time{})
	for p, text := range map[string]string{"etc/containers/policy.json": "strict", "etc/containers/storage.conf": "metacopy=on",
		"etc/cni/net.d/100-crio-bridge.conf": "theirs", "etc/cni/net.d/87-podman.conflist": "kept"} {
		b.Add(tree.Entry{Path: p, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(text))})
	}
	packages, err := b.Layer("packages")
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.Merge(append([]tree.Layer{packages}, layers...)...)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, k, root, "etc/containers/policy.json"); got != "strict" {
		t.Errorf("%s: the packages' policy is now %q", name, got)
	}
	if got := read(t, k, root, "etc/containers/storage.conf"); strings.Contains(got, "metacopy=on") {
		t.Errorf("%s: storage.conf is still the packages'", name)
	}
	if _, ok := root.Lookup("etc/cni/net.d/100-crio-bridge.conf"); ok {
		t.Errorf("%s: the packages' bridge is still there", name)
	}
	if _, ok := root.Lookup("etc/cni/net.d/87-podman.conflist"); !ok {
		t.Errorf("%s: another's network is gone", name)
	}
}

// TestBridgeStandsBack sorts the bridge among what the network plugins of clusters write.
func TestBridgeStandsBack(t *testing.T) {
	k := newKit(t, t.TempDir(), "amd64", "  - name: crio\n    crio: {version: 1.20.0, source: apt, images: pull}\n", nil)
	root, _ := mustBake(t, k)
	var names []string
	for _, e := range tree.Sub(root, "etc/cni/net.d").Entries() {
		if e.Type == tree.File {
			names = append(names, e.Path)
		}
	}
	if len(names) != 1 {
		t.Fatalf("the networks are %v", names)
	}
	for _, other := range []string{"05-cilium.conf", "10-flannel.conflist", "10-calico.conflist", "10-weave.conflist", "87-podman-bridge.conflist"} {
		if names[0] <= other {
			t.Errorf("CRI-O takes %s before %s", names[0], other)
		}
	}
}

// TestBuiltinBundles wants every place that upstream has for the bundle, of the built-in profiles too.
func TestBuiltinBundles(t *testing.T) {
	for name, want := range map[string][]string{
		"master-ubuntu-18.04": {"https://github.com/cri-o/cri-o/releases/download/v1.20.0/crio-v1.20.0.tar.gz",
			"https://storage.googleapis.com/k8s-conform-cri-o/artifacts/crio-v1.20.0.tar.gz"},
		"edge-rpi-ubuntu-20.04": {"https://github.com/cri-o/cri-o/releases/download/v1.20.3/cri-o.arm64.v1.20.3.tar.gz",
			"https://storage.googleapis.com/k8s-conform-cri-o/artifacts/cri-o.arm64.v1.20.3.tar.gz"},
	} {
		loaded, err := profile.Load(t.Context(), profile.Options{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(loaded.Profile.Components, func(c profile.Component) bool { return c.CRIO != nil })
		r, err := Kit{Profile: loaded}.recipe(i)
		if err != nil || len(r.files) != 1 {
			t.Fatalf("%s: %+v, %v", name, r.files, err)
		}
		if d := cmp.Diff(want, r.files[0].urls); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func bundle(t testing.TB, top string, programs ...string) []byte {
	t.Helper()
	members := []member{directory(top + "/"), directory(top + "/bin/")}
	for _, p := range programs {
		members = append(members, program(top+"/bin/"+p, p))
	}
	members = append(members, program(top+"/cni-plugins/bridge", "B"), program(top+"/cni-plugins/loopback", "L"),
		program(top+"/etc/crio.conf", "[crio]\n"), program(top+"/etc/crictl.yaml", "x"), program(top+"/contrib/crio.service", "[Service]\nExecStart=/usr/local/bin/crio\n[Install]\nWantedBy=multi-user.target\n"),
		program(top+"/Makefile", "install:\n"))
	return gzipped(t, tarOf(t, members...))
}

func TestCRIOBundles(t *testing.T) {
	for _, tt := range []struct{ arch, version, url, top, runtime string }{
		{"amd64", "1.20.0", "github.com/cri-o/cri-o/releases/download/v1.20.0/crio-v1.20.0.tar.gz", "crio-v1.20.0", "runc"},
		{"arm64", "1.20.3", "storage.googleapis.com/k8s-conform-cri-o/artifacts/cri-o.arm64.v1.20.3.tar.gz", "cri-o", "crun"},
		{"arm64", "1.24.1", "storage.googleapis.com/cri-o/artifacts/cri-o.arm64.v1.24.1.tar.gz", "cri-o", "crun"},
	} {
		u := newUpstream(t, map[string][]byte{tt.url: bundle(t, tt.top, "crio", "conmon", "pinns", tt.runtime)})
		k := newKit(t, t.TempDir(), tt.arch, "  - name: crio\n    crio: {version: "+tt.version+", source: bundle, images: pull, cniConfig: none}\n", u)
		root, l := mustBake(t, k)
		c := crioOf(t, k, root).Crio.Runtime
		if c.DefaultRuntime != tt.runtime || c.Runtimes[tt.runtime].Path != "/usr/local/bin/"+tt.runtime || c.Conmon != "/usr/local/bin/conmon" {
			t.Errorf("%s: runtime is %+v", tt.version, c)
		}
		for _, p := range []string{"usr/local/bin/crio", "usr/local/bin/" + tt.runtime, "opt/cni/bin/loopback", "etc/crio/crio.conf", "usr/local/lib/systemd/system/crio.service", "etc/containers/policy.json"} {
			if _, ok := root.Lookup(p); !ok {
				t.Errorf("%s: there is no %s", tt.version, p)
			}
		}
		if e, _ := root.Lookup("etc/systemd/system/multi-user.target.wants/crio.service"); e.Link != "/usr/local/lib/systemd/system/crio.service" {
			t.Errorf("%s: the unit is enabled as %q", tt.version, e.Link)
		}
		if _, ok := root.Lookup("etc/cni/net.d/99-edgebake-bridge.conf"); ok || len(storesOf(t, k, root)) != 0 {
			t.Errorf("%s: has a network or image store that it should not", tt.version)
		}
		if !l.Components[0].Files[0].TrustOnFirstUse {
			t.Errorf("%s: nobody published the bundle's hash", tt.version)
		}
		delete(u.files, tt.url)
		var gone *fetch.NotFoundError
		if _, err := k.Resolve(t.Context(), nil); !errors.As(err, &gone) || !strings.Contains(err.Error(), "packages from files (source: debs)") {
			t.Errorf("%s: a bundle that is gone: %v", tt.version, err)
		}
	}
}

func TestContainerdConfig(t *testing.T) {
	k := newKit(t, t.TempDir(), "arm64", "  - name: containerd\n    containerd: {sandboxImage: registry.k8s.io/pause:3.6, runtime: /usr/sbin/runc}\n", nil)
	root, _ := mustBake(t, k)
	var c struct {
		Version int
		Plugins map[string]struct {
			SandboxImage string `toml:"sandbox_image"`
			Containerd   struct {
				Runtimes map[string]struct{ Options map[string]any }
			}
		}
	}
	if _, err := toml.Decode(read(t, k, root, "etc/containerd/config.toml"), &c); err != nil {
		t.Fatal(err)
	}
	cri := c.Plugins["io.containerd.grpc.v1.cri"]
	if o := cri.Containerd.Runtimes["runc"].Options; o["SystemdCgroup"] != true || o["BinaryName"] != "/usr/sbin/runc" || cri.SandboxImage != "registry.k8s.io/pause:3.6" {
		t.Errorf("config is %+v", c)
	}
	if got := read(t, k, root, "etc/crictl.yaml"); !strings.HasPrefix(got, "runtime-endpoint: unix:///run/containerd/containerd.sock\n") {
		t.Errorf("crictl.yaml is %q", got)
	}
}

// k8sUpstream has stand-ins of the programs beside a registry with the images.
func k8sUpstream(t testing.TB, arch string, images ...string) *upstream {
	t.Helper()
	u := newRegistry(t, images...)
	for _, p := range kubernetesPrograms() {
		at := "dl.k8s.io/release/v1.20.5/bin/linux/" + arch + "/" + p
		u.files[at], u.files[at+".sha256"] = []byte(p), []byte(cas.Of([]byte(p)))
	}
	return u
}

func TestKubernetes(t *testing.T) {
	want := []string{"coredns:1.7.0", "etcd:3.4.13-0", "kube-apiserver:v1.20.5", "kube-controller-manager:v1.20.5", "kube-proxy:v1.20.5", "kube-scheduler:v1.20.5", "pause:3.2"}
	u := k8sUpstream(t, "amd64", want...)
	k := newKit(t, t.TempDir(), "amd64", "  - name: kubernetes\n    kubernetes: {version: v1.20.5, role: master}\n  - name: crio\n    crio: {version: 1.20.0, source: apt, cniConfig: none}\n", u)
	root, l := mustBake(t, k)
	if d := cmp.Diff([]string{"/usr/lib/edgebake/images/kubernetes"}, storesOf(t, k, root)); d != "" {
		t.Errorf("the pause image is there once: %s", d)
	}
	var got []string
	for _, i := range l.Components[0].Images {
		got = append(got, strings.TrimPrefix(i.Name, "registry.k8s.io/"))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, f := range l.Components[0].Files {
		if f.TrustOnFirstUse {
			t.Errorf("%s: the hash is published", f.Name)
		}
	}
	if e, ok := root.Lookup("usr/bin/kubelet"); !ok || e.Mode != 0o755 {
		t.Errorf("kubelet is %+v", e)
	}
	for _, part := range strings.Split(read(t, k, root, "usr/lib/edgebake/kubernetes/kubeadm.yaml"), "---\n") {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(part), &v); err != nil || v["kind"] == nil {
			t.Errorf("kubeadm.yaml has %q: %v", part, err)
		}
	}
	if s := read(t, k, root, "etc/default/kubelet"); !strings.Contains(s, "unix:///var/run/crio/crio.sock --cgroup-driver=systemd") {
		t.Errorf("kubelet's arguments are %q", s)
	}
	u.files["dl.k8s.io/release/v1.20.5/bin/linux/amd64/kubectl"] = []byte("other")
	k = newKit(t, t.TempDir(), "amd64", "  - name: kubernetes\n    kubernetes: {version: v1.20.5, role: worker, images: pull}\n", u)
	if _, _, err := bake(t, k); err == nil || !strings.Contains(err.Error(), "kubectl (SHA-256)") {
		t.Errorf("a kubectl that is not what its checksum says: %v", err)
	}
}

func TestRoleImages(t *testing.T) {
	k := profile.Kubernetes{Version: "v1.20.5", Role: "worker", Repository: "example.org/k8s"}
	if d := cmp.Diff([]string{"example.org/k8s/kube-proxy:v1.20.5", "example.org/k8s/pause:3.2"}, k.RoleImages()); d != "" {
		t.Error(d)
	}
	k.Version = "v1.99.0"
	if got := fmt.Sprint(k.RoleImages()); got != "[]" {
		t.Errorf("images of an unknown version: %s", got)
	}
}
