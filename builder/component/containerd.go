package component

import (
	"fmt"

	"github.com/edgebake/edgebake/builder/profile"
)

func containerdRecipe(c profile.Containerd) recipe {
	return recipe{lay: func(s *site) error {
		s.text("/etc/containerd/config.toml", 0o644, containerdConfig(c))
		s.text("/etc/crictl.yaml", 0o644, crictlConfig("unix://"+c.SocketPath()))
		return nil
	}}
}

// containerdConfig is understood by containerd 1.3 to 1.7 and, as an old version, by 2.x.
func containerdConfig(c profile.Containerd) string {
	binary := ""
	if c.Runtime != "" {
		binary = fmt.Sprintf("        BinaryName = %q\n", c.Runtime)
	}
	plugins := c.CNIBinaries
	if plugins == "" {
		plugins = "/opt/cni/bin"
	}
	return fmt.Sprintf(`# written by edgebake from the profile
version = 2

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = "/etc/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      # systemd owns the cgroups; edgecore and kubelet must say the same (cgroupDriver: systemd).
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = true
%s`, c.SocketPath(), c.SandboxImage, plugins, binary)
}

// crictlConfig tells crictl, which people and kubeadm call, where the runtime is.
func crictlConfig(endpoint string) string {
	return "runtime-endpoint: " + endpoint + "\nimage-endpoint: " + endpoint + "\ntimeout: 10\n"
}
