package test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// localDebs are packages that lie beside the profile and in no archive: an own tool, and CRI-O's as
// devel:kubic had them, with what the component has to put right.
func localDebs() []aptrepo.Deb {
	return []aptrepo.Deb{
		{Name: "mine", Version: "2", Depends: "helper (>= 1)", Files: map[string]string{"usr/share/mine/text": "mine"}},
		{Name: "cri-o", Version: "1.20.0~2", Arch: "arm64", Depends: "conmon", Programs: map[string]string{"usr/bin/crio": "crio"}, Files: map[string]string{
			"usr/lib/systemd/system/crio.service": "[Service]\nExecStart=/usr/bin/crio\n[Install]\nWantedBy=multi-user.target\n",
			"etc/cni/net.d/100-crio-bridge.conf":  "{}",
			"etc/containers/storage.conf":         "[storage.options.overlay]\nmountopt = \"nodev,metacopy=on\"\n",
			"etc/containers/policy.json":          `{"default":[{"type":"reject"}]}`,
		}},
		{Name: "cri-o-runc", Version: "1.0.0~rc92~0", Arch: "arm64", Programs: map[string]string{"usr/lib/cri-o-runc/sbin/runc": "runc"},
			Files: map[string]string{"etc/crio/crio.conf.d/01-crio-runc.conf": "[crio.runtime.runtimes.runc]\nruntime_path = \"/usr/lib/cri-o-runc/sbin/runc\"\n"}},
	}
}

// withLocalDebs is a workshop whose profile takes them, and an archive that has what they depend on, and what depends on
// them: so they are not in a layer of their own, which the stand-in for QEMU could not install.
func withLocalDebs(t *testing.T) *workshop {
	t.Helper()
	plugins := map[string]string{"opt/cni/bin/bridge": "b", "opt/cni/bin/host-local": "h", "opt/cni/bin/loopback": "l"}
	w := newWorkshop(t, program(t), aptrepo.Deb{Name: "helper"}, aptrepo.Deb{Name: "asks", Depends: "mine"}, aptrepo.Deb{Name: "conmon", Version: "2.0.20"},
		aptrepo.Deb{Name: "containernetworking-plugins", Version: "0.8.7", Programs: plugins})
	must(t, os.Mkdir(filepath.Join(w.dir, "debs"), 0o755))
	for _, d := range localDebs() {
		w.write(filepath.Join(w.dir, "debs", d.Name+".deb"), d.Build(t))
	}
	w.components = "[{name: local, debs: {files: [debs/mine.deb]}}, " +
		"{name: crio, crio: {version: 1.20.0, source: debs, debs: [debs/cri-o.deb, debs/cri-o-runc.deb], images: pull}}]"
	w.want("containernetworking-plugins", "asks")
	w.qemu(goodGuest)
	return w
}

// TestLocalPackagesAreBaked goes the whole way of packages that are files: lock, layers, dpkg's database,
// and the image. When one changes, the lock is stale.
func TestLocalPackagesAreBaked(t *testing.T) {
	w := withLocalDebs(t)
	w.lock()
	pins := w.locked()
	for _, d := range localDebs() {
		if p, ok := pins[d.Name]; !ok || p.Version != d.Version {
			t.Errorf("the lock has %s as %+v, want %s", d.Name, p, d.Version)
		}
	}
	out := filepath.Join(w.dir, "out")
	t.Log(w.ends(0, w.command(w.files(), "bake", "--no-boot", "-o", out)))
	img, err := image.Open(filepath.Join(out, "node.img"))
	must(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	must(t, err)
	cat := func(name string) string { t.Helper(); return textOf(t, img, root.Tree, name) }
	for _, name := range []string{"mine", "helper", "cri-o", "cri-o-runc", "conmon"} {
		if s := stanza(cat("var/lib/dpkg/status"), name); !strings.Contains(s, "Status: install ok installed") {
			t.Errorf("%s is not installed: %q", name, s)
		}
	}
	if text := cat("usr/share/mine/text"); text != "mine" {
		t.Errorf("the tool's file says %q", text)
	}
	crioFromFiles(t, root.Tree, cat)
	localManifest(t, out)

	changed := localDebs()[0]
	changed.Version = "3"
	w.write(filepath.Join(w.dir, "debs", "mine.deb"), changed.Build(t))
	w.ends(4, w.command(w.files(), "bake", "--no-boot", "-o", filepath.Join(w.dir, "again")), "debs/mine.deb", "edgebake lock")
}

// crioFromFiles looks at what the component makes of the packages.
func crioFromFiles(t *testing.T, root tree.Tree, cat func(string) string) {
	t.Helper()
	none(t, root, "etc/cni/net.d/100-crio-bridge.conf")
	for name, want := range map[string]string{
		"usr/bin/crio": "crio", "etc/cni/net.d/99-edgebake-bridge.conf": `"type": "bridge"`, "etc/containers/policy.json": "reject",
		"etc/crio/crio.conf.d/20-edgebake.conf": `default_runtime = "runc"`, "etc/crio/crio.conf.d/01-crio-runc.conf": "/usr/lib/cri-o-runc/sbin/runc",
		"etc/containers/storage.conf": `mountopt = "nodev"`,
	} {
		if text := cat(name); !strings.Contains(text, want) {
			t.Errorf("/%s has no %s: %s", name, want, text)
		}
	}
	if e, _ := root.Lookup("etc/systemd/system/multi-user.target.wants/crio.service"); e.Link != "/usr/lib/systemd/system/crio.service" {
		t.Errorf("the service is enabled as %q", e.Link)
	}
}

// localManifest wants the manifest to name the files, each with its digest.
func localManifest(t *testing.T, out string) {
	t.Helper()
	m, err := artifact.ReadManifest(out)
	must(t, err)
	got, want := map[string]cas.Digest{}, map[string]cas.Digest{}
	for _, c := range m.Components {
		for _, f := range c.Files {
			got[f.Source] = f.SHA256
		}
	}
	for _, d := range localDebs() {
		want["debs/"+d.Name+".deb"] = cas.Of(d.Build(t))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the manifest's files differ: %s", d)
	}
}

func textOf(t *testing.T, img *image.Image, root tree.Tree, name string) string {
	t.Helper()
	e, ok := root.Lookup(name)
	if !ok {
		t.Fatalf("there is no /%s", name)
	}
	r, err := img.Reader().Open(e.Content)
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, err)
	return string(text)
}
