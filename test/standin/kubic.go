package standin

import (
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/aptrepo"
)

// Kubic publishes the two archives of devel:kubic that CRI-O 1.20 was installed from, for a release
// and the architecture of p: the packages have the names, files and scripts of the originals, and
// stand-ins as programs. key signs both.
func (u *Upstream) Kubic(t testing.TB, key Key, r Release, p Programs) error {
	const base = "https://download.opensuse.org/repositories/devel:/kubic:/libcontainers:/stable"
	system := "/xUbuntu_" + r.Version
	runtime := []Package{{Data: crioDeb(p).Build(t)}, {Data: crioRuncDeb(p).Build(t)}}
	var shared []Package
	for _, d := range []aptrepo.Deb{conmonDeb(p), containersCommonDeb(), cniPluginsDeb(p), criToolsDeb(p)} {
		shared = append(shared, Package{Data: d.Build(t)})
	}
	if err := u.FlatArchive(base+system, key, shared...); err != nil {
		return err
	}
	for _, version := range []string{":/cri-o:/1.20", ":/cri-o:/1.20:/1.20.0"} {
		if err := u.FlatArchive(base+version+system, key, runtime...); err != nil {
			return err
		}
	}
	return nil
}

func crioDeb(p Programs) aptrepo.Deb {
	return aptrepo.Deb{
		Name: "cri-o", Version: "1.20.0~2", Arch: p.Arch, Replaces: "cri-o-1.19",
		Depends: "libgpgme11, libseccomp2, conmon, containers-common (>= 0.1.27) | skopeo-containers, tzdata",
		Programs: map[string]string{
			"usr/bin/crio": string(p.CRIO[crioGuide]), "usr/bin/crio-status": string(p.Named), "usr/bin/pinns": string(p.Named),
		},
		Files: map[string]string{
			"etc/crio/crio.conf": crioConf, "etc/crictl.yaml": "runtime-endpoint: \"unix:///var/run/crio/crio.sock\"\n",
			"etc/cni/net.d/100-crio-bridge.conf": crioBridge, "etc/cni/net.d/200-loopback.conf": crioLoopback,
			"etc/default/crio":                         "# CRIO_CONFIG_OPTIONS=\n# CRIO_RUNTIME_OPTIONS=\n",
			"usr/lib/systemd/system/crio.service":      crioUnit,
			"usr/lib/systemd/system/cri-o.service":     strings.Replace(crioUnit, "Documentation=", "# The same unit under the package's name.\nDocumentation=", 1),
			"usr/lib/systemd/system/crio-wipe.service": crioWipeUnit, "usr/lib/systemd/system/crio-shutdown.service": crioShutdownUnit,
			"usr/share/doc/cri-o/README.standin": "A stand-in for tests: crio answers for its version, status and images, and runs nothing.\n",
		},
		Scripts: map[string]string{
			"conffiles": "/etc/crio/crio.conf\n/etc/crictl.yaml\n/etc/cni/net.d/100-crio-bridge.conf\n/etc/cni/net.d/200-loopback.conf\n/etc/default/crio\n",
			"postinst":  "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && [ -d /run/systemd/system ]; then\n\tsystemctl --system daemon-reload >/dev/null || true\nfi\n",
			"prerm":     "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then\n\tdeb-systemd-invoke stop crio.service >/dev/null || true\nfi\n",
			"postrm":    "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then\n\tsystemctl --system daemon-reload >/dev/null || true\nfi\n",
		},
	}
}

func crioRuncDeb(p Programs) aptrepo.Deb {
	return aptrepo.Deb{
		Name: "cri-o-runc", Version: "1.0.0~rc92~0", Arch: p.Arch, Depends: "libseccomp2",
		Programs: map[string]string{"usr/lib/cri-o-runc/sbin/runc": string(p.Named)},
		Files: map[string]string{"etc/crio/crio.conf.d/01-crio-runc.conf": `[crio.runtime.runtimes.runc]
runtime_path = "/usr/lib/cri-o-runc/sbin/runc"
runtime_type = "oci"
runtime_root = "/run/runc"
`},
		Scripts: map[string]string{"conffiles": "/etc/crio/crio.conf.d/01-crio-runc.conf\n"},
	}
}

func conmonDeb(p Programs) aptrepo.Deb {
	return aptrepo.Deb{Name: "conmon", Version: "100:2.0.20-1", Arch: p.Arch,
		Programs: map[string]string{"usr/libexec/podman/conmon": string(p.Named)}}
}

func containersCommonDeb() aptrepo.Deb {
	return aptrepo.Deb{
		Name: "containers-common", Version: "100:1-22",
		Files: map[string]string{
			"etc/containers/policy.json": policy, "etc/containers/storage.conf": storageConf,
			"etc/containers/registries.conf":           "unqualified-search-registries = [\"docker.io\", \"quay.io\"]\n",
			"etc/containers/registries.d/default.yaml": "default-docker:\n  sigstore-staging: file:///var/lib/containers/sigstore\n",
			"usr/share/containers/seccomp.json":        "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": []}\n",
		},
		Scripts: map[string]string{"conffiles": "/etc/containers/policy.json\n/etc/containers/storage.conf\n/etc/containers/registries.conf\n/etc/containers/registries.d/default.yaml\n"},
	}
}

// cniPlugins are the names of release 0.8.7.
func cniPlugins() []string {
	return strings.Fields("bandwidth bridge dhcp firewall flannel host-device host-local ipvlan loopback macvlan portmap ptp sbr static tuning vlan")
}

func cniPluginsDeb(p Programs) aptrepo.Deb {
	d := aptrepo.Deb{Name: "containernetworking-plugins", Version: "100:1.0.0-1", Arch: p.Arch, Programs: map[string]string{}}
	for _, name := range cniPlugins() {
		d.Programs["opt/cni/bin/"+name] = cniPlugin
	}
	return d
}

func criToolsDeb(p Programs) aptrepo.Deb {
	return aptrepo.Deb{Name: "cri-tools", Version: "1.20.0~0", Arch: p.Arch, Programs: map[string]string{"usr/bin/crictl": string(p.Named)}}
}
