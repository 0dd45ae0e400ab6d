package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// machine is a root directory and the commands that keadm finds on it.
type machine struct {
	t    *testing.T
	root string
	bin  string
}

const (
	tarName = "kubeedge-v1.8.2-linux-arm64.tar.gz"
	sumName = "checksum_" + tarName + ".txt"
	mosquit = "echo 'mosquit+ 300 0.0 0.1 mosquitto -c /etc/mosquitto/mosquitto.conf'"
)

// newMachine is a node that is ready to join without a network. Every command but the plain tools
// writes its line to the file calls.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), bin: t.TempDir()}
	for name, script := range map[string]string{
		"apt": "exit 0", "apt-get": "exit 100", "ps": mosquit, "pidof": "exit 1", "dpkg": "echo arm64", "file": "exit 0",
		"systemctl": "exit 0", "sudo": `[ "$1" = -E ] && shift; exec "$@"`, "wget": "exit 4", "curl": "exit 6", "crictl": "exit 0", "pkill": "exit 0",
	} {
		m.command(name, script)
	}
	t.Setenv("PATH", m.bin+":"+os.Getenv("PATH"))
	t.Setenv(kubeedge.Root, m.root)
	for _, dir := range []string{"usr/local/bin", "etc/systemd/system"} {
		m.check(os.MkdirAll(m.path(dir), 0o755))
	}
	release := pack(t, "kubeedge-v1.8.2-linux-arm64/edge/edgecore", "the program")
	m.write("etc/kubeedge/"+tarName, release)
	m.write("etc/kubeedge/"+sumName, fmt.Sprintf("%x\n", sha512.Sum512([]byte(release))))
	m.write("etc/kubeedge/edgecore.service", "[Service]\n")
	return m
}

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	m.check(os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	m.check(os.WriteFile(m.path(name), []byte(text), 0o644))
}

func (m *machine) read(name string) string {
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (m *machine) command(name, script string) {
	m.t.Helper()
	text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >> %s\n%s\n", name, filepath.Join(m.bin, "calls"), script)
	m.check(os.WriteFile(filepath.Join(m.bin, name), []byte(text), 0o755))
}

func (m *machine) calls() string {
	b, err := os.ReadFile(filepath.Join(m.bin, "calls"))
	m.check(err)
	return string(b)
}

func (m *machine) has(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

func pack(t *testing.T, name, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// guide are the flags of the guide.
func guide(more ...string) []string {
	return append([]string{"join", "--cloudcore-ipport=192.0.2.1:10000", "--token=a.b.c.d", "--cgroupdriver=systemd", "--runtimetype=remote",
		"--remote-runtime-endpoint=unix:///var/run/crio/crio.sock", "--kubeedge-version=1.8.2", "--edgenode-name=edge-1"}, more...)
}

func keadm(t *testing.T, stdin io.Reader, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	defer func() {
		if r := recover(); r != nil {
			code, out = 2, fmt.Sprint("panic: ", r) // what the go runtime makes of it
		}
	}()
	code = run(args, stdin, &b, &b)
	return code, b.String()
}

func TestJoinOffline(t *testing.T) {
	m := newMachine(t)
	if code, out := keadm(t, strings.NewReader(""), guide("--labels=site=hall-3,rack=2")...); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if got := m.read("usr/local/bin/edgecore"); got != "the program" {
		t.Errorf("edgecore is %q", got)
	}
	unit, err := os.Stat(m.path("etc/systemd/system/edgecore.service"))
	m.check(err)
	if links := unit.Sys().(*syscall.Stat_t).Nlink; links != 2 {
		t.Errorf("the unit has %d links", links)
	}
	info, err := os.Stat(m.path(kubeedge.ConfigFile))
	m.check(err)
	if info.Mode().Perm()&0o044 != 0o044 {
		t.Errorf("edgecore.yaml has mode %v", info.Mode())
	}
	c, err := kubeedge.Parse([]byte(m.read(kubeedge.ConfigFile)))
	m.check(err)
	hub, edged := c.Modules.EdgeHub, c.Modules.Edged
	if hub.Token != "a.b.c.d" || hub.HTTPServer != "https://192.0.2.1:10002" || hub.WebSocket.Server != "192.0.2.1:10000" {
		t.Errorf("edgeHub is %+v", hub)
	}
	if edged.Labels["site"] != "hall-3" || edged.HostnameOverride != "edge-1" || edged.RemoteRuntimeEndpoint != "unix:///var/run/crio/crio.sock" || edged.CgroupDriver != "systemd" {
		t.Errorf("edged is %+v", edged)
	}
	link := "ln " + m.path("etc/kubeedge/edgecore.service") + " " + m.path("etc/systemd/system/edgecore.service")
	want := "ps aux\npidof edgecore\ndpkg --print-architecture\nfile " + m.path("sbin/init") + "\nsudo " + link +
		"\nsudo systemctl daemon-reload\nsystemctl daemon-reload\nsudo systemctl enable edgecore\nsystemctl enable edgecore\nsudo systemctl start edgecore\nsystemctl start edgecore\n"
	if got := m.calls(); got != want {
		t.Errorf("the commands were:\n%swant:\n%s", got, want)
	}
}

func TestJoinFails(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*machine)
		args    []string
		code    int
		text    string
		left    string // what is there afterwards
	}{
		"no flags":            {nil, []string{"join"}, 255, `Error: required flag(s) "cloudcore-ipport" not set`, ""},
		"version with v":      {nil, guide("--kubeedge-version=v1.8.2"), 2, "semver", ""},
		"label without value": {nil, guide("--labels=site"), 2, "index out of range", "usr/local/bin/edgecore"},
		"no package manager": {func(m *machine) {
			m.check(os.Remove(filepath.Join(m.bin, "apt")))
			m.command("bash", `case "$2" in *pacman*) exit 1;; esac; exec /bin/bash "$@"`)
		}, guide(), 2, "package manager", ""},
		"no mosquitto":        {func(m *machine) { m.command("ps", "echo 'root 300 mosquitto'") }, guide(), 255, "apt-get install -y", ""},
		"edgecore runs":       {func(m *machine) { m.command("pidof", "echo 77") }, guide(), 255, "Error: EdgeCore is already running", ""},
		"no pidof":            {func(m *machine) { m.command("pidof", "exit 127") }, guide(), 255, "pidof", ""},
		"no tarball":          {func(m *machine) { m.check(os.Remove(m.path("etc/kubeedge/" + tarName))) }, guide(), 255, "wget", ""},
		"no unit":             {func(m *machine) { m.check(os.Remove(m.path("etc/kubeedge/edgecore.service"))) }, guide(), 255, "wget -t 5", ""},
		"cgroup driver":       {nil, guide("--cgroupdriver=none"), 255, "CGroupDriver", "usr/local/bin/edgecore"},
		"unit already linked": {func(m *machine) { m.write("etc/systemd/system/edgecore.service", "x") }, guide(), 255, "File exists", kubeedge.ConfigFile},
		"node name":           {nil, guide("--edgenode-name=Edge_1"), 255, "DNS-1123", "usr/local/bin/edgecore"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if c.prepare != nil {
				c.prepare(m)
			}
			code, out := keadm(t, strings.NewReader(""), c.args...)
			if code != c.code || !strings.Contains(out, c.text) {
				t.Errorf("exit code %d, want %d: %s", code, c.code, out)
			}
			for _, file := range []string{"usr/local/bin/edgecore", kubeedge.ConfigFile} {
				if c.left == "" && m.has(file) {
					t.Errorf("%s is left behind", file)
				}
			}
			if c.left != "" && !m.has(c.left) {
				t.Errorf("%s is missing", c.left)
			}
		})
	}
}

// patience is standard input at its end, which has an answer after all when it was read often.
type patience struct {
	ends   int
	answer string
}

func (p *patience) Read(b []byte) (int, error) {
	if p.ends > 0 {
		p.ends--
		return 0, io.EOF
	}
	n := copy(b, p.answer[:1])
	p.answer = p.answer[1:]
	return n, nil
}

// TestPrompt has a checksum that does not fit: with a name behind the digits, wrong, or missing.
func TestPrompt(t *testing.T) {
	m := newMachine(t)
	digits := strings.TrimSpace(m.read("etc/kubeedge/" + sumName))
	for name, text := range map[string]string{"sha512sum's line": digits + "  " + tarName + "\n", "wrong": "00\n", "missing": ""} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.write("etc/kubeedge/"+sumName, text)
			if text == "" {
				m.check(os.Remove(m.path("etc/kubeedge/" + sumName)))
			}
			code, out := keadm(t, &patience{50, "n\n"}, guide()...)
			if code != 0 || strings.Count(out, "EOF\n[y/N]: \n") != 50 || !strings.Contains(out, "failed to checksum and will continue") {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
}

// TestDownloadsAnew answers y: the tarball goes, and a better one comes.
func TestDownloadsAnew(t *testing.T) {
	m := newMachine(t)
	good := m.read("etc/kubeedge/" + tarName)
	m.write("etc/kubeedge/"+tarName, "damaged")
	m.write("served", good)
	m.command("wget", "cp "+m.path("served")+" "+tarName)
	code, out := keadm(t, strings.NewReader("what\ny\n"), guide()...)
	if code != 0 || !strings.Contains(out, "invalid Input") || m.read("etc/kubeedge/"+tarName) != good {
		t.Errorf("exit code %d: %s", code, out)
	}
	if !strings.Contains(m.calls(), "wget -k --no-check-certificate --progress=bar:force https://github.com/kubeedge/kubeedge/releases/download/v1.8.2/"+tarName) {
		t.Errorf("the commands were %s", m.calls())
	}
}

func TestGivesUpAfterThreeDownloads(t *testing.T) {
	m := newMachine(t)
	m.check(os.Remove(m.path("etc/kubeedge/" + tarName)))
	m.command("wget", "echo bad > "+tarName)
	if code, out := keadm(t, strings.NewReader(""), guide()...); code != 255 || strings.Count(m.calls(), "wget -k") != 3 || m.has("etc/kubeedge/"+tarName) {
		t.Errorf("exit code %d: %s\n%s", code, out, m.calls())
	}
}

// TestAddresses has what people type: an address of IPv6, no port, another port for certificates.
func TestAddresses(t *testing.T) {
	for address, want := range map[string][2]string{
		"cloud.example.org":    {"cloud.example.org", "https://cloud.example.org:10002"},
		"[2001:db8::1]:10000":  {"[2001:db8::1]:10000", "https://[2001:10002"},
		"192.0.2.1:30000":      {"192.0.2.1:30000", "https://192.0.2.1:10002"},
		"192.0.2.1:30000 3333": {"192.0.2.1:30000", "https://192.0.2.1:3333"},
	} {
		t.Run(address, func(t *testing.T) {
			m := newMachine(t)
			address, port, _ := strings.Cut(address, " ")
			if code, out := keadm(t, strings.NewReader(""), guide("--cloudcore-ipport="+address, "--certport="+port)...); code != 0 {
				t.Fatalf("exit code %d: %s", code, out)
			}
			c, err := kubeedge.Parse([]byte(m.read(kubeedge.ConfigFile)))
			m.check(err)
			if got := [2]string{c.Modules.EdgeHub.WebSocket.Server, c.Modules.EdgeHub.HTTPServer}; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestVersionFromNetwork has no network, and a portal that answers for the network.
func TestVersionFromNetwork(t *testing.T) {
	m := newMachine(t)
	if code, out := keadm(t, strings.NewReader(""), guide("--kubeedge-version=")...); code != 255 || strings.Count(m.calls(), "curl -k") != 5 || !strings.Contains(out, "v1.5.0") {
		t.Errorf("exit code %d: %s", code, out)
	}
	m.command("curl", "echo '<html>'")
	if code, out := keadm(t, strings.NewReader(""), guide("--kubeedge-version=")...); code != 2 {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestWithoutSystemd(t *testing.T) {
	m := newMachine(t)
	m.command("file", "exit 1")
	release := pack(t, "kubeedge-v1.8.2-linux-arm64/edge/edgecore", "#!/bin/sh\n")
	m.write("etc/kubeedge/"+tarName, release)
	m.write("etc/kubeedge/"+sumName, fmt.Sprintf("%x", sha512.Sum512([]byte(release))))
	if code, out := keadm(t, strings.NewReader(""), guide()...); code != 0 || strings.Contains(m.calls(), "systemctl") {
		t.Errorf("exit code %d: %s %s", code, out, m.calls())
	}
}

func TestReset(t *testing.T) {
	for name, c := range map[string]struct {
		pidof, stdin string
		args         []string
		code         int
		text         string
		empties      bool
	}{
		"nothing runs": {"exit 1", "", []string{"reset"}, 0, "None of KubeEdge components", false},
		"EOF":          {"echo 7", "", []string{"reset"}, 255, "aborted", false},
		"no":           {"echo 7", "n\n", []string{"reset"}, 255, "aborted", false},
		"yes":          {"echo 7", "y\n", []string{"reset"}, 0, "", true},
		"force":        {"echo 7", "", []string{"reset", "--force"}, 0, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.command("pidof", c.pidof)
			m.command("systemctl", `[ "$1" != list-unit-files ] || echo 'edgecore.service enabled'`)
			m.write("etc/systemd/system/edgecore.service", "x")
			m.write("var/lib/kubeedge/edgecore.db", "x")
			code, out := keadm(t, strings.NewReader(c.stdin), c.args...)
			if code != c.code || !strings.Contains(out, c.text) {
				t.Errorf("exit code %d, want %d: %s", code, c.code, out)
			}
			for _, file := range []string{"etc/kubeedge/" + tarName, "etc/systemd/system/edgecore.service", "var/lib/kubeedge/edgecore.db"} {
				if m.has(file) == c.empties {
					t.Errorf("%s is there: %v", file, !c.empties)
				}
			}
		})
	}
}

func TestVersionAndWhatIsAbsent(t *testing.T) {
	if code, out := keadm(t, strings.NewReader(""), "version"); code != 0 || !strings.Contains(out, "v1.8.2") {
		t.Errorf("%d %s", code, out)
	}
	if code, out := keadm(t, strings.NewReader(""), "gettoken"); code != 255 || !strings.Contains(out, "stand-in") {
		t.Errorf("%d %s", code, out)
	}
}
