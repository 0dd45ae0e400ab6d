package component

import (
	"strings"

	"github.com/edgebake/edgebake/builder/profile"
)

// kubernetesPrograms are installed in /usr/bin, as the packages of pkgs.k8s.io do.
func kubernetesPrograms() []string { return []string{"kubeadm", "kubelet", "kubectl"} }

func kubernetesRecipe(k profile.Kubernetes, owner, arch string) recipe {
	bases := k.Binaries
	if len(bases) == 0 {
		bases = []string{"https://dl.k8s.io/release", "https://dl.k8s.io", "https://storage.googleapis.com/kubernetes-release/release"}
	}
	r := recipe{version: k.Version, advice: "name a copy of the programs (binaries:) or a mirror (--mirror)",
		lay: func(s *site) error { return s.kubernetes(k, owner) }}
	for _, program := range kubernetesPrograms() {
		urls := below(bases, k.Version+"/bin/linux/"+arch+"/"+program)
		var sums []string
		for _, u := range urls {
			sums = append(sums, u+".sha256")
		}
		r.files = append(r.files, download{name: program, urls: urls, sums: sums})
	}
	if k.Preload() {
		for _, image := range k.RoleImages() {
			r.images = append(r.images, imageRequest{name: image, platform: platform(arch, "")})
		}
	}
	return r
}

func (s *site) kubernetes(k profile.Kubernetes, owner string) error {
	for _, program := range kubernetesPrograms() {
		if err := s.copy("/usr/bin/"+program, 0o755, program); err != nil {
			return err
		}
	}
	const unit = "/usr/lib/systemd/system/kubelet.service"
	s.text(unit, 0o644, kubeletUnit)
	s.text("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", 0o644, kubeadmDropIn)
	s.enable("kubelet.service", unit)
	socket := criSocket(k.For())
	s.text("/etc/default/kubelet", 0o644, "KUBELET_EXTRA_ARGS=--container-runtime=remote --container-runtime-endpoint="+socket+" --cgroup-driver=systemd\n")
	for _, dir := range []string{"/etc/kubernetes/manifests", "/var/lib/kubelet"} {
		s.dir(dir, 0o755)
	}
	if k.Role == "master" {
		s.text("/usr/lib/edgebake/kubernetes/kubeadm.yaml", 0o644, kubeadmConfig(k, socket))
	}
	if !k.Preload() {
		return nil
	}
	return s.images(owner, k.For())
}

// criSocket is the endpoint as edgecore and kubelet must spell it: /run/crio would be another
// string to them, and switch statistics off.
func criSocket(runtime string) string {
	if runtime == "containerd" {
		return "unix:///run/containerd/containerd.sock"
	}
	return "unix:///var/run/crio/crio.sock"
}

// kubeletUnit is that of Kubernetes' packages; it waits for kubeadm instead of failing over and
// over until the configuration is there.
const kubeletUnit = `[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/home/
Wants=network-online.target
After=network-online.target crio.service containerd.service
ConditionPathExists=/var/lib/kubelet/config.yaml

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
`

const kubeadmDropIn = `# For kubeadm and kubelet v1.11+, as in Kubernetes' packages.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
# kubeadm init and kubeadm join write this file.
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
# The administrator's last word.
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
`

// kubeadmConfig is for "kubeadm init --config": the runtime, the preloaded images, cgroups by systemd.
func kubeadmConfig(k profile.Kubernetes, socket string) string {
	return strings.NewReplacer("SOCKET", socket, "VERSION", k.Version, "REPOSITORY", k.ImageRepository()).Replace(`# kubeadm init --config /usr/lib/edgebake/kubernetes/kubeadm.yaml
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
nodeRegistration:
  criSocket: SOCKET
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: VERSION
imageRepository: REPOSITORY
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
`)
}
