package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/cloudcore"
	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// limit bounds what should take milliseconds.
const limit = 20 * time.Second

// journal is a log that can be waited for.
type journal struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.changed)
	j.changed = make(chan struct{})
	return j.text.Write(b)
}

func (j *journal) now() (text string, next <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String(), j.changed
}

// wait waits until a text is there a number of times.
func (j *journal) wait(t *testing.T, want string, times int) {
	t.Helper()
	ctx := deadline(t)
	for {
		text, next := j.now()
		if strings.Count(text, want) >= times {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			t.Fatalf("waiting for %q, %d times, in:\n%s", want, times, text)
		}
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// machine is a root directory with CRI-O's stand-in, and a CloudCore for it.
type machine struct {
	t     *testing.T
	root  string
	cloud *cloudcore.Server
	value kubeedge.Values
	tweak func(string) string // of the configuration
	args  []string
	set   settings
}

func newMachine(t *testing.T, faults ...cloudcore.Fault) *machine {
	t.Helper()
	cloud, err := cloudcore.New(cloudcore.Options{Faults: faults, Log: func(e cloudcore.Event) { t.Logf("cloudcore: %s %s %s", e.Kind, e.Node, e.Text) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	root, err := os.MkdirTemp("", "edgecore-") // short: a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	t.Setenv(kubeedge.Root, root)
	m := &machine{t: t, root: root, cloud: cloud, value: kubeedge.Defaults("127.0.0.1"), tweak: func(s string) string { return s }}
	m.value.WebSocketServer, m.value.HTTPServer = cloud.Hub(), fmt.Sprintf("https://127.0.0.1:%d", cloud.CertPort())
	m.value.Token, m.value.NodeName, m.value.Endpoint = cloud.Token(time.Hour), "edge-1", "unix:///var/run/crio/crio.sock"
	m.value.Labels = map[string]string{"site": "hall-3"}
	m.set = settings{io.Discard, nil, root + "/proc", "127.0.0.1:0", time.Millisecond}
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	file := kubeedge.Path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// crio starts the stand-in for CRI-O as a program.
func (m *machine) crio() {
	m.t.Helper()
	for _, file := range []string{"/usr/bin/conmon", "/usr/bin/runc"} {
		m.write(file, "")
	}
	program := filepath.Join(m.root, "crio")
	if out, err := exec.CommandContext(m.t.Context(), "go", "build", "-o", program, "../crio").CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	notify := filepath.Join(m.root, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		m.t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.CommandContext(m.t.Context(), program)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it ends by being killed
	if err := l.SetReadDeadline(time.Now().Add(limit)); err != nil {
		m.t.Fatal(err)
	}
	if _, err := l.Read(make([]byte, 64)); err != nil {
		m.t.Fatal("the stand-in for CRI-O did not get ready")
	}
}

// start runs edgecore. The exit code comes when it ends.
func (m *machine) start() (*journal, <-chan int, context.CancelFunc) {
	m.t.Helper()
	text, err := m.value.YAML()
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(kubeedge.ConfigFile, m.tweak(string(text)))
	ctx, stop := context.WithCancel(m.t.Context())
	j, code := newJournal(), make(chan int, 1)
	set := m.set
	set.stderr = j
	go func() { code <- run(ctx, m.args, set) }()
	m.t.Cleanup(stop)
	return j, code, stop
}

// fails wants edgecore to end with a code and a text.
func (m *machine) fails(want int, text string) {
	m.t.Helper()
	j, code, _ := m.start()
	select {
	case got := <-code:
		if log, _ := j.now(); got != want || !strings.Contains(log, text) {
			m.t.Errorf("exit code %d, want %d and %q in:\n%s", got, want, text, log)
		}
	case <-time.After(limit):
		log, _ := j.now()
		m.t.Fatalf("edgecore goes on:\n%s", log)
	}
}

func noEdged(s string) string {
	before, after, _ := strings.Cut(s, "  edged:\n")
	return before + "  edged:\n" + strings.Replace(after, "enable: true\n    enableMetrics", "enable: false\n    enableMetrics", 1)
}

// asksPods asks the kubelet's API, which may be about to listen.
func asksPods(t *testing.T, address string) {
	t.Helper()
	for ctx := deadline(t); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/pods", nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !strings.Contains(string(body), "PodList") {
			t.Errorf("%s %v", body, err)
		}
		return
	}
}

// freeAddress is one on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestJoins(t *testing.T) {
	m := newMachine(t)
	m.set.api = freeAddress(t)
	m.crio()
	j, code, stop := m.start()
	n, err := m.cloud.WaitNode(deadline(t), "edge-1")
	if err != nil {
		log, _ := j.now()
		t.Fatalf("%v\n%s", err, log)
	}
	if n.Labels["site"] != "hall-3" || n.Labels["node-role.kubernetes.io/edge"] != "" || n.Runtime != "remote://1.20.0" || n.Kubelet != "v1.19.3-kubeedge-v1.8.2" || n.Address != "127.0.0.1" {
		t.Errorf("the node is %+v", n)
	}
	j.wait(t, "Websocket connect to cloud access successful", 1)
	j.wait(t, "Successfully registered node edge-1", 1)
	asksPods(t, m.set.api)
	for name, mode := range map[string]os.FileMode{"ca/rootCA.crt": 0o644, "certs/server.crt": 0o644, "certs/server.key": 0o600} {
		if info, err := os.Stat(kubeedge.Path("/etc/kubeedge/" + name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if _, err := os.Stat(kubeedge.Path("/var/lib/kubeedge/edgecore.db")); err != nil {
		t.Error(err)
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("stopped, it ends with %d", got)
	}
	m.value.Token = "" // a pair that is there needs none
	_, _, _ = m.start()
	if _, err := m.cloud.WaitNodeFor(deadline(t), "edge-1", func(n cloudcore.Node) bool { return n.Registrations == 2 && n.Certificates == 1 }); err != nil {
		t.Error(err)
	}
}

// TestComesBack loses the connection: it does not end, and connects again.
func TestComesBack(t *testing.T) {
	m := newMachine(t)
	m.tweak = func(s string) string { return strings.Replace(noEdged(s), "heartbeat: 15", "heartbeat: 0", 1) }
	j, _, _ := m.start()
	for times := 1; times <= 2; times++ {
		j.wait(t, "Websocket connect to cloud access successful", times)
		if _, err := m.cloud.WaitNodeFor(deadline(t), "edge-1", func(n cloudcore.Node) bool { return n.Connections >= times && n.Keepalives > 0 }); err != nil {
			t.Fatal(err)
		}
		m.cloud.Drop("edge-1")
	}
	if err := m.cloud.SetFaults(t.Context(), cloudcore.FaultClosed); err != nil {
		t.Fatal(err)
	}
	j.wait(t, "max retry count reached when connecting to cloud, will reconnect after", 1)
	text, _ := j.now()
	if tries := strings.Count(text, "Init websocket connection failed"); tries < dials {
		t.Errorf("it dialled %d times", tries)
	}
}

func TestEndsAtCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		fault cloudcore.Fault
		token func(string) string
		text  string
		left  []string
	}{
		"rejected token":    {fault: cloudcore.FaultRejectToken, text: "failed to get edge certificate from the cloudcore, error: Invalid authorization token", left: []string{"ca/rootCA.crt"}},
		"another CloudCore": {fault: cloudcore.FaultWrongCA, text: "failed to validate CA certificate. tokenCAhash: "},
		"future":            {fault: cloudcore.FaultFuture, text: "certificate has expired or is not yet valid", left: []string{"ca/rootCA.crt"}},
		"nobody":            {fault: cloudcore.FaultClosed, text: "failed to get CA certificate, err: Get \"https://127.0.0.1:"},
		"empty certificate": {fault: cloudcore.FaultEmptyCertificate, text: "certificate cannot be nil when writing to file", left: []string{"ca/rootCA.crt", "certs/server.key"}},
		"three parts":       {token: func(string) string { return "a.b.c" }, text: "token credentials are in the wrong format"},
		"upper case":        {token: strings.ToUpper, text: "failed to validate CA certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			var faults []cloudcore.Fault
			if c.fault != "" {
				faults = append(faults, c.fault)
			}
			m := newMachine(t, faults...)
			m.tweak = noEdged
			if c.token != nil {
				m.value.Token = c.token(m.value.Token)
			}
			m.fails(exitFatal, c.text)
			var left []string
			for _, file := range []string{"ca/rootCA.crt", "certs/server.key", "certs/server.crt"} {
				if _, err := os.Stat(kubeedge.Path("/etc/kubeedge/" + file)); err == nil {
					left = append(left, file)
				}
			}
			if fmt.Sprint(left) != fmt.Sprint(c.left) {
				t.Errorf("%v is left, want %v", left, c.left)
			}
			if c.fault == "" {
				return
			}
			if err := m.cloud.SetFaults(t.Context()); err != nil { // the next start heals
				t.Fatal(err)
			}
			j, _, _ := m.start()
			j.wait(t, "Websocket connect to cloud access successful", 1)
		})
	}
}

// TestBadAuthorityFile has a good pair and no good rootCA.crt: it tries for ever.
func TestBadAuthorityFile(t *testing.T) {
	m := newMachine(t)
	m.tweak = func(s string) string { return strings.Replace(noEdged(s), "heartbeat: 15", "heartbeat: 0", 1) }
	j, _, stop := m.start()
	j.wait(t, "Websocket connect to cloud access successful", 1)
	stop()
	m.write("/etc/kubeedge/ca/rootCA.crt", string(pem.EncodeToMemory(&pem.Block{Type: "NOTHING"})))
	j, _, _ = m.start()
	j.wait(t, "connection failed: cannot parse the certificates, will reconnect after", 2)
}

func TestEndsBeforeCloudCore(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*machine)
		code    int
		text    string
	}{
		"no runtime": {func(*machine) {}, 1, "init new edged error, rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing dial unix"},
		"dockershim": {func(m *machine) { m.value.Endpoint = kubeedge.Dockershim }, 1, "Docker daemon"},
		"no file":    {func(m *machine) { m.args = []string{"--config", "/absent"} }, 255, "failed to read configfile"},
		"flag":       {func(m *machine) { m.args = []string{"--absent"} }, 1, "absent"},
		"node name":  {func(m *machine) { m.value.NodeName = "Edge_1" }, 255, "hostnameOverride"},
		"kubelet":    {func(m *machine) { m.write("/proc/7/comm", "kubelet\n") }, 255, "kubelet should not running on edge node"},
		"kube-proxy": {func(m *machine) { m.write("/proc/7/comm", "kube-proxy\n") }, 255, "kube-proxy should not running on edge node"},
		"no memory cgroup": {func(m *machine) {
			m.write("/sys/fs/cgroup/cpuset/tasks", "")
			m.tweak = func(s string) string { return strings.Replace(s, "registerNode: true", "registerNode: false", 1) }
			m.crio()
		}, 1, "Following Cgroup subsystem not mounted: [cpu cpuacct memory]"},
		"kubelet, but nobody looks": {func(m *machine) {
			m.write("/proc/7/comm", "kubelet\n")
			m.t.Setenv("CHECK_EDGECORE_ENVIRONMENT", "false")
		}, 1, "init new edged error"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			c.prepare(m)
			m.fails(c.code, c.text)
			if s := m.cloud.Stats(); s != (cloudcore.Stats{}) {
				t.Errorf("CloudCore was asked: %+v", s)
			}
		})
	}
}

// TestOnlyNewCRI has a runtime that no longer knows v1alpha2.
func TestOnlyNewCRI(t *testing.T) {
	m := newMachine(t)
	m.write("/var/run/crio/x", "")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", kubeedge.Path("/var/run/crio/crio.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Grpc-Status", "12")
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(l) }() // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	m.fails(exitFailed, "unknown service runtime.v1alpha2.RuntimeService")
}

func TestDefaultConfig(t *testing.T) {
	var out bytes.Buffer
	code := run(t.Context(), []string{"--defaultconfig"}, settings{stdout: &out, stderr: io.Discard})
	if c, err := kubeedge.Parse(out.Bytes()); code != 0 || err != nil || !c.Modules.EdgeHub.Enable {
		t.Errorf("%d %v %s", code, err, out.String())
	}
}

func FuzzRuntimeVersion(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x10\x0a\x050.1.0\x12\x05cri-o\x1a\x061.20.0"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x1a\xff"))
	f.Fuzz(func(_ *testing.T, frame []byte) { _, _ = runtimeVersion(frame) }) // only what it does, not what it finds
}
