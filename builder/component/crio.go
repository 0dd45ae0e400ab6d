package component

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const bundleName = "bundle"

// crioRecipe wants the bundle or local packages, and the pause image unless another component has it.
func crioRecipe(c profile.CRIO, p profile.Profile, owner, at string) recipe {
	r := recipe{version: c.Version, advice: "name a copy of the bundle (bundle: urls), a mirror (--mirror), or packages from files (source: debs)"}
	switch c.Source {
	case "bundle":
		d := download{name: bundleName, urls: bundleURLs(c.Version, p.Arch)}
		if c.Bundle != nil {
			d = asDownload(bundleName, *c.Bundle)
		}
		r.files = []download{d}
	case "debs":
		r.files = debFiles(c.Debs, at+".debs")
	}
	preload := c.PreloadsPause(p)
	if preload {
		r.images = []imageRequest{{name: c.Pause(), platform: platform(p.Arch, "")}}
	}
	stores := imageStores(p)
	r.lay = func(s *site) error {
		if c.Source == "bundle" {
			if err := s.crioBundle(); err != nil {
				return err
			}
		}
		s.crioConfig(c, stores)
		if !preload {
			return nil
		}
		return s.images(owner, "crio")
	}
	return r
}

// bundleURLs are where upstream has a release's static bundle: the name and bucket changed.
func bundleURLs(version, arch string) []string {
	minor, patch := crioVersion(version)
	name := "cri-o." + arch + ".v" + version + ".tar.gz"
	if minor < 20 && patch < 6 || minor == 20 && patch < 3 {
		name = "crio-v" + version + ".tar.gz" // amd64 alone
	}
	release := "https://github.com/cri-o/cri-o/releases/download/v" + version + "/" + name
	if minor >= 22 {
		return []string{"https://storage.googleapis.com/cri-o/artifacts/" + name, release}
	}
	return []string{release, "https://storage.googleapis.com/k8s-conform-cri-o/artifacts/" + name}
}

// crioVersion splits 1.20.3 into 20 and 3; validation has checked the form.
func crioVersion(version string) (minor, patch int) {
	parts := append(strings.Split(version, "."), "", "")
	minor, _ = strconv.Atoi(parts[1])
	patch, _ = strconv.Atoi(parts[2])
	return minor, patch
}

// crioBundle installs what the bundle's Makefile does. Its top directory differs by version.
func (s *site) crioBundle() error {
	for _, p := range []placement{
		{strip: 1, from: "bin", destination: "/usr/local/bin", mode: 0o755},
		{strip: 1, from: "cni-plugins", destination: "/opt/cni/bin", mode: 0o755},
		{strip: 1, from: "etc", pick: []string{"crio.conf"}, destination: "/etc/crio", mode: 0o644},
		{strip: 1, from: "contrib", pick: []string{"crio.service"}, destination: "/usr/local/lib/systemd/system", mode: 0o644},
	} {
		if err := s.archive(bundleName, p); err != nil {
			return err
		}
	}
	return nil
}

// crioConfig writes the drop-in and what is around it. It replaces the packages' storage.conf,
// whose metacopy=on keeps CRI-O from starting on kernels before 4.19.
func (s *site) crioConfig(c profile.CRIO, stores []string) {
	unit := "/usr/lib/systemd/system/crio.service"
	if c.Source == "bundle" {
		unit = "/usr/local/lib/systemd/system/crio.service"
	}
	s.text("/etc/crio/crio.conf.d/20-edgebake.conf", 0o644, crioDropIn(c, s.arch))
	s.text("/etc/containers/storage.conf", 0o644, storageConf(stores))
	s.text("/etc/crictl.yaml", 0o644, crictlConfig(criSocket("crio")))
	s.enable("crio.service", unit)
	policy := tree.Entry{Path: "etc/containers/policy.json", Type: tree.File, Mode: 0o644, MTime: tree.Time{Sec: s.epoch},
		Content: tree.InlineContent([]byte(`{"default":[{"type":"insecureAcceptAnything"}]}` + "\n"))}
	s.b.AddDefault(policy)
	// The packages' own networks: CRI-O takes the first file by name, and one of them may be it.
	for _, name := range []string{"10-crio-bridge.conf", "10-crio-bridge.conflist", "11-crio-ipv4-bridge.conf", "11-crio-ipv4-bridge.conflist",
		"100-crio-bridge.conf", "200-loopback.conf"} {
		s.b.Add(tree.Entry{Path: "etc/cni/net.d/" + name, Type: tree.Whiteout})
	}
	if c.Network() == "bridge" {
		s.text(bridgeFile, 0o644, bridgeConf(c.BridgeSubnet()))
	}
}

func crioDropIn(c profile.CRIO, arch string) string {
	var b strings.Builder
	runtime := c.OCIRuntime(arch)
	b.WriteString("# written by edgebake from the profile\n[crio.runtime]\n")
	fmt.Fprintf(&b, "default_runtime = %q\n", runtime)
	b.WriteString("# edgecore and kubelet must say the same (cgroupDriver: systemd).\ncgroup_manager = \"systemd\"\nconmon_cgroup = \"pod\"\n")
	if c.Source == "bundle" {
		b.WriteString("conmon = \"/usr/local/bin/conmon\"\n")
	}
	if path := runtimePath(c, runtime); path != "" {
		fmt.Fprintf(&b, "\n[crio.runtime.runtimes.%s]\nruntime_path = %q\nruntime_type = \"oci\"\nruntime_root = \"/run/%s\"\n", runtime, path, runtime)
	}
	fmt.Fprintf(&b, "\n[crio.image]\npause_image = %q\npause_command = \"/pause\"\n", c.Pause())
	b.WriteString("\n[crio.network]\nnetwork_dir = \"/etc/cni/net.d/\"\nplugin_dirs = [\"/opt/cni/bin/\", \"/usr/lib/cni/\"]\n")
	return b.String()
}

// runtimePath is "" where the packages configure the runtime themselves (cri-o-runc's drop-in).
func runtimePath(c profile.CRIO, runtime string) string {
	switch {
	case c.RuntimePath != "":
		return c.RuntimePath
	case c.Source == "bundle":
		return "/usr/local/bin/" + runtime
	case runtime == "crun":
		return "/usr/bin/crun"
	}
	return ""
}

// storageConf names the read-only stores that the image has. A store that is not there would keep
// CRI-O from starting, so no other is named.
func storageConf(stores []string) string {
	var quoted []string
	for _, s := range stores {
		quoted = append(quoted, strconv.Quote(s))
	}
	return `# written by edgebake from the profile
[storage]
driver = "overlay"
runroot = "/var/run/containers/storage"
graphroot = "/var/lib/containers/storage"

[storage.options]
additionalimagestores = [` + strings.Join(quoted, ", ") + `]

[storage.options.overlay]
mountopt = "nodev"
`
}

// bridgeFile sorts after what the network plugins of clusters write (05-cilium, 10-flannel, 10-calico):
// where one of them comes, CRI-O takes it, and on a node without them, such as an edge, this bridge.
const bridgeFile = "/etc/cni/net.d/99-edgebake-bridge.conf"

func bridgeConf(subnet string) string {
	return `{
  "cniVersion": "0.3.1",
  "name": "crio",
  "type": "bridge",
  "bridge": "cni0",
  "isGateway": true,
  "ipMasq": true,
  "hairpinMode": true,
  "ipam": {
    "type": "host-local",
    "ranges": [[{ "subnet": "` + subnet + `" }]],
    "routes": [{ "dst": "0.0.0.0/0" }]
  }
}
`
}
