package join_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/test/cloudcore"
)

// Each fault is told by its reason, and when it is over the node joins.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		reason, advice string
		state          string
		breakIt, mend  func(t *testing.T, m *machine)
	}{
		{"connection-refused", "check that CloudCore runs", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultClosed)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"wrong-ca", "of another cluster", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultWrongCA)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"token-rejected", "24 hours", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultRejectToken)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"certificate-time", "clock", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultFuture)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"not-registered", "journalctl -u edgecore", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultUnanswered)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"token-expired", "24 hours", "failed",
			func(t *testing.T, m *machine) {
				check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultExpiredToken))
				m.putToken(m.cloud.Token(time.Hour))
			},
			func(t *testing.T, m *machine) {
				check(t, m.cloud.SetFaults(t.Context()))
				m.putToken(m.cloud.Token(time.Hour))
			}},
		{"unreachable", "firewalls", "failed", // silent
			func(t *testing.T, m *machine) {
				m.move("NODE_NAME=", "ANSWER_LIMIT=1\nNODE_NAME=")
				check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultSilent))
			},
			func(t *testing.T, m *machine) {
				m.seed("edge-1", "iid-edge-1-11111111")
				check(t, m.cloud.SetFaults(t.Context()))
			}},
		{"unreachable", "firewalls", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultServerError)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"certificate-empty", "can't sign", "failed",
			func(t *testing.T, m *machine) {
				check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultEmptyCertificate))
			},
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"connection-lost", "second node of this name", "failed",
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultRefuse)) },
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"connection-lost", "second node of this name", "failed", // after each registration
			func(t *testing.T, m *machine) {
				m.move("NODE_NAME=", "STABLE=40\nNODE_NAME=") // two seconds
				check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultDrop))
			},
			func(t *testing.T, m *machine) { check(t, m.cloud.SetFaults(t.Context())) }},
		{"certificate-name", "advertiseAddress", "failed",
			func(_ *testing.T, m *machine) {
				m.write("/etc/hosts", "127.0.0.1 localhost elsewhere\n", 0o644)
				m.move("CLOUDCORE=127.0.0.1:", "CLOUDCORE=elsewhere:")
			},
			func(_ *testing.T, m *machine) { m.seed("edge-1", "iid-edge-1-11111111") }},
		{"not-cloudcore", "proxy", "failed",
			func(t *testing.T, m *machine) {
				web := httptest.NewServer(http.NotFoundHandler())
				t.Cleanup(web.Close)
				m.move("CLOUDCORE="+m.cloud.Hub(), "CLOUDCORE="+web.Listener.Addr().String())
			},
			func(_ *testing.T, m *machine) { m.seed("edge-1", "iid-edge-1-11111111") }},
		{"cgroup-missing", "cmdline.txt", "failed",
			func(t *testing.T, m *machine) {
				for _, name := range []string{"cpu", "cpuacct", "cpuset"} {
					mkdir(t, m.path("/sys/fs/cgroup/"+name))
				}
			},
			func(t *testing.T, m *machine) { mkdir(t, m.path("/sys/fs/cgroup/memory")) }},
		{"kubelet-runs", "DaemonSet", "failed",
			func(_ *testing.T, m *machine) {
				m.write(dropIn, strings.Replace(m.read(dropIn), "Environment=CHECK", "Environment=NO_CHECK", 1), 0o644)
				m.process("kubelet", "while :; do /usr/bin/sleep 100; done")
			},
			func(_ *testing.T, m *machine) {
				m.write(dropIn, strings.Replace(m.read(dropIn), "NO_CHECK", "CHECK", 1), 0o644)
			}},
		{"cri-too-new", "too new", "waiting",
			func(_ *testing.T, m *machine) { _ = m.cri.Close(); m.startRuntime("v1") },
			func(_ *testing.T, m *machine) { _ = m.cri.Close(); m.startRuntime("v1alpha2") }},
		{"token-malformed", "keadm gettoken", "failed",
			func(_ *testing.T, m *machine) { m.putToken("only.three.parts") },
			func(_ *testing.T, m *machine) { m.putToken("\ufeff" + m.cloud.Token(time.Hour)) }},
		{"no-token", "edgebake-token", "failed",
			func(_ *testing.T, m *machine) { m.remove("/boot/firmware/edgebake-token") },
			func(_ *testing.T, m *machine) { m.write("/var/lib/edgebake/token", m.cloud.Token(time.Hour), 0o600) }},
		{"waiting-time", "time server", "waiting",
			func(_ *testing.T, m *machine) {
				m.remove("/synchronized")
				m.write("/stand-in/date", "#!/bin/sh\ncase $* in *-r*|*@*) exec /usr/bin/date \"$@\" ;; *) exec /usr/bin/date -d @99 \"$@\" ;; esac\n", 0o755)
			},
			func(_ *testing.T, m *machine) { m.remove("/stand-in/date"); m.write("/synchronized", "", 0o644) }},
		{"tarball-missing", "new card", "failed",
			func(t *testing.T, m *machine) { check(t, os.Rename(m.path(goldenDir+tarball), m.path("/away"))) },
			func(t *testing.T, m *machine) { check(t, os.Rename(m.path("/away"), m.path(goldenDir+tarball))) }},
		{"tarball-damaged", "new card", "failed",
			func(t *testing.T, m *machine) { check(t, os.Truncate(m.path(goldenDir+tarball), 4096)) },
			func(_ *testing.T, m *machine) { m.golden() }},
		{"waiting-cri", "journalctl -u crio", "waiting",
			func(_ *testing.T, m *machine) { _ = m.cri.Close() },
			func(_ *testing.T, m *machine) { m.startRuntime("v1alpha2") }},
		{"waiting-mqtt", "mosquitto", "waiting",
			func(_ *testing.T, m *machine) { m.remove("/mosquitto") },
			func(_ *testing.T, m *machine) { m.write("/mosquitto", "", 0o644) }},
		{"waiting-dns", "name servers", "waiting",
			func(_ *testing.T, m *machine) {
				m.move("CLOUDCORE=127.0.0.1:", "CLOUDCORE=localhost:")
				m.write("/etc/hosts", "", 0o644)
			},
			func(_ *testing.T, m *machine) { m.write("/etc/hosts", "127.0.0.1 localhost\n", 0o644) }},
		{"waiting-network", "cable", "waiting",
			// TCP to this address is what it is without a route.
			func(_ *testing.T, m *machine) { m.move("CLOUDCORE=127.0.0.1:", "CLOUDCORE=255.255.255.255:") },
			func(_ *testing.T, m *machine) { m.move("CLOUDCORE=255.255.255.255:", "CLOUDCORE=127.0.0.1:") }},
		{"unreachable", "firewalls", "failed",
			func(t *testing.T, m *machine) {
				m.move("CERT_PORT=", fmt.Sprintf("NETWORK_LIMIT=1\nCERT_PORT=%d\nWAS=", silentPort(t)))
			},
			func(_ *testing.T, m *machine) { m.seed("edge-1", "iid-edge-1-11111111") }},
		{"edgecore-crash", "journalctl -u edgecore", "failed",
			func(_ *testing.T, m *machine) {
				m.release([]byte("#!/bin/sh\necho 'panic: at once'\nexit 2\n"))
				m.move("NODE_NAME=", "VERIFY_LIMIT=20\nNODE_NAME=")
			},
			func(_ *testing.T, m *machine) { m.golden(); m.seed("edge-1", "iid-edge-1-11111111") }},
		{"keadm-failed", "keadm.log", "failed",
			func(_ *testing.T, m *machine) {
				m.write("/stand-in/dpkg-away", "", 0o644)
				m.swap("/stand-in/sudo", "#!/bin/sh\necho no sudo >&2; exit 1\n")
			},
			func(_ *testing.T, m *machine) {
				m.swap("/stand-in/sudo", "#!/bin/sh\n[ \"$1\" != -E ] || shift\nexec \"$@\"\n")
			}},
		{"keadm-timeout", "keadm.log", "failed",
			func(t *testing.T, m *machine) {
				check(t, os.Rename(m.path("/stand-in/keadm"), m.path("/stand-in/true-keadm")))
				m.write("/stand-in/keadm", "#!/bin/sh\nexec /usr/bin/sleep 100\n", 0o755)
				m.write("/etc/edgebake/join.conf", m.read("/etc/edgebake/join.conf")+"KEADM_LIMIT=1\n", 0o600)
			},
			func(t *testing.T, m *machine) {
				check(t, os.Rename(m.path("/stand-in/true-keadm"), m.path("/stand-in/keadm")))
				m.write("/etc/edgebake/join.conf", m.read("/etc/edgebake/join.conf")+"KEADM_LIMIT=300\n", 0o600)
			}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.boot()
			c.breakIt(t, m)
			j := m.join()
			s := m.until(c.state, c.reason)
			m.untilSays("/boot/firmware/join-status.txt", "("+c.reason+")", c.advice)
			m.untilSays("/dev/kmsg", "edge-1: "+c.state+": "+c.reason)
			if (s.Next != "") != (c.state == "failed") || s.Detail == "" || m.has(joinMark) {
				t.Errorf("%+v, joined: %v", s, m.has(joinMark))
			}
			c.mend(t, m)
			j.ended()
			m.checkJoined("edge-1")
		})
	}
}

const dropIn = "/usr/lib/systemd/system/edgecore.service.d/60-edgebake.conf"

// process runs beside all others under this name.
func (m *machine) process(name, script string) {
	m.t.Helper()
	m.does("mkdir -p /stray && cp /usr/bin/dash /stray/" + name + " && { /stray/" + name + " -c '" + script + "' </dev/null >/dev/null 2>&1 & }")
}

// move changes the settings.
func (m *machine) move(from, to string) {
	m.write("/etc/edgebake/join.conf", strings.Replace(m.read("/etc/edgebake/join.conf"), from, to, 1), 0o600)
}

// silentPort is a port that takes no more connections: nothing answers, as behind a firewall.
func silentPort(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Close(fd)) })
	check(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(t, unix.Listen(fd, 0))
	at, err := unix.Getsockname(fd)
	check(t, err)
	port := at.(*unix.SockaddrInet4).Port
	for {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 500*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { _ = c.Close() }) // nothing was sent
	}
}

// An edgecore that connects, registers and ends is not a node.
func TestCrashAfterRegistration(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	built, err := programs()
	check(t, err)
	m.write("/true/edgecore", string(built["edgecore"]), 0o755)
	m.release([]byte(`#!/bin/sh
/true/edgecore & p=$!
trap 'kill $p; exit 1' TERM
until grep -q 'Successfully registered' /run/systemd-stand-in/journal; do /usr/bin/sleep 0.05; done
kill $p
echo 'panic: after the registration'
exit 2
`))
	m.move("NODE_NAME=", "STABLE=40\nNODE_NAME=") // two seconds
	j := m.join()
	if s := m.until("failed", "edgecore-crash"); !strings.Contains(s.Detail, "ended again") || m.has(joinMark) {
		t.Errorf("%+v, joined: %v", s, m.has(joinMark))
	}
	m.golden()
	j.ended()
	m.checkJoined("edge-1")
}

// untilSays waits until a file says all this.
func (m *machine) untilSays(name string, words ...string) {
	m.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		text := m.read(name)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s says %q, and not %q", name, text, words)
		}
	}
}

func (m *machine) swap(name, text string) {
	m.remove(name)
	m.write(name, text, 0o755)
}

// What broken runs of keadm and power cuts leave does not stop the next attempt.
func TestResidue(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	for _, name := range []string{"/etc/systemd/system/edgecore.service", "/etc/kubeedge/" + tarball, "/etc/kubeedge/ca/rootCA.crt", "/etc/kubeedge/certs/server.key", yamlFile, joinMark, "/var/lib/kubeedge/edgecore.db", "/usr/local/bin/edgecore"} {
		m.write(name, "", 0o644)
	}
	m.write("/etc/kubeedge/certs/server.crt", "-----BEGIN CERTIFICATE-----\nnonsense\n", 0o644)
	m.join().ended()
	m.checkJoined("edge-1")
}

// A card that was copied after the join becomes a second node under its second seed.
func TestClone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.join().ended()
	first := m.read("/etc/kubeedge/certs/server.crt")
	m.cut()
	m.seed("edge-2", "iid-edge-2-22222222")
	m.putToken(m.cloud.Token(time.Hour))
	m.boot()
	if out, _ := m.sh("pidof edgecore"); out != "" {
		t.Error("edgecore starts as the first node")
	}
	m.join().ended()
	m.checkJoined("edge-2")
	if second := m.read("/etc/kubeedge/certs/server.crt"); second == first || second == "" {
		t.Error("the second node has the first one's certificate")
	}
	if n, _ := m.cloud.Node("edge-1"); n.Connected {
		t.Error("the first node is connected from the copy")
	}
}

func TestResetAndRejoin(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.join().ended()
	for token, says := range map[string]string{"": "no token", m.cloud.Token(-time.Hour): "expired at 20", "only.three.parts": "four parts"} {
		m.write("/var/lib/edgebake/token", token, 0o600)
		out, err := m.sh("edgebake-node rejoin")
		if err == nil || !strings.Contains(out, says) || !strings.Contains(out, "keadm gettoken") || !m.has(joinMark) || !m.has("/etc/kubeedge/certs/server.crt") {
			t.Errorf("rejoin with the token %q: %s %v", token, out, err)
		}
	}
	if out, err := m.sh("edgebake-node status"); err != nil || !strings.Contains(out, "(joined)") || !strings.Contains(out, "edgecore: active") {
		t.Errorf("status: %s %v", out, err)
	}
	m.litter(m.cloud.Token(time.Hour))
	m.putToken(m.cloud.Token(time.Hour))
	out, err := m.sh("edgebake-node reset")
	if err != nil || m.has(joinMark) || m.has("/etc/kubeedge/certs/server.crt") || m.has("/etc/systemd/system/edgecore.service") || !m.has(goldenDir+tarball) {
		t.Errorf("reset: %s %v", out, err)
	}
	if out, _ := m.sh("pidof edgecore"); out != "" {
		t.Error("edgecore runs after the reset")
	}
	if out, err := m.sh("edgebake-node status"); err != nil || !strings.Contains(out, "idle (left)") || !strings.Contains(out, "edgecore: inactive") {
		t.Errorf("status: %s %v", out, err)
	}
	if s, card := m.status(), m.read("/boot/firmware/join-status.txt"); s.State != "idle" || s.Reason != "left" || s.Node != "edge-1" || !strings.Contains(card, "idle (left)") {
		t.Errorf("after the reset: %+v; the card says %q", s, card)
	}
	m.checkScrubbed()
	m.cut()
	m.boot()
	stays := m.join()
	m.until("failed", "no-token")
	stays.kill()
	if m.has(joinMark) {
		t.Error("the node joins again after the reset")
	}
	m.write("/var/lib/edgebake/token", m.cloud.Token(time.Hour), 0o600)
	if out, err := m.sh("edgebake-node rejoin"); err != nil || !strings.Contains(m.read("/run/systemd-stand-in/calls"), "start --no-block edgebake-join.service") {
		t.Errorf("rejoin: %s %v", out, err)
	}
	m.join().ended()
	m.checkJoined("edge-1")
}

// A first boot that is cut off begins again: cloud-init's notes go, the seed stays.
func TestInterruptedFirstBoot(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write("/var/lib/cloud/seed/nocloud/user-data", "x", 0o600)
	m.write("/var/lib/cloud/instances/iid-edge-1-11111111/sem/config_write_files", "x", 0o600)
	m.boot()
	if !m.has("/var/lib/cloud/instance/sem/config_write_files") && !m.has("/var/lib/cloud/instances/iid-edge-1-11111111/sem") {
		t.Error("a first boot that came to its end is begun again")
	}
	m.cut()
	m.remove("/var/lib/cloud/instances/iid-edge-1-11111111/boot-finished")
	m.write("/etc/passwd.lock", "1", 0o600)
	m.boot()
	if m.has("/var/lib/cloud/instances") || m.has("/var/lib/cloud/instance") || m.has("/var/lib/cloud/data") || m.has("/etc/passwd.lock") || !m.has("/var/lib/cloud/seed/nocloud/user-data") {
		t.Error("what cloud-init noted is left, or the seed is gone")
	}
}

// Bad values of a seed are told, with what is wrong.
func TestBadSeed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.write("/etc/edgebake/join.conf", "NODE_NAME=edge-1\nCLOUDCORE=fd00::1:10000\n", 0o600)
	j := m.join()
	if s := m.until("failed", "no-seed"); !strings.Contains(s.Detail, "HOST:PORT") {
		t.Errorf("%+v", s)
	}
	m.write("/etc/edgebake/join.conf", fmt.Sprintf("NODE_NAME=$(reboot)\nNODE_NAME=edge-1\nCLOUDCORE=%s\nCERT_PORT=%d\n", m.cloud.Hub(), m.cloud.CertPort()), 0o600)
	j.ended()
	m.checkJoined("edge-1")
}
