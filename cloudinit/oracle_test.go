package cloudinit_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/test/oracle"
)

// python runs a script with the interpreter of the distribution, which has cloud-init's modules.
func python(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	oracle.Need(t, "cloud-init")
	cmd := exec.Command(oracle.Need(t, "/usr/bin/python3"), append([]string{"-c", script}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, stderr.String())
	}
	return out
}

// TestSchema lets the real cloud-init judge the user-data of every kind. A deprecated key would be
// one more line.
func TestSchema(t *testing.T) {
	tool := oracle.Need(t, "cloud-init")
	for _, name := range []string{"plain", "full"} {
		n := nodes()[name]
		n.WiFi, n.Addresses, n.NameServers, n.Gateway = nil, nil, nil, ""
		path := filepath.Join(t.TempDir(), "user-data")
		if err := os.WriteFile(path, render(t, n, cloudinit.KindOpenStack)["user-data"], 0o600); err != nil {
			t.Fatal(err)
		}
		files := []string{path, filepath.Join("testdata", name+".user-data")}
		for _, file := range files {
			out, err := exec.Command(tool, "schema", "--config-file", file).CombinedOutput()
			if want := "Valid cloud-config: " + file + "\n"; err != nil || string(out) != want {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	}
}

// knownKeys are the keys of user-data that cloud-init 21.4, 22.2, 22.4 and 23.1 all know and none calls
// deprecated: the documentation of the modules set_hostname, users_groups, bootcmd, write_files, runcmd
// and set_passwords, and cloud-init's schema since 22.2.
const knownKeys = `bootcmd fqdn hostname runcmd ssh_pwauth users users.gecos users.groups users.lock_passwd users.name users.shell
users.ssh_authorized_keys users.sudo write_files write_files.content write_files.path write_files.permissions`

// knownNetworkKeys are of netplan 0.99 (Ubuntu 18.04); it takes no file with a key that it does not know.
const knownNetworkKeys = `version ethernets ethernets.match ethernets.match.macaddress ethernets.match.name ethernets.dhcp4 ethernets.dhcp-identifier
ethernets.dhcp4-overrides ethernets.dhcp4-overrides.use-dns ethernets.optional ethernets.addresses ethernets.routes ethernets.routes.to ethernets.routes.via
ethernets.nameservers ethernets.nameservers.addresses wifis wifis.dhcp4 wifis.dhcp-identifier wifis.optional wifis.access-points wifis.access-points.password`

func TestOnlyKeysThatOldVersionsKnow(t *testing.T) {
	dhcp := nodes()["full"]
	dhcp.Addresses, dhcp.Gateway = nil, ""
	for _, n := range []cloudinit.Node{nodes()["plain"], nodes()["full"], dhcp} {
		files := render(t, n, cloudinit.KindNoCloud)
		for name, known := range map[string]string{"user-data": knownKeys, "network-config": knownNetworkKeys} {
			var doc map[string]any
			if err := yaml.Unmarshal(files[name], &doc); err != nil {
				t.Fatal(err)
			}
			for _, key := range keys(doc, "") {
				if !slices.Contains(strings.Fields(known), key) {
					t.Errorf("%s: key %s is not one that every version knows", name, key)
				}
			}
		}
	}
}

// keys lists the paths of keys; names that the user chose (interfaces, networks) are left out.
func keys(v any, prefix string) (list []string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			list = append(list, keys(e, prefix)...)
		}
	case map[string]any:
		named := strings.HasSuffix(prefix, "access-points.") || prefix == "ethernets." || prefix == "wifis."
		for k, e := range v {
			if named {
				list = append(list, keys(e, prefix)...)
			} else {
				list = append(list, prefix+k)
				list = append(list, keys(e, prefix+k+".")...)
			}
		}
	}
	return list
}

// TestNetplanAccepts lets netplan's generator, which refuses keys it does not know, read the files.
func TestNetplanAccepts(t *testing.T) {
	six := cloudinit.Node{Name: "six", CloudCore: "192.0.2.1:10000", Addresses: []string{"2001:db8::2/64"}, Gateway: "2001:db8::1"}
	servers := cloudinit.Node{Name: "dns", CloudCore: "192.0.2.1:10000", NameServers: []string{"192.0.2.53"}, WiFi: &cloudinit.WiFi{SSID: "open"}}
	for name, want := range map[string]string{"plain": "ClientIdentifier=mac", "full": "Gateway=10.0.2.2", "six": "Gateway=2001:db8::1", "dns": "UseDNS=false"} {
		n, ok := nodes()[name]
		if !ok {
			n = map[string]cloudinit.Node{"six": six, "dns": servers}[name]
		}
		root := netplan(t, render(t, n, cloudinit.KindNoCloud)["network-config"])
		unit, err := os.ReadFile(filepath.Join(root, "run/systemd/network/10-netplan-wired.network"))
		if err != nil || !strings.Contains(string(unit), want) {
			t.Errorf("%s: nothing of %s (%v) in\n%s", name, want, err, unit)
		}
	}
}

// nasty are texts that look like something else to some reader of YAML, JSON or a shell.
func nasty() []string {
	return []string{
		"on", "No", "~", "null", "12:30:45", "1e3", "0x1F", "0o17", "1_000", "017", "=", "<<", "!!str x", "&a", "*a", "- x", "? x", ": x", "a: b",
		"# x", "x # y", "%TAG", "@x", "`x`", "'", "\"", "\\", "\\n", "x\\", "{a: b}", "[x]", "| x", "> x", "--- x", "...", "$(id)", "${HOME}", "`id`",
		" x ", "x ", "ü", "日本語", "🛰", "a\u00ada", "\u202ex", "x\ny", "x\r", "\x00", "\x7f", "\u0085", "\u2028", "\ufeff", "\ufffe", "\xff",
		"key: |\n  x", "2001-01-01", ".5", "+1", "0.0.0.0/0", "y", "10:20", "-", "--", "\t",
	}
}

// TestNothingBreaksOut puts nasty text wherever a node takes text: it is refused, or PyYAML, which
// is cloud-init's reader, reads exactly that text in its place.
func TestNothingBreaksOut(t *testing.T) {
	dir, want := t.TempDir(), map[string][]string{}
	for i, text := range nasty() {
		n := nodes()["plain"]
		n.SSHKeys, n.WiFi = []string{publicKey + " " + text}, &cloudinit.WiFi{SSID: text, Password: "12345678"}
		if files, err := cloudinit.Render(n, cloudinit.KindNoCloud); err == nil {
			name := fmt.Sprint(i)
			want[name] = []string{n.SSHKeys[0], text}
			for _, f := range files {
				if err := os.WriteFile(filepath.Join(dir, name+"."+f.Name), f.Content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		} else if !strings.ContainsAny(text, "\n\r\x00\x7f\t") && !strings.Contains(err.Error(), "printable") && !strings.Contains(err.Error(), "backslash") && !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if len(want) < 40 {
		t.Fatalf("only %d texts were taken", len(want))
	}
	out := python(t, `
import sys, os, json, yaml
d = sys.argv[1]
got = {}
for f in os.listdir(d):
    if f.endswith(".user-data"):
        n = f.split(".")[0]
        u = yaml.safe_load(open(d + "/" + f, encoding="utf-8"))
        w = yaml.safe_load(open(d + "/" + n + ".network-config", encoding="utf-8"))
        assert len(u["users"]) == 1 and len(u["write_files"]) == 1, f
        got[n] = u["users"][0]["ssh_authorized_keys"] + list(w["wifis"]["wlan0"]["access-points"])
print(json.dumps(got))`, dir)
	var got map[string][]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +read by PyYAML:\n%s", d)
	}
}

// TestConfigDriveNetwork lets cloud-init translate network_data.json.
func TestConfigDriveNetwork(t *testing.T) {
	n := nodes()["full"]
	n.WiFi = nil
	files := readISO(t, render(t, n, cloudinit.KindConfigDrive)["config-2.iso"])
	if files["openstack/latest/user_data"] == "" || files["openstack/latest/user_data"] != files["openstack/2012-08-10/user_data"] {
		t.Error("the two versions are not the same")
	}
	out := python(t, `
import sys, json
from cloudinit.sources.helpers.openstack import convert_net_json
from cloudinit.net.network_state import parse_net_config_data
state = parse_net_config_data(convert_net_json(json.loads(sys.argv[1]), known_macs={"52:54:00:12:34:56": "eth0"}))
eth0 = list(state.iter_interfaces())[0]
for s in eth0["subnets"]:
    print(eth0["name"], s["type"], s["address"], s.get("prefix"), [r["network"] + "/" + str(r["prefix"]) + " via " + r["gateway"] for r in s.get("routes", [])])
print(state.dns_nameservers)`, files["openstack/2012-08-10/network_data.json"])
	want := "eth0 static 10.0.2.15 24 ['0.0.0.0/0 via 10.0.2.2']\neth0 static6 fec0::15 64 []\n['10.0.2.3']\n"
	if string(out) != want {
		t.Errorf("cloud-init reads\n%swant\n%s", out, want)
	}
}

// readISO extracts an image with xorriso, by the names that Linux shows.
func readISO(t *testing.T, image []byte) map[string]string {
	t.Helper()
	path, dir := filepath.Join(t.TempDir(), "seed.iso"), filepath.Join(t.TempDir(), "files")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(oracle.Need(t, "xorriso"), "-osirrox", "on", "-indev", path, "-extract", "/", dir).CombinedOutput()
	if err != nil || strings.Contains(string(out), "WARNING") {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	files := map[string]string{}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path) // below dir
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestISO(t *testing.T) {
	for label, kind := range map[string]cloudinit.Kind{"cidata": cloudinit.KindISO, "config-2": cloudinit.KindConfigDrive} {
		n := nodes()["full"]
		if kind == cloudinit.KindConfigDrive {
			n.WiFi = nil
		}
		image := render(t, n, kind)[label+".iso"]
		path := filepath.Join(t.TempDir(), "seed.iso")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(oracle.Need(t, "blkid"), "-p", "-o", "export", path).Output()
		if err != nil || !strings.Contains(string(out), "\nLABEL="+label+"\n") || !strings.Contains(string(out), "\nTYPE=iso9660\n") {
			t.Errorf("blkid: %v %s", err, out)
		}
		files := readISO(t, image)
		if kind == cloudinit.KindConfigDrive {
			if len(files) != 6 {
				t.Errorf("the config drive has %d files", len(files))
			}
			continue
		}
		want := map[string]string{}
		for name, content := range render(t, n, cloudinit.KindNoCloud) {
			want[name] = string(content)
		}
		// The one difference: a disk has the token among the files to write.
		entry := "  - path: /var/lib/edgebake/token\n    permissions: \"0600\"\n    content: |\n      " + token + "\n"
		if files["user-data"] = strings.Replace(files["user-data"], entry, "", 1); strings.Contains(files["user-data"], token) {
			t.Error("the token is not where it was looked for")
		}
		delete(want, cloudinit.TokenFile)
		if d := cmp.Diff(want, files); d != "" {
			t.Error(d)
		}
	}
}
