package lint

import (
	"regexp"
	"slices"
	"strings"
)

// kubernetesDir has kubeadmConfig, which kubeadm init of a master is to be called with.
const (
	kubernetesDir = "usr/lib/edgebake/kubernetes"
	kubeadmConfig = kubernetesDir + "/kubeadm.yaml"
)

var kubernetesVersion = regexp.MustCompile(`(?m)^kubernetesVersion:\s*["']?v?(\d[^\s"']*)`)

// kubernetesVersion is what dpkg or the configuration of kubeadm say.
func (s *system) kubernetesVersion() string {
	if v := s.version("kubelet"); v != "" {
		return v
	}
	text, _ := s.text(kubeadmConfig)
	if m := kubernetesVersion.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// claim is a component that says which cgroup driver it uses.
type claim struct{ path, who, driver string }

// driverPatterns say it in configurations and in the arguments of scripts and units.
var driverPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^\s*cgroupDriver:\s*["']?(systemd|cgroupfs)`),
	regexp.MustCompile(`--cgroup-?driver[= ]["']?(systemd|cgroupfs)`),
}

// caller is a file with settings of edgecore or of the kubelet.
type caller struct {
	path, who, text string
}

// callers are the configurations, and what the first boot calls keadm join with.
func (s *system) callers() []caller {
	var out []caller
	for _, dir := range []string{"usr/lib/edgebake", "etc/edgebake", "etc/kubeedge/config"} {
		for e := range s.below(dir) {
			if !within(e.Path, imagesDir) && !within(e.Path, kubernetesDir) {
				text, _ := s.content(e)
				out = append(out, caller{"/" + e.Path, "edgecore", text})
			}
		}
	}
	for _, p := range []string{"var/lib/kubelet/config.yaml", "etc/default/kubelet", "etc/kubernetes/kubeadm.yaml", "etc/kubernetes/kubeadm-config.yaml", kubeadmConfig} {
		if text, ok := s.text(p); ok {
			out = append(out, caller{"/" + p, "the kubelet", text})
		}
	}
	return out
}

// claims of edgecore, of the first boot that runs keadm join, and of the kubelet.
func (s *system) claims() []claim {
	var out []claim
	for _, c := range s.callers() {
		for _, pattern := range driverPatterns {
			for _, m := range pattern.FindAllStringSubmatch(c.text, -1) {
				out = append(out, claim{c.path, c.who, m[1]})
			}
		}
	}
	return out
}

var endpointPattern = regexp.MustCompile(`(?:--(?:remote|container)-runtime-endpoint[= ]|remoteRuntimeEndpoint:|criSocket:)\s*["']?([^\s"']+)`)

// checkEndpoints compares the sockets that are called with the runtimes that there are.
func (s *system) checkEndpoints(runtimes []runtime) []Finding {
	var found []Finding
	for _, c := range s.callers() {
		for _, m := range endpointPattern.FindAllStringSubmatch(c.text, -1) {
			endpoint := m[1]
			for _, name := range []string{"containerd", "crio"} {
				if strings.Contains(endpoint, "/"+name+".sock") && !slices.ContainsFunc(runtimes, func(r runtime) bool { return r.name == name }) {
					found = append(found, fault(c.path, "name the socket of the runtime in the image, or install "+name, "%s is told to call %s, but %s is not in the image", c.who, endpoint, name))
				}
			}
			if c.who == "edgecore" && strings.TrimPrefix(endpoint, "unix://") == "/run/crio/crio.sock" {
				found = append(found, caution(c.path, "write unix:///var/run/crio/crio.sock", "edgecore knows CRI-O by the name /var/run/crio/crio.sock only: with %s its statistics come another way", endpoint))
			}
		}
	}
	return dedupe(found)
}

func checkCgroupDriver(s *system) []Finding {
	var found []Finding
	for _, r := range s.runtimes() {
		where := "/" + r.config
		if r.broken != "" {
			found = append(found, fault(where, "correct the file", "%s cannot read it: %s", r.name, r.broken))
			continue
		}
		for _, c := range s.claims() {
			if c.driver != r.driver {
				found = append(found, fault(c.path, "make both say systemd", "%s is told to use the cgroup driver %s, but %s uses %s (%s): every pod would fail", c.who, c.driver, r.name, r.driver, where))
			}
		}
		if r.driver == "cgroupfs" && s.program("systemctl")+s.program("systemd-run") != "" {
			found = append(found, caution(where, driverFix(r.name), "%s uses the cgroup driver cgroupfs beside systemd, which manages the same tree", r.name))
		}
		if r.name == "crio" && r.driver == "cgroupfs" && r.conmon != "pod" {
			found = append(found, fault(where, `set conmon_cgroup = "pod"`, "CRI-O with cgroup_manager cgroupfs refuses conmon_cgroup %q", r.conmon))
		}
	}
	return dedupe(found)
}

func driverFix(name string) string {
	if name == "crio" {
		return `set cgroup_manager = "systemd" in a file of /etc/crio/crio.conf.d`
	}
	return "set SystemdCgroup = true in the options of the runtime"
}

// crioAlpha is the first CRI-O without CRI v1alpha2, containerdAlpha the first such containerd.
const (
	crioAlpha, containerdAlpha   = "1.26", "2.0"
	crioOldest                   = "1.18" // before it edgecore 1.8 was not tried by anybody
	crioStable, containerdStable = "1.20", "1.6"
)

// checkCRI compares the versions of CRI that runtime and client speak: edgecore up to 1.12 and the
// kubelet up to 1.22 know v1alpha2 only, the kubelet from 1.26 v1 only.
func checkCRI(s *system) []Finding {
	runtimes := s.runtimes()
	if len(runtimes) == 0 && s.role == Edge {
		return []Finding{fault("/usr/bin", "add containerd or CRI-O to the profile", "there is no container runtime, without which edgecore ends at once")}
	}
	found := s.checkEndpoints(runtimes)
	client, alpha, stable := s.criClient()
	for _, r := range runtimes {
		oldest, withoutAlpha, withStable := "", containerdAlpha, containerdStable
		if r.name == "crio" {
			oldest, withoutAlpha, withStable = crioOldest, crioAlpha, crioStable
		}
		switch {
		case r.noCRI:
			found = append(found, fault("/"+r.config, `take "cri" out of disabled_plugins`, "containerd is configured without its CRI service"))
		case r.version == "" || client == "":
		case alpha && !older(r.version, withoutAlpha):
			found = append(found, fault("/"+r.program, "install "+r.name+" before "+withoutAlpha, "%s speaks CRI v1alpha2 only, which %s %s does not know any more", client, r.name, r.version))
		case alpha && oldest != "" && older(r.version, oldest):
			found = append(found, fault("/"+r.program, "install "+r.name+" "+oldest+" or later", "%s %s is too old for %s", r.name, r.version, client))
		case stable && older(r.version, withStable):
			found = append(found, fault("/"+r.program, "install "+r.name+" "+withStable+" or later", "%s speaks CRI v1 only, which %s %s does not know", client, r.name, r.version))
		}
	}
	return found
}

// criClient is who will call the runtime, and the only version that it speaks, if it is one.
func (s *system) criClient() (who string, alpha, stable bool) {
	if s.program("kubelet") != "" {
		v := s.kubernetesVersion()
		if v == "" {
			return "", false, false
		}
		return "kubelet " + v, older(v, "1.23"), !older(v, "1.26")
	}
	if v := s.kubeEdgeVersion(); v != "" {
		return "edgecore " + v, older(v, "1.13"), false
	}
	if s.role == Edge {
		return "edgecore 1.8", true, false
	}
	return "", false, false
}
