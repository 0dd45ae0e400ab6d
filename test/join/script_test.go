package join_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/cloudcore"
	"github.com/edgebake/edgebake/test/oracle"
)

const overlay = "../../overlays/edge-join"

// Each program of the overlay, with the files that it reads.
func TestScriptsAreClean(t *testing.T) {
	args := []string{"-x", "-s", "sh"}
	check(t, filepath.WalkDir(overlay, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.HasPrefix(text, []byte("#!/bin/sh\n")) {
			args = append(args, path)
		}
		return err
	}))
	if len(args) < 6 {
		t.Fatalf("there are no more scripts than %v", args[3:])
	}
	if out, err := exec.Command(oracle.Need(t, "shellcheck"), args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// edgecore's lines, as KubeEdge 1.8.2 and Go word them.
func TestLog(t *testing.T) {
	const (
		connected  = "I1127 10:00:00.000000     500 websocket.go:51] Websocket connect to cloud access successful\n"
		registered = "I1127 10:00:01.000000     500 edged_status.go:497] Successfully registered node edge-1\n"
		e          = "E1127 10:00:02.000000     500 ws.go:60] "
		f          = "F1127 10:00:02.000000     500 certmanager.go:96] Error: "
		dialing    = e + "Init websocket connection failed "
	)
	for _, c := range []struct{ log, said, reason, text string }{
		{"", "0 0", "", ""},
		{connected + registered, "1 1", "", ""},
		{dialing + "dial tcp 192.0.2.1:10000: connect: connection refused\n" + connected + registered, "1 1", "", ""},
		{connected + registered + "E1127 10:00:02.000000     500 process.go:95] websocket read error: EOF\n", "0 1", "connection-lost", "read error: EOF"},
		{connected + registered + e + "websocket read error: EOF\n" + connected, "1 1", "", ""},
		{f + "failed to get edge certificate from the cloudcore, error: Invalid authorization token\ngoroutine 1 [running]:\n", "0 0", "token-rejected", "Invalid"},
		{f + "token credentials are in the wrong format\n", "0 0", "token-malformed", "format"},
		{f + "failed to validate CA certificate. tokenCAhash: 12, CAhash: 34\n", "0 0", "wrong-ca", "12"},
		{dialing + "x509: certificate signed by unknown authority\n", "0 0", "wrong-ca", "unknown"},
		{e + "connection failed: cannot parse the certificates, will reconnect after 30s\n", "0 0", "wrong-ca", "parse"},
		{f + "failed to get CA certificate, err: x509: certificate has expired or is not yet valid: current time\n", "0 0", "certificate-time", "expired"},
		{dialing + "x509: certificate is valid for 192.0.2.1, not 192.0.2.2\n", "0 0", "certificate-name", "not 192.0.2.2"},
		{dialing + "x509: cannot validate certificate for 192.0.2.2 because it doesn't contain any IP SANs\n", "0 0", "certificate-name", "SANs"},
		{dialing + "x509: certificate is not valid for any names, but wanted to match cloud\n", "0 0", "certificate-name", "cloud"},
		{f + "failed to save the edge key and certificate, error: certificate cannot be nil when writing to file\n", "0 0", "certificate-empty", "nil"},
		{dialing + "remote error: tls: bad certificate\n", "0 0", "certificate-rejected", "bad"},
		{connected + e + "websocket read error: remote error: tls: unknown certificate authority\n", "0 0", "certificate-rejected", "authority"},
		{dialing + "websocket: bad handshake\n", "0 0", "not-cloudcore", "bad"},
		{f + "failed to get CA certificate, err: Get \"https://192.0.2.1:10002/ca.crt\": http: server gave HTTP response to HTTPS client\n", "0 0", "not-cloudcore", "HTTP"},
		{"E1127 10:00:02.000000     500 edged.go:1] Failed to start container manager, err: system validation failed - Following Cgroup subsystem not mounted: [memory]\n", "0 0", "cgroup-missing", "[memory]"},
		{"F1127 10:00:02.000000     500 server.go:1] failed to check the running environment: kubelet should not running on edge node when running edgecore\n", "0 0", "kubelet-runs", "kubelet"},
		{e + "init new edged error, rpc error: code = Unimplemented desc = unknown service runtime.v1alpha2.RuntimeService\n", "0 0", "cri-too-new", "v1alpha2"},
		{e + "init new edged error, rpc error: code = Unavailable desc = dial unix /var/run/crio/crio.sock: connect: connection refused\n", "0 0", "waiting-cri", "crio"},
		{dialing + "dial tcp: lookup cloud on 127.0.0.53:53: server misbehaving\n", "0 0", "waiting-dns", "misbehaving"},
		{dialing + "dial tcp: lookup cloud on 192.0.2.53:53: read udp 192.0.2.9:40000->192.0.2.53:53: i/o timeout\n", "0 0", "waiting-dns", "udp"},
		{dialing + "dial tcp: lookup cloud: no such host\n", "0 0", "waiting-dns", "host"},
		{dialing + "net/http: TLS handshake timeout\n", "0 0", "unreachable", "handshake"},
		{dialing + "dial tcp 192.0.2.1:10000: i/o timeout\n", "0 0", "unreachable", "i/o"},
		{dialing + "dial tcp 192.0.2.1:10000: connect: connection refused\n" + e + "connection failed: max retry count reached when connecting to cloud, will reconnect after 30s\n", "0 0", "connection-refused", "refused"},
		{connected + "E1127 10:00:02.000000     500 client.go:1] dial tcp 127.0.0.1:1883: connect: connection refused\n", "1 0", "", ""},
		{connected + "E1127 10:00:02.000000     500 tunnel.go:1] dial tcp 192.0.2.1:10004: connect: connection refused\n", "1 0", "", ""},
		{connected + "E1127 10:00:02.000000     500 edged_status.go:1] Register node failed: timeout\nW1127 none\n", "1 0", "", "Register node failed"},
		{"panic: at once\n\ngoroutine 1 [running]:\nmain.main()\n", "0 0", "", "panic: at once"},
	} {
		for _, awk := range [][]string{{"awk"}, {oracle.Need(t, "busybox"), "awk"}} {
			cmd := exec.Command(awk[0], append(awk[1:], "-f", overlay+"/usr/lib/edgebake/edgecore-log.awk")...)
			cmd.Stdin = strings.NewReader(c.log)
			out, err := cmd.CombinedOutput()
			check(t, err)
			lines := strings.Split(string(out), "\n")
			if len(lines) != 4 || lines[0] != c.said || lines[1] != c.reason || !strings.Contains(lines[2], c.text) || (c.text == "") != (lines[2] == "") {
				t.Errorf("%v: %q gives %q, and not %q %q %q", awk, c.log, lines, c.said, c.reason, c.text)
			}
		}
	}
}

// The pauses grow up to their limit, and begin anew when somebody has put a token there.
func TestBackOff(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.remove("/boot/firmware/edgebake-token")
	m.move("NODE_NAME=", "BACKOFF_MIN=30\nBACKOFF_MAX=100\nNODE_NAME=")
	m.boot()
	j := m.join()
	for _, pause := range []string{"30", "60", "100"} {
		m.untilSays("/boot/firmware/join-status.txt", "(no-token)", "in "+pause+" seconds")
	}
	m.until("failed", "no-token")
	m.putToken("only.three.parts")
	m.untilSays("/boot/firmware/join-status.txt", "(token-malformed)", "in 30 seconds")
	m.putToken(m.cloud.Token(time.Hour))
	j.ended()
	m.checkJoined("edge-1")
}

// What edgecore wrote before this boot is not taken for this join's.
func TestEarlierBoots(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultUnanswered))
	m.write("/no-cursor", "", 0o644)
	m.write("/earlier-boots", "Websocket connect to cloud access successful\nSuccessfully registered node edge-1\n", 0o644)
	m.boot()
	j := m.join()
	m.until("failed", "not-registered")
	check(t, m.cloud.SetFaults(t.Context()))
	j.ended()
	m.checkJoined("edge-1")
}

// A CloudCore that takes its time is waited for: the first attempt joins.
func TestSlowCloudCore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultSlow))
	m.move("NODE_NAME=", "VERIFY_LIMIT=1000\nNODE_NAME=")
	m.boot()
	m.join().ended()
	m.checkJoined("edge-1")
	if s := m.status(); s.Attempt != 1 {
		t.Errorf("%+v", s)
	}
}

// An edgecore that nobody's unit started, and that does not want to end, ends before keadm looks.
func TestStrayEdgecore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.process("edgecore", `trap "" TERM; while :; do /usr/bin/sleep 100; done`)
	m.join().ended()
	m.checkJoined("edge-1")
	if s := m.status(); s.Attempt != 1 {
		t.Errorf("%+v", s)
	}
}
