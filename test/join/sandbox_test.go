// Package join_test runs the scripts of the overlay edge-join as they are, at their places, in a root
// of their own (namespaces for mounts and processes), against the test CloudCore and the stand-ins for
// keadm and edgecore. systemd, the clock, the broker and the container runtime are stood in for.
//
// A machine is such a root; it is on between boot and cut, and what it writes outside /run stays.
package join_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/test/cloudcore"
	"github.com/edgebake/edgebake/test/oracle"
)

//go:embed testdata/enter.sh
var enterScript string

//go:embed testdata/systemctl
var systemctl string

//go:embed testdata/journalctl
var journalctl string

// patience ends what hangs.
const patience = 3 * time.Minute

type machine struct {
	t     *testing.T
	root  string
	shell []string // dash or busybox's
	init  *exec.Cmd
	pid   int
	cloud *cloudcore.Server
	cri   *http.Server
}

// programs are the stand-ins, built once.
var programs = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "join")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := map[string][]byte{}
	for _, name := range []string{"keadm", "edgecore"} {
		cmd := exec.Command("go", "build", "-o", dir, "github.com/edgebake/edgebake/test/standin/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w: %s", name, err, text)
		}
		if out[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// newMachine is a node as it is after cloud-init's first boot, with a CloudCore to join.
func newMachine(t *testing.T) *machine {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter", "curl", "openssl", "busybox", "sudo", "pidof"} {
		oracle.Need(t, tool)
	}
	if out, err := exec.Command("unshare", unshareFlags("true")...).CombinedOutput(); err != nil {
		oracle.Missing(t, "a namespace of one's own ("+strings.TrimSpace(string(out))+")")
	}
	// Not t.TempDir: the path of a socket has at most 107 bytes.
	root, err := os.MkdirTemp("", "join")
	check(t, err)
	m := &machine{t: t, root: root, shell: []string{"/bin/sh", joinScript}}
	t.Cleanup(func() { m.cut(); check(t, os.RemoveAll(root)) })
	m.cloud, err = cloudcore.New(cloudcore.Options{Delay: time.Second})
	check(t, err)
	check(t, m.cloud.Start(t.Context()))
	t.Cleanup(m.cloud.Close)
	m.image()
	m.seed("edge-1", "iid-edge-1-11111111")
	m.putToken(m.cloud.Token(time.Hour))
	return m
}

func unshareFlags(command ...string) []string {
	flags := []string{"--mount", "--pid", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		flags = append(flags, "--map-root-user")
	}
	return append(flags, command...)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// path is where the test sees a file: while the machine is on, with what is mounted in it.
func (m *machine) path(name string) string {
	if m.pid != 0 {
		return filepath.Join(fmt.Sprintf("/proc/%d/root", m.pid), name)
	}
	return filepath.Join(m.root, name)
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	check(m.t, os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	check(m.t, os.WriteFile(m.path(name), []byte(text), mode))
	check(m.t, os.Chmod(m.path(name), mode))
}

func (m *machine) read(name string) string {
	b, _ := os.ReadFile(m.path(name)) // what is not there is empty
	return string(b)
}

func (m *machine) has(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

func (m *machine) remove(name string) {
	m.t.Helper()
	check(m.t, os.RemoveAll(m.path(name)))
}

// image lays the overlay, with what a profile puts into its files, and the golden files.
func (m *machine) image() {
	m.t.Helper()
	loaded, err := profile.Load(m.t.Context(), profile.Options{Name: "edge-rpi-ubuntu-20.04"})
	check(m.t, err)
	for _, o := range loaded.Overlays {
		for _, f := range o.Files {
			if o.Name == "edge-join" && !f.Dir {
				m.write(f.Path, string(f.Content), os.FileMode(f.Mode))
			}
		}
	}
	// Limits in seconds; the stand-in for sleep makes them twentieths.
	const limits = "TIME_LIMIT=40\nNETWORK_LIMIT=20\nCRI_LIMIT=20\nMQTT_LIMIT=20\nVERIFY_LIMIT=160\nSTABLE=3\nBACKOFF_MAX=20\n"
	m.write("/usr/lib/edgebake/node.conf", m.read("/usr/lib/edgebake/node.conf")+limits, 0o644)
	check(m.t, os.Symlink("/run", filepath.Join(mkdir(m.t, m.path("/var")), "run")))
	for _, dir := range []string{"/usr/local/bin", "/etc/systemd/system", "/boot/firmware", "/var/log", "/var/lib/cloud/data"} {
		mkdir(m.t, m.path(dir))
	}
	m.write("/etc/hosts", "127.0.0.1 localhost\n", 0o644)
	m.write("/etc/nsswitch.conf", "hosts: files\n", 0o644)
	m.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	m.write("/boot/firmware/user-data", "#cloud-config\n", 0o644)
	m.golden()
	m.commands()
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o755))
	return dir
}

const (
	goldenDir  = "/usr/lib/edgebake/kubeedge/"
	tarball    = "kubeedge-v1.8.2-linux-amd64.tar.gz"
	yamlFile   = "/etc/kubeedge/config/edgecore.yaml"
	joinScript = "/usr/lib/edgebake/edgebake-join"
	joinMark   = "/var/lib/edgebake/joined"
)

func (m *machine) golden() {
	m.t.Helper()
	built, err := programs()
	check(m.t, err)
	m.release(built["edgecore"])
	m.write(goldenDir+"edgecore.service", "[Service]\nExecStart=/usr/local/bin/edgecore\nRestart=always\n", 0o644)
	m.write("/stand-in/keadm.new", string(built["keadm"]), 0o755)
	check(m.t, os.Rename(m.path("/stand-in/keadm.new"), m.path("/stand-in/keadm"))) // the old one may run
}

// release is KubeEdge's tarball with its checksum.
func (m *machine) release(edgecore []byte) {
	m.t.Helper()
	packed := pack(m.t, "kubeedge-v1.8.2-linux-amd64/edge/edgecore", edgecore)
	m.write(goldenDir+tarball, string(packed), 0o644)
	m.write(goldenDir+"checksum_"+tarball+".txt", fmt.Sprintf("%x\n", sha512.Sum512(packed)), 0o644)
}

func pack(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	check(t, err)
	w := tar.NewWriter(z)
	check(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
	_, err = w.Write(content)
	check(t, err)
	check(t, w.Close())
	check(t, z.Close())
	return b.Bytes()
}

// commands are the programs that are not this system's own.
func (m *machine) commands() {
	for name, script := range map[string]string{
		"systemctl": systemctl, "journalctl": journalctl,
		"timedatectl": "#!/bin/sh\n[ ! -e /synchronized ] || echo 'System clock synchronized: yes'\n",
		// The arguments of every process, as anybody on the node could list them, are kept.
		"ps":   "#!/bin/sh\n/usr/bin/ps -eo args >>/var/seen-in-ps\n[ ! -e /mosquitto ] || echo 'mosquit+ 300 0.0 0.1 mosquitto -c /etc/mosquitto/mosquitto.conf'\n",
		"dpkg": "#!/bin/sh\necho amd64\n", "apt": "#!/bin/sh\n", "apt-get": "#!/bin/sh\nexit 100\n", "file": "#!/bin/sh\n",
		"sudo":  "#!/bin/sh\n[ \"$1\" != -E ] || shift\nexec \"$@\"\n",
		"ip":    "#!/bin/sh\necho 'default via 192.0.2.1 dev eth0'\n",
		"sleep": "#!/bin/sh\n/usr/bin/ps -eo args >>/var/seen-in-ps\nexec /usr/bin/sleep \"$(echo \"$1\" | awk '{ print $1 / 20 }')\"\n",
	} {
		m.write("/stand-in/"+name, script, 0o755)
	}
	m.write("/synchronized", "", 0o644)
	m.write("/mosquitto", "", 0o644)
}

// seed is what cloud-init made of a seed.
func (m *machine) seed(name, instance string) {
	m.write("/etc/edgebake/join.conf", fmt.Sprintf("NODE_NAME=%s\nCLOUDCORE=%s\nCERT_PORT=%d\nLABELS=site=hall-3\nCLUSTER_DNS=10.96.0.10\nCLUSTER_DOMAIN=cluster.local\nNODE_IP=\nEDGE_STREAM=true\nMETA_SERVER=false\n",
		name, m.cloud.Hub(), m.cloud.CertPort()), 0o600)
	m.write("/var/lib/cloud/data/instance-id", instance+"\n", 0o644)
	m.write("/var/lib/cloud/instances/"+instance+"/boot-finished", "x\n", 0o644)
	m.remove("/var/lib/cloud/instance")
	check(m.t, os.Symlink("/var/lib/cloud/instances/"+instance, m.path("/var/lib/cloud/instance")))
}

func (m *machine) putToken(token string) {
	m.write("/boot/firmware/edgebake-token", token+"\r\n", 0o644)
}

// boot starts the machine as systemd would: the early units, then edgecore if it is enabled.
func (m *machine) boot() {
	m.t.Helper()
	m.remove("/run")
	mkdir(m.t, m.path("/run/systemd/system"))
	script := filepath.Join(m.t.TempDir(), "enter.sh")
	check(m.t, os.WriteFile(script, []byte(enterScript), 0o755))
	m.init = exec.Command("unshare", unshareFlags("/bin/sh", script, m.root)...)
	m.init.Stderr = os.Stderr
	m.init.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is killed leaves no machine behind
	check(m.t, m.init.Start())
	for end := time.Now().Add(patience); !m.has("/run/booted"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatal("the machine does not start")
		}
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.init.Process.Pid, m.init.Process.Pid))
	check(m.t, err)
	m.pid, err = strconv.Atoi(strings.TrimSpace(string(children)))
	check(m.t, err)
	m.startRuntime("v1alpha2")
	m.does("/usr/lib/edgebake/edgebake-identity early && /usr/lib/edgebake/edgebake-identity check")
	if m.has("/etc/systemd/system/multi-user.target.wants/edgecore.service") {
		m.does("systemctl start edgecore.service")
	}
}

// cut is a power cut: everything ends at once.
func (m *machine) cut() {
	if m.init == nil {
		return
	}
	_ = m.cri.Close() // nothing is written
	_ = m.init.Process.Kill()
	_ = m.init.Wait() // killed, as meant
	m.init, m.pid = nil, 0
}

// startRuntime is a container runtime that knows one version of the interface.
func (m *machine) startRuntime(version string) {
	m.t.Helper()
	socket := filepath.Join(mkdir(m.t, m.path("/run/crio")), "crio.sock")
	l, err := new(net.ListenConfig).Listen(m.t.Context(), "unix", socket)
	check(m.t, err)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	m.cri = &http.Server{Protocols: protocols, ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the answer comes with a reset of the stream
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path != "/runtime."+version+".RuntimeService/Version" {
			w.Header().Set("Grpc-Status", "12") // UNIMPLEMENTED
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		// VersionResponse: version, runtime_name, runtime_version, runtime_api_version.
		message := "\x0a\x050.1.0\x12\x05cri-o\x1a\x061.20.0\x22" + string(rune(len(version))) + version
		_, _ = w.Write(append([]byte{0, 0, 0, 0, byte(len(message))}, message...)) // who asked went away
		w.Header().Set("Grpc-Status", "0")
	})}
	go func() { _ = m.cri.Serve(l) }() // until it is closed
}

// command runs inside the machine.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	flags := []string{"-t", strconv.Itoa(m.pid), "-m", "-p", "-r", "-w"}
	if os.Getuid() != 0 {
		flags = append(flags, "-U", "--preserve-credentials")
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(flags, args...)...)
	cmd.Env = []string{"PATH=/stand-in:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}

func (m *machine) sh(line string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	out, err := m.command(ctx, "/bin/sh", "-c", line).CombinedOutput()
	return string(out), err
}

// does runs what has to succeed.
func (m *machine) does(line string) {
	m.t.Helper()
	if out, err := m.sh(line); err != nil {
		m.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// join starts edgebake-join; wait for it with its ended.
func (m *machine) join() *joining {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	j := &joining{m: m, cmd: m.command(ctx, m.shell...), done: make(chan error, 1)}
	// A file: edgecore outlives the script and would keep a pipe open.
	log, err := os.Create(m.path("/said"))
	check(m.t, err)
	defer log.Close()
	j.cmd.Stdout, j.cmd.Stderr = log, log
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check(m.t, j.cmd.Start())
	go func() { j.done <- j.cmd.Wait(); cancel() }()
	return j
}

type joining struct {
	m    *machine
	cmd  *exec.Cmd
	done chan error
}

// kill ends the script, which is a child of nsenter: it would go on, beside the next one, if that alone were killed.
func (j *joining) kill() {
	j.m.t.Helper()
	check(j.m.t, syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL))
	if err := <-j.done; err == nil {
		j.m.t.Error("the script ended well before it was killed")
	}
}

// ended waits until the script ends well.
func (j *joining) ended() {
	j.m.t.Helper()
	if err := <-j.done; err != nil {
		j.m.t.Fatalf("edgebake-join: %v\n%s\n%s\n%s\n%s", err, j.m.read("/said"), j.m.read("/run/edgebake/join.json"), j.m.read("/run/edgebake/keadm.log"), j.m.read("/run/systemd-stand-in/journal"))
	}
}

// status is join.json.
type status struct {
	State, Reason, Detail, Next, Node, CloudCore, Since, Time string
	Attempt                                                   int
}

func (m *machine) status() status {
	var s status
	_ = json.Unmarshal([]byte(m.read("/run/edgebake/join.json")), &s) // not there yet: no state
	return s
}

// until waits for a reason in one of the states waiting and failed.
func (m *machine) until(state, reason string) status {
	m.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s := m.status()
		if s.State == state && s.Reason == reason {
			return s
		}
		if time.Now().After(end) {
			m.t.Fatalf("the state is %+v, and not %s %s\n%s\n%s", s, state, reason, m.read("/run/edgebake/keadm.log"), m.read("/run/systemd-stand-in/journal"))
		}
	}
}
