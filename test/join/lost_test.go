package join_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/cloudcore"
)

// A marker whose node is gone is none: the node says what is wrong, and joins when a fresh token comes.
func TestLostJoin(t *testing.T) {
	for name, c := range map[string]struct {
		lose   func(m *machine)
		detail string
	}{
		"keadm reset": {func(m *machine) { m.does("keadm reset --force") }, "edgecore.yaml is not there"},
		"damaged key": {func(m *machine) { m.write("/etc/kubeedge/certs/server.key", "\x00\x00\x00", 0o600) }, "damaged"},
		"another's key": {func(m *machine) {
			m.does("openssl ecparam -name prime256v1 -genkey -out /etc/kubeedge/certs/server.key")
		}, "damaged"},
		"another's CA": {func(m *machine) {
			other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newCloud(m.t, "").CA()})
			m.write("/etc/kubeedge/ca/rootCA.crt", string(other), 0o644)
		}, "damaged"},
		"no unit": {func(m *machine) {
			m.does("rm /etc/systemd/system/edgecore.service /etc/systemd/system/*/edgecore.service")
		}, "edgecore.service is not there"},
		"no program": {func(m *machine) { m.remove("/usr/local/bin/edgecore") }, "bin/edgecore is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.boot()
			m.join().ended()
			c.lose(m)
			m.does("systemctl stop edgecore.service")
			certified := m.has("/etc/kubeedge/certs/server.crt") && c.detail != "damaged"
			m.cut()
			m.boot()
			j := m.join()
			if certified { // no token is needed
				j.ended()
				if said := m.read("/said"); !strings.Contains(said, c.detail) {
					t.Errorf("it says %q", said)
				}
			} else {
				s := m.until("failed", "no-token")
				if !strings.Contains(s.Detail, c.detail) || m.has(joinMark) {
					t.Errorf("%+v, joined: %v", s, m.has(joinMark))
				}
				m.untilSays("/boot/firmware/join-status.txt", "(no-token)", c.detail)
				m.putToken(m.cloud.Token(time.Hour))
				j.ended()
			}
			m.checkJoined("edge-1")
		})
	}
}

// A token on the card brings a node to a CloudCore that was set up anew.
func TestNewCloudCore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.join().ended()
	m.cut()
	m.cloud = newCloud(t, "")
	m.seed("edge-1", "iid-edge-1-11111111")
	m.putToken(m.cloud.Token(time.Hour))
	m.boot()
	m.join().ended()
	m.checkJoined("edge-1")
	if n, _ := m.cloud.Node("edge-1"); n.Certificates != 1 {
		t.Errorf("the node has %d certificates of the new CloudCore", n.Certificates)
	}
}

func newCloud(t *testing.T, dir string) *cloudcore.Server {
	t.Helper()
	s, err := cloudcore.New(cloudcore.Options{Dir: dir})
	check(t, err)
	check(t, s.Start(t.Context()))
	t.Cleanup(s.Close)
	return s
}

// A token that a joined node has no use for costs it nothing, and is overwritten.
func TestUselessToken(t *testing.T) {
	for name, token := range map[string]func(t *testing.T, m *machine) string{
		"fresh":                func(_ *testing.T, m *machine) string { return m.cloud.Token(time.Hour) },
		"of another CloudCore": func(t *testing.T, _ *machine) string { return newCloud(t, "").Token(time.Hour) },
		"expired, of another":  func(t *testing.T, _ *machine) string { return newCloud(t, "").Token(-time.Hour) },
		"malformed":            func(*testing.T, *machine) string { return "only.three.parts" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.boot()
			m.join().ended()
			mark := m.read(joinMark)
			m.cut()
			m.remove("/stand-in/keadm")
			m.putToken(token(t, m))
			m.boot()
			m.join().ended()
			if _, err := m.cloud.WaitNode(t.Context(), "edge-1"); err != nil {
				t.Error(err)
			}
			m.checkJoined("edge-1")
			if n, _ := m.cloud.Node("edge-1"); n.Certificates != 1 || m.read(joinMark) != mark || m.has("/boot/firmware/edgebake-token") {
				t.Errorf("%d certificates, marker %q, token still there: %v", n.Certificates, m.read(joinMark), m.has("/boot/firmware/edgebake-token"))
			}
		})
	}
}

// A node that was off until its certificate ended says so, and gets another one for a token.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dir := t.TempDir()
	m.cloud = newCloud(t, dir)
	m.seed("edge-1", "iid-edge-1-11111111")
	m.putToken(m.cloud.Token(time.Hour))
	m.boot()
	m.join().ended()
	m.cut()
	m.expire(dir)
	m.boot()
	j := m.join()
	if s := m.until("failed", "no-token"); !strings.Contains(s.Detail, "certificate has expired") || m.has(joinMark) {
		t.Errorf("%+v, joined: %v", s, m.has(joinMark))
	}
	m.putToken(m.cloud.Token(time.Hour))
	j.ended()
	m.checkJoined("edge-1")
	m.cut()
	m.expire(dir)
	m.putToken(m.cloud.Token(time.Hour))
	m.boot()
	m.join().ended()
	m.checkJoined("edge-1")
	if n, _ := m.cloud.Node("edge-1"); n.Certificates != 3 {
		t.Errorf("the node has %d certificates", n.Certificates)
	}
}

// expire puts an end to the node's certificate: the authority in dir signs it with a time that is over.
func (m *machine) expire(dir string) {
	m.t.Helper()
	const name = "/etc/kubeedge/certs/server.crt"
	authority, err := tls.LoadX509KeyPair(dir+"/ca.crt", dir+"/ca.key")
	check(m.t, err)
	block, _ := pem.Decode([]byte(m.read(name)))
	one, err := x509.ParseCertificate(block.Bytes)
	check(m.t, err)
	one.NotBefore, one.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, one, authority.Leaf, one.PublicKey, authority.PrivateKey)
	check(m.t, err)
	m.write(name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
}
