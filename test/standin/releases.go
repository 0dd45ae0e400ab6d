package standin

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// The releases that the profiles take.
const (
	kubeedgeVersion   = "v1.8.2"
	kubernetesVersion = "v1.20.5"
	cniVersion        = "v0.8.7"
)

// file is one file of a release's tarball.
type file struct {
	name string
	mode int64
	data []byte
}

func program(name string, data []byte) file { return file{name, 0o755, data} }
func document(name, text string) file       { return file{name, 0o644, []byte(text)} }

// tarball returns a compressed tar.
func tarball(files ...file) ([]byte, error) {
	b, err := plainTar(files...)
	if err != nil {
		return nil, err
	}
	return gzipped(b)
}

// plainTar returns a tar with the directories above each file, in the given order.
func plainTar(files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	seen := map[string]bool{".": true}
	for _, f := range files {
		var dirs []string
		for d := path.Dir(f.name); !seen[d] && d != "/"; d = path.Dir(d) {
			dirs, seen[d] = append(dirs, d), true
		}
		slices.Reverse(dirs)
		for _, d := range dirs {
			if err := w.WriteHeader(&tar.Header{Name: d + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: signed}); err != nil {
				return nil, err
			}
		}
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: signed}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// CNIHash is the SHA-256 of the stand-in of the CNI plugins' release, which is the same for every
// architecture: its plugins are scripts. Profiles know the hash of the original.
func CNIHash() (string, error) {
	data, err := cniTarball()
	return sha256Hex(data), err
}

// Releases publishes what the components download for the architecture of p: KubeEdge, the CNI
// plugins, Kubernetes and CRI-O's bundle, with the files of hashes that upstream has.
func (u *Upstream) Releases(p Programs) error {
	return errors.Join(u.kubeEdge(p), u.cni(p), u.kubernetes(p), u.bundle(p))
}

// kubeEdge publishes the tarballs. The file of a checksum has the digits of a SHA-512 and no name.
func (u *Upstream) kubeEdge(p Programs) error {
	const base = "https://github.com/kubeedge/kubeedge/releases/download/" + kubeedgeVersion + "/"
	for kind, programs := range map[string][]file{
		"keadm": {program("keadm/keadm", p.Keadm)},
		"kubeedge": {program("cloud/admission/admission", p.Named), program("cloud/cloudcore/cloudcore", p.Named),
			program("cloud/csidriver/csidriver", p.Named), program("edge/edgecore", p.EdgeCore)},
	} {
		top := kind + "-" + kubeedgeVersion + "-linux-" + p.Arch
		files := []file{document(top+"/version", kubeedgeVersion+"\n")}
		for _, f := range programs {
			files = append(files, program(top+"/"+f.name, f.data))
		}
		data, err := tarball(files...)
		if err != nil {
			return err
		}
		sum := fmt.Sprintf("%x\n", sha512.Sum512(data))
		if err := errors.Join(u.Put(base+top+".tar.gz", data), u.Put(base+"checksum_"+top+".tar.gz.txt", []byte(sum))); err != nil {
			return err
		}
	}
	return u.kubeEdgeSources()
}

// kubeEdgeSources are the files that keadm takes from the source tree.
func (u *Upstream) kubeEdgeSources() error {
	files := map[string]string{
		"build/tools/edgecore.service":  "[Unit]\nDescription=edgecore.service\n\n[Service]\nType=simple\nExecStart=/usr/local/bin/edgecore\nRestart=always\nRestartSec=10\n\n[Install]\nWantedBy=multi-user.target\n",
		"build/tools/cloudcore.service": "[Unit]\nDescription=cloudcore.service\n\n[Service]\nType=simple\nExecStart=/usr/local/bin/cloudcore\nRestart=always\nRestartSec=10\n\n[Install]\nWantedBy=multi-user.target\n",
	}
	for name, crd := range map[string][2]string{
		"devices/devices_v1alpha2_device.yaml":           {"devices.devices.kubeedge.io", "Device"},
		"devices/devices_v1alpha2_devicemodel.yaml":      {"devicemodels.devices.kubeedge.io", "DeviceModel"},
		"reliablesyncs/cluster_objectsync_v1alpha1.yaml": {"clusterobjectsyncs.reliablesyncs.kubeedge.io", "ClusterObjectSync"},
		"reliablesyncs/objectsync_v1alpha1.yaml":         {"objectsyncs.reliablesyncs.kubeedge.io", "ObjectSync"},
		"router/router_v1_rule.yaml":                     {"rules.rules.kubeedge.io", "Rule"},
		"router/router_v1_ruleEndpoint.yaml":             {"ruleendpoints.rules.kubeedge.io", "RuleEndpoint"},
	} {
		api := "apiextensions.k8s.io/v1beta1"
		if strings.HasPrefix(name, "router/") {
			api = "apiextensions.k8s.io/v1"
		}
		files["build/crds/"+name] = "# A stand-in for tests.\napiVersion: " + api + "\nkind: CustomResourceDefinition\nmetadata:\n  name: " + crd[0] + "\nspec:\n  names:\n    kind: " + crd[1] + "\n"
	}
	for _, branch := range []string{"release-1.8", kubeedgeVersion} {
		for _, name := range sortedNames(files) {
			if err := u.Put("https://raw.githubusercontent.com/kubeedge/kubeedge/"+branch+"/"+name, []byte(files[name])); err != nil {
				return err
			}
		}
	}
	return nil
}

func cniTarball() ([]byte, error) {
	var files []file
	for _, name := range cniPlugins() {
		files = append(files, program("./"+name, []byte(cniPlugin)))
	}
	return tarball(files...)
}

func (u *Upstream) cni(p Programs) error {
	data, err := cniTarball()
	if err != nil {
		return err
	}
	name := "cni-plugins-linux-" + p.Arch + "-" + cniVersion + ".tgz"
	for _, dir := range []string{
		"https://github.com/containernetworking/plugins/releases/download/" + cniVersion + "/",
		"https://storage.googleapis.com/k8s-artifacts-cni/release/" + cniVersion + "/",
	} {
		if err := u.withSums(dir+name, data, "  "+name+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// withSums publishes a file with its .sha256 and .sha512, whose lines end in tail.
func (u *Upstream) withSums(url string, data []byte, tail string) error {
	return errors.Join(u.Put(url, data),
		u.Put(url+".sha256", fmt.Appendf(nil, "%x%s", sha256.Sum256(data), tail)),
		u.Put(url+".sha512", fmt.Appendf(nil, "%x%s", sha512.Sum512(data), tail)))
}

// kubernetes publishes the programs; the files of hashes have digits only.
func (u *Upstream) kubernetes(p Programs) error {
	for _, base := range []string{
		"https://dl.k8s.io/release/", "https://dl.k8s.io/", "https://storage.googleapis.com/kubernetes-release/release/",
	} {
		for _, name := range []string{"kubeadm", "kubelet", "kubectl"} {
			if err := u.withSums(base+kubernetesVersion+"/bin/linux/"+p.Arch+"/"+name, p.Named, ""); err != nil {
				return err
			}
		}
	}
	return u.kubernetesUnits()
}

// kubernetesUnits are the files that Kubernetes' packages have.
func (u *Upstream) kubernetesUnits() error {
	const base = "https://raw.githubusercontent.com/kubernetes/release/v0.4.0/cmd/kubepkg/templates/latest/deb/"
	return errors.Join(u.Put(base+"kubelet/lib/systemd/system/kubelet.service", []byte("[Unit]\nDescription=kubelet: The Kubernetes Node Agent\n\n[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\nStartLimitInterval=0\nRestartSec=10\n\n[Install]\nWantedBy=multi-user.target\n")),
		u.Put(base+"kubeadm/10-kubeadm.conf", []byte("[Service]\nExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n")))
}

// bundle publishes CRI-O's static bundle: 1.20.0 for amd64, whose name says no architecture, and
// 1.20.3 for both, which has no runc on arm64.
func (u *Upstream) bundle(p Programs) error {
	const bucket = "https://storage.googleapis.com/k8s-conform-cri-o/artifacts/"
	bundles := map[string][]file{"cri-o." + p.Arch + ".v" + crioARM + ".tar.gz": bundleFiles("cri-o/", p, crioARM, p.Arch != "arm64")}
	if p.Arch == "amd64" {
		bundles["crio-v"+crioGuide+".tar.gz"] = bundleFiles("crio-v"+crioGuide+"/", p, crioGuide, true)
	}
	for _, name := range sortedNames(bundles) {
		version := crioARM
		if strings.Contains(name, crioGuide) {
			version = crioGuide
		}
		data, err := tarball(bundles[name]...)
		if err != nil {
			return err
		}
		release := "https://github.com/cri-o/cri-o/releases/download/v" + version + "/"
		if err := errors.Join(u.Put(bucket+name, data), u.Put(release+name, data)); err != nil {
			return err
		}
	}
	return nil
}

func bundleFiles(top string, p Programs, version string, runc bool) []file {
	unit := strings.NewReplacer("/usr/bin/crio", "/usr/local/bin/crio", "/etc/default/crio", "/etc/sysconfig/crio").Replace(crioUnit)
	conf := strings.NewReplacer(`conmon = "/usr/libexec/podman/conmon"`, `conmon = ""`).Replace(crioConf)
	files := []file{
		document(top+"Makefile", "# A stand-in for tests: it installs nothing.\n"),
		program(top+"bin/crio", p.CRIO[version]),
	}
	names := []string{"conmon", "crictl", "crio-status", "crun", "pinns"}
	if runc {
		names = append(names, "runc")
	}
	for _, name := range names {
		files = append(files, program(top+"bin/"+name, p.Named))
	}
	for _, name := range cniPlugins() {
		files = append(files, program(top+"cni-plugins/"+name, []byte(cniPlugin)))
	}
	return append(files,
		document(top+"contrib/10-crio-bridge.conf", crioBridge), document(top+"contrib/crio.service", unit), document(top+"contrib/policy.json", policy),
		document(top+"etc/crictl.yaml", "runtime-endpoint: \"unix:///var/run/crio/crio.sock\"\n"),
		document(top+"etc/crio-umount.conf", "/var/run/containers/*\n/var/lib/containers/storage/*\n"), document(top+"etc/crio.conf", conf),
		document(top+"man/crio.8", ".TH crio 8\n"), document(top+"completions/bash/crio", "# none\n"))
}
