package test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/test/oracle"
)

// seedToken is in the seeds of the boot tests. It is of no cluster.
const seedToken = "6b9d1f0c.eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3NjQwMDAwMDB9.c2lnbmF0dXJl"

// seedBootLimit is for one boot under TCG. An idle machine needs about 100 s; one with ten jobs for each core took 14 minutes.
const seedBootLimit = 20 * time.Minute

// seedPassword is of the wireless network in the seed; wpa_supplicant could not read it as it is.
const seedPassword = `say "hi" #3`

// TestBootSeeds boots the amd64 image with each kind of seed for virtual machines and logs in with the
// seed's key. One of them runs cloud-init to its end; with the others, what differs is over when one can
// log in. The files of a Raspberry Pi's FAT are those of the check of the join.
func TestBootSeeds(t *testing.T) {
	t.Parallel()
	run := edgebake(t)
	s := shared(t)
	s.locked(t, run, "edge-debian-12-amd64")
	image := bake(t, run, "edge-debian-12-amd64", s.store, s.locks, "--no-boot").image
	key, public := sshKey(t)
	for _, kind := range []cloudinit.Kind{cloudinit.KindISO, cloudinit.KindConfigDrive, cloudinit.KindOpenStack} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel() // cloud-init keeps one processor busy
			b := &seedBoot{t: t, image: image, key: key, node: seedNode(kind, public), kind: kind}
			b.start()
			b.check()
		})
	}
}

func seedNode(kind cloudinit.Kind, public string) cloudinit.Node {
	n := cloudinit.Node{
		Name: "node-" + string(kind) + ".example.org", CloudCore: "192.0.2.1:10000", Token: seedToken,
		User: "technician", SSHKeys: []string{public}, TimeServers: []string{"ntp.example.org"}, Proxy: "http://192.0.2.7:3128",
		Labels: map[string]string{"zone": "hall-3"},
	}
	if kind != cloudinit.KindOpenStack {
		n.MAC = "52:54:00:12:34:56" // QEMU's first card
		n.Addresses, n.Gateway, n.NameServers = []string{"10.0.2.15/24"}, "10.0.2.2", []string{"10.0.2.3"}
	}
	if kind == cloudinit.KindISO {
		n.WiFi = &cloudinit.WiFi{SSID: "hall: 3", Password: seedPassword, Country: "CH"}
	}
	return n
}

func sshKey(t *testing.T) (path, public string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key")
	tool(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edge node's owner: # 1", "-f", path)
	line, err := os.ReadFile(path + ".pub")
	must(t, err)
	return path, strings.TrimSpace(string(line))
}

// A seedBoot is a machine with one seed.
type seedBoot struct {
	t          *testing.T
	image, key string
	node       cloudinit.Node
	kind       cloudinit.Kind
	port       int
}

// start boots the machine until one can log in. The machine ends with the test.
func (b *seedBoot) start() {
	t := b.t
	t.Helper()
	files, err := cloudinit.Render(b.node, b.kind)
	must(t, err)
	dir := t.TempDir()
	b.port = freePort(t)
	o := verify.Options{Arch: "amd64", WorkDir: dir, SSHPort: b.port}
	plan, err := verify.Plan(t.Context(), b.image, o)
	must(t, err)
	switch b.kind {
	case cloudinit.KindISO, cloudinit.KindConfigDrive:
		path := filepath.Join(dir, files[0].Name)
		must(t, os.WriteFile(path, files[0].Content, 0o600))
		plan.Machine.Disks = append(plan.Machine.Disks, vm.Disk{Path: path, ReadOnly: true})
	case cloudinit.KindOpenStack:
		plan.Machine.Product = "OpenStack Nova"
		plan.Machine.UserNet = metadataNet(t, dir, files[0].Content)
	}
	began := time.Now()
	console := &consoleLog{}
	machine, err := vm.Start(t.Context(), plan.Machine, vm.Options{Console: console, Timeout: seedBootLimit})
	must(t, err)
	t.Cleanup(func() { machine.Kill(); _ = machine.Wait() }) // it was killed
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !b.answers() {
		select {
		case <-tick.C:
		case <-machine.Done():
			t.Fatalf("the machine ended: %v\n%s", machine.Wait(), lastPart(console.String()))
		}
	}
	t.Logf("SSH answered after %.0f s", time.Since(began).Seconds())
	t.Cleanup(func() {
		t.Logf("the machine ran for %.0f s", time.Since(began).Seconds())
		if t.Failed() {
			t.Logf("its console:\n%s", lastPart(console.String()))
		}
	})
}

// answers reports whether the machine's SSH server speaks: cloud-init starts it when users, keys and
// files are there. Before that QEMU takes the connection, and closes it.
func (b *seedBoot) answers() bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", b.port), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	must(b.t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	hello := make([]byte, 4)
	_, err = io.ReadFull(conn, hello)
	return err == nil && string(hello) == "SSH-"
}

// consoleLog is what a machine has printed.
type consoleLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *consoleLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *consoleLog) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// metadataNet is a network in which 169.254.169.254 answers as OpenStack's metadata service does: QEMU
// starts the script for each connection, as inetd would.
func metadataNet(t *testing.T, dir string, userData []byte) string {
	t.Helper()
	root := filepath.Join(dir, "metadata")
	must(t, os.MkdirAll(filepath.Join(root, "openstack", "latest"), 0o755))
	for name, content := range map[string]string{
		"openstack/index":                 "latest\n",
		"openstack/latest/index":          "meta_data.json\nuser_data\n",
		"openstack/latest/meta_data.json": `{"uuid": "d8e02d56-2648-49a3-bf97-6be8f1204f38", "hostname": "from-nova.novalocal", "name": "from-nova"}`,
		"openstack/latest/user_data":      string(userData),
	} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o600))
	}
	script := filepath.Join(dir, "metadata.sh")
	must(t, os.WriteFile(script, []byte(fmt.Sprintf(`#!/bin/sh
cd '%s' || exit
read -r method path version
while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
file=.${path%%/}
[ -d "$file" ] && file=$file/index
if [ -f "$file" ]; then
	printf 'HTTP/1.0 200 OK\r\nContent-Length: %%d\r\n\r\n' "$(wc -c <"$file")"
	cat "$file"
else
	printf 'HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n'
fi
`, root)), 0o755))
	return "net=169.254.0.0/16,dhcpstart=169.254.1.15,host=169.254.0.2,dns=169.254.0.3,guestfwd=tcp:169.254.169.254:80-cmd:" + script
}

// ssh runs a command in the machine with the seed's user and key.
func (b *seedBoot) ssh(command string) string {
	b.t.Helper()
	args := []string{"-i", b.key, "-p", decimal(int64(b.port)), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "-o", "LogLevel=ERROR", b.node.User + "@127.0.0.1", command}
	out, err := exec.CommandContext(b.t.Context(), oracle.Need(b.t, "ssh"), args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// askBoot asks all in one login: under TCG each takes seconds. The last lines need cloud-init's end.
const askBoot = `
echo "hostname=$(hostname)"
echo "fqdn=$(hostname -f)"
echo "instance=$(cat /var/lib/cloud/data/instance-id)"
echo "address=$(ip -4 -o addr show dev eth0)"
echo "dns=$(resolvectl dns eth0)"
for file in /etc/edgebake/join.conf /var/lib/edgebake/token; do echo "$(stat -c %a:%U:%G $file) $file"; done
echo "token=$(cat /var/lib/edgebake/token)"
echo "password=$(getent shadow technician | cut -d: -f2)"
cat /etc/systemd/timesyncd.conf.d/50-edgebake.conf
cat /etc/systemd/system/containerd.service.d/50-edgebake-proxy.conf
cat /etc/edgebake/join.conf
`

// askEnd waits for cloud-init, and looks as the least of all users for the password of the wireless network.
const askEnd = `
echo "status=$(cloud-init status --wait | tr -d .)"
echo "time=$(timedatectl show-timesync -p SystemNTPServers)"
echo "proxy=$(systemctl show -p Environment containerd.service)"
echo "failed=$(systemctl --failed --no-legend --plain | tr "\n" " ")"
for file in /etc/netplan/50-cloud-init.yaml /var/log/cloud-init.log; do echo "$(stat -c %a:%U:%G $file) $file"; done
echo "hidden=$(grep -lF "$secret" /etc/netplan/50-cloud-init.yaml /var/log/cloud-init.log | tr "\n" " ")"
echo "open=$(setpriv --reuid nobody --regid nogroup --clear-groups grep -rlsF "$secret" /etc /run /var /tmp /boot /home | tr "\n" " ")"
echo "blame=$(systemd-analyze blame --no-pager | head -8 | tr "\n" ";")"
`

func (b *seedBoot) check() {
	b.t.Helper()
	ask := askBoot
	want := []string{
		"hostname=node-" + string(b.kind) + "\n", "fqdn=" + b.node.Name + "\n", "password=!",
		"600:root:root /etc/edgebake/join.conf", "600:root:root /var/lib/edgebake/token", "token=" + seedToken + "\n",
		"NTP=ntp.example.org\n", "HTTPS_PROXY=http://192.0.2.7:3128",
		"NODE_NAME=" + b.node.Name + "\nCLOUDCORE=192.0.2.1:10000\nCERT_PORT=10002\nLABELS=zone=hall-3\n",
	}
	if b.kind == cloudinit.KindOpenStack {
		want = append(want, "instance=d8e02d56-2648-49a3-bf97-6be8f1204f38", " 169.254.1.15/16 ")
	} else {
		want = append(want, "instance="+b.node.InstanceID(), " 10.0.2.15/24 ", "dns=Link 2 (eth0): 10.0.2.3")
	}
	if b.kind == cloudinit.KindISO {
		ask += "secret=" + b.wifiSecret() + askEnd
		want = append(want, "status: done", "time=SystemNTPServers=ntp.example.org", "proxy=Environment=HTTP_PROXY=http", "failed=\n",
			"600:root:root /etc/netplan/50-cloud-init.yaml", "640:root:adm /var/log/cloud-init.log",
			"hidden=/etc/netplan/50-cloud-init.yaml /var/log/cloud-init.log \n", "open=\n")
	}
	out := b.ssh("sudo sh -c '" + ask + "'")
	b.t.Logf("the machine says:\n%s", out)
	for _, w := range want {
		if !strings.Contains(out, w) {
			b.t.Errorf("nothing of %q", w)
		}
	}
}

// wifiSecret is what the seed's network configuration has of the wireless network's password.
func (b *seedBoot) wifiSecret() string {
	files, err := cloudinit.Render(b.node, cloudinit.KindNoCloud)
	must(b.t, err)
	for _, f := range files {
		if m := regexp.MustCompile(`(?m)password: "(.*)"$`).FindSubmatch(f.Content); m != nil {
			return string(m[1])
		}
	}
	b.t.Fatal("the seed has no password of the wireless network")
	return ""
}
