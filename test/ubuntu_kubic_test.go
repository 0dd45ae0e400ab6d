package test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/edgebake/edgebake/builder/lock"
)

// kubic writes the profile of somebody who has a mirror of devel:kubic and takes CRI-O's packages in
// place of its bundle. The two repositories are flat, and signed by one key. serial is the base's.
func (u *ubuntu) kubic(serial string) string {
	u.t.Helper()
	dir := u.t.TempDir()
	public, err := u.archive.Public()
	must(u.t, err)
	must(u.t, os.WriteFile(filepath.Join(dir, "kubic.gpg"), public, 0o644))
	var sources []map[string]any
	for _, project := range []string{"stable", "stable:/cri-o:/1.20:/1.20.0"} {
		sources = append(sources, map[string]any{
			"name": path.Base(project), "url": "https://download.opensuse.org/repositories/devel:/kubic:/libcontainers:/" + project + "/xUbuntu_18.04",
			"suites": []string{"/"}, "keyring": "./kubic.gpg", "fingerprints": []string{u.archive.Fingerprint()},
		})
	}
	profile := filepath.Join(dir, "kubic.yaml")
	u.yaml(profile, map[string]any{
		"extends":   []string{"ubuntu-18.04", "crio-1.20-packages"},
		"variables": map[string]any{"serial": serial},
		"packages":  []string{"containernetworking-plugins"},
		"apt":       map[string]any{"sources": sources},
		"boot":      map[string]any{"cmdline": flags()},
		"disk":      map[string]any{"size": "3GiB"},
		"checks":    []string{"multi-user", "no-failed-units", "cloud-init", "cmdline-flags", "cri", "cni-plugins", "root-grown"},
	})
	return profile
}

// flags are kernel parameters that the stand-ins do not have.
func flags() []string { return []string{"panic=10", "consoleblank=0"} }

// crioFromPackages looks at what the packages' own files would have got wrong.
func crioFromPackages(t *testing.T, run func(...string) string, b baked, l lock.Lock) {
	t.Helper()
	cat := func(name string) string { t.Helper(); return run("inspect", b.image, "cat", name) }
	for name, version := range map[string]string{"cri-o": "1.20.0~2", "cri-o-runc": "1.0.0~rc92~0", "conmon": "100:2.0.20-1", "containers-common": "100:1-22"} {
		if !slices.ContainsFunc(l.Packages, func(p lock.Package) bool { return p.Name == name && p.Version == version }) {
			t.Errorf("the lock lacks %s %s", name, version)
		}
		if status := stanza(cat("/var/lib/dpkg/status"), name); !strings.Contains(status, "Status: install ok installed") {
			t.Errorf("%s is not installed: %s", name, status)
		}
	}
	preloaded(t, cat)
	if policy := cat("/etc/containers/policy.json"); !strings.Contains(policy, "docker-daemon") {
		t.Errorf("policy.json is not that of the package: %s", policy)
	}
	if drop := cat("/etc/crio/crio.conf.d/20-edgebake.conf"); !strings.Contains(drop, `cgroup_manager = "systemd"`) || !strings.Contains(drop, `default_runtime = "runc"`) {
		t.Errorf("the drop-in is %s", drop)
	}
	if drop := cat("/etc/crio/crio.conf.d/01-crio-runc.conf"); !strings.Contains(drop, "/usr/lib/cri-o-runc/sbin/runc") {
		t.Errorf("cri-o-runc's drop-in is %s", drop)
	}
	if unit := cat("/etc/systemd/system/multi-user.target.wants/crio.service"); !strings.Contains(unit, "ExecStart=/usr/bin/crio ") {
		t.Errorf("the unit that is enabled is %s", unit)
	}
	if networks := run("inspect", b.image, "ls", "/etc/cni/net.d"); strings.Contains(networks, "100-crio") || !strings.Contains(networks, "99-edgebake-bridge.conf") {
		t.Errorf("the networks are %s", networks)
	}
}

// preloaded reads storage.conf, and finds the sandboxes' image in a store that it names.
func preloaded(t *testing.T, cat func(string) string) {
	t.Helper()
	var conf struct {
		Storage struct {
			Options struct {
				Additional []string `toml:"additionalimagestores"`
				Overlay    struct {
					MountOpt string `toml:"mountopt"`
				} `toml:"overlay"`
			} `toml:"options"`
		} `toml:"storage"`
	}
	_, err := toml.Decode(cat("/etc/containers/storage.conf"), &conf)
	must(t, err)
	options := conf.Storage.Options
	if strings.Contains(options.Overlay.MountOpt, "metacopy") || len(options.Additional) != 1 {
		t.Fatalf("storage.conf says %+v", options)
	}
	var images []struct{ Names []string }
	must(t, json.Unmarshal([]byte(cat(path.Join(options.Additional[0], "overlay-images/images.json"))), &images))
	for _, i := range images {
		if slices.Contains(i.Names, "registry.k8s.io/pause:3.2") {
			return
		}
	}
	t.Errorf("%s has %+v", options.Additional[0], images)
}

// stanza is what dpkg's database says about a package.
func stanza(status, name string) string {
	for s := range strings.SplitSeq(status, "\n\n") {
		if strings.HasPrefix(s, "Package: "+name+"\n") {
			return s
		}
	}
	return ""
}
