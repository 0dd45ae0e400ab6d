package join_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// checkJoined: the node is in the cluster, and the token nowhere.
func (m *machine) checkJoined(name string) {
	m.t.Helper()
	if n, ok := m.cloud.Node(name); !ok || !n.IsRegistered() {
		m.t.Errorf("CloudCore does not know %s", name)
	}
	if s := m.status(); s.State != "joined" || s.Reason != "joined" || s.Node != name {
		m.t.Errorf("the state is %+v", s)
	}
	if text := m.read("/boot/firmware/join-status.txt"); !strings.Contains(text, "State:     joined") {
		m.t.Errorf("the card says %q", text)
	}
	info, err := os.Stat(m.path(yamlFile))
	check(m.t, err)
	if info.Mode().Perm() != 0o600 {
		m.t.Errorf("edgecore.yaml has mode %v", info.Mode())
	}
	m.checkScrubbed()
}

var secret = regexp.MustCompile(`[0-9a-f]{64}\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|eyJ[A-Za-z0-9_-]+\.eyJ`)

// checkScrubbed searches every file that the machine wrote, its logs, and all that ps ever showed.
func (m *machine) checkScrubbed() {
	m.t.Helper()
	out, err := m.sh(`grep -rlaE '[0-9a-f]{64}\.eyJ|eyJ[A-Za-z0-9_-]+\.eyJ' /etc /var /run /boot /tmp /dev/kmsg /usr/lib/edgebake; true`)
	if err != nil || out != "" {
		m.t.Errorf("a token is left in %s (%v)", out, err)
	}
	if seen := m.read("/var/seen-in-ps"); !strings.Contains(seen, "keadm join") || secret.MatchString(seen) {
		m.t.Errorf("ps showed keadm: %v, a token: %q", strings.Contains(seen, "keadm join"), secret.FindString(seen))
	}
}

func TestJoin(t *testing.T) {
	// busybox's shell prefers its own applets to the programs of the image; functions come before those.
	const programs = `for p in awk base64 cat chmod cmp cp cut date dd df dpkg find grep head ip mkdir mv pidof ps rm sed sha256sum sha512sum \
		sleep sort sync tail timeout tr umount wc yes; do
		[ -x /stand-in/$p ] && at=/stand-in/$p || at=/usr/bin/$p
		eval "$p() { $at \"\$@\"; }"
	done
	. ` + joinScript
	for name, shell := range map[string][]string{"dash": {"/usr/bin/dash", joinScript}, "busybox": {"/usr/bin/busybox", "sh", "-c", programs}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.shell = shell
			m.litter(m.cloud.Token(time.Hour))
			m.boot()
			m.process("kubelet", "while :; do /usr/bin/sleep 100; done") // the drop-in tells edgecore not to mind
			m.join().ended()
			m.checkJoined("edge-1")
			m.checkSettings()
			if m.has("/boot/firmware/edgebake-token") {
				t.Error("the token's file is still on the card")
			}
			if len(m.read("/boot/firmware/user-data")) == 0 || !m.has(goldenDir+tarball) {
				t.Error("the seed or the golden files are gone")
			}
			m.checkNothingAgain()
		})
	}
}

// litter puts a token where cloud-init leaves copies of one.
func (m *machine) litter(token string) {
	for _, name := range []string{"/var/lib/cloud/instances/i/user-data.txt", "/var/lib/cloud/instances/i/obj.pkl", "/run/cloud-init/instance-data-sensitive.json", "/var/log/cloud-init-output.log", "/boot/firmware/user-data"} {
		m.write(name, "\x00\x80 content: "+token+"\x00\xff\n", 0o600)
	}
	m.write("/var/lib/edgebake/token", token, 0o600)
}

// checkSettings looks at what keadm can't set.
func (m *machine) checkSettings() {
	m.t.Helper()
	text := m.read(yamlFile)
	for _, want := range []string{
		`token: ""`, `nodeIP: ""`, `podSandboxImage: "registry.k8s.io/pause:3.2"`, `clusterDNS: "10.96.0.10"`, `clusterDomain: "cluster.local"`,
		"  edgeStream:\n    enable: true\n", "metaServer:\n      debug: false\n      enable: false\n", `"site": "hall-3"`,
		`remoteRuntimeEndpoint: "unix:///var/run/crio/crio.sock"`, `cgroupDriver: "systemd"`,
	} {
		if !strings.Contains(text, want) {
			m.t.Errorf("edgecore.yaml lacks %q:\n%s", want, text)
		}
	}
}

// checkNothingAgain: at the second boot the node stays joined; keadm is not called.
func (m *machine) checkNothingAgain() {
	m.t.Helper()
	mark, config := m.read(joinMark), m.read(yamlFile)
	m.cut()
	m.remove("/stand-in/keadm")
	m.boot()
	m.write("/var/lib/cloud/instances/i/user-data.txt", m.cloud.Token(time.Hour), 0o600) // as cloud-init does at each boot
	m.join().ended()
	if _, err := m.cloud.WaitNode(m.t.Context(), "edge-1"); err != nil {
		m.t.Error(err)
	}
	if m.read(joinMark) != mark || m.read(yamlFile) != config {
		m.t.Error("the second boot changed the marker or edgecore.yaml")
	}
	m.checkScrubbed()
	if n, _ := m.cloud.Node("edge-1"); n.Certificates != 1 {
		m.t.Errorf("the node has %d certificates", n.Certificates)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.remove("/etc/edgebake/join.conf")
	m.boot()
	m.join().ended()
	if s := m.status(); s.State != "idle" || s.Reason != "no-seed" {
		t.Errorf("%+v", s)
	}
	if !json.Valid([]byte(m.read("/run/edgebake/join.json"))) {
		t.Error(m.read("/run/edgebake/join.json"))
	}
	out, err := m.sh("edgebake-node status")
	if err != nil || !strings.Contains(out, "no-seed") {
		t.Error(out, err)
	}
}
