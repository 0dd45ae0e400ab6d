package cloudinit_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/edgebake/edgebake/cloudinit"
)

func TestFaultsOfNodes(t *testing.T) {
	for _, c := range []struct {
		change func(*cloudinit.Node)
		want   string
	}{
		{func(n *cloudinit.Node) { n.Name = "Edge_1" }, `name "Edge_1" is not one that Kubernetes takes`},
		{func(n *cloudinit.Node) { n.Name = strings.Repeat("a", 40) + "." + strings.Repeat("b", 40) }, "up to 63"},
		{func(n *cloudinit.Node) { n.Role = "boss" }, `role "boss"`},
		{func(n *cloudinit.Node) { n.CloudCore = "" }, "cloudcore \"\": it is empty"},
		{func(n *cloudinit.Node) { n.CloudCore = "cloud.example.org" }, "the port is missing"},
		{func(n *cloudinit.Node) { n.CloudCore = "[2001:db8::1]:10000" }, "IPv6"},
		{func(n *cloudinit.Node) { n.CloudCore = "192.0.2.256:10000" }, `host "192.0.2.256"`},
		{func(n *cloudinit.Node) { n.CloudCore = "192.0.2.1:010000" }, `port "010000"`},
		{func(n *cloudinit.Node) { n.CloudCore = "wss://cloud.example.org:1" }, "colon"},
		{func(n *cloudinit.Node) { n.CertPort = 65536 }, "certport 65536"},
		{func(n *cloudinit.Node) { n.Token = "a b" }, "token has a space"},
		{func(n *cloudinit.Node) { n.Labels = map[string]string{"a b": "c"} }, `labels: key "a b"`},
		{func(n *cloudinit.Node) { n.Labels = map[string]string{"a": "b,c=d"} }, `labels: value "b,c=d" of a`},
		{func(n *cloudinit.Node) { n.Labels = map[string]string{"a": "b\nTOKEN=x"} }, `value "b\nTOKEN=x"`},
		{func(n *cloudinit.Node) { n.MAC = "b8:27:eb" }, `mac "b8:27:eb"`},
		{func(n *cloudinit.Node) { n.MAC = "b8-27-eb-01-02-03" }, `mac "b8-27-eb-01-02-03"`},
		{func(n *cloudinit.Node) { n.MAC = "01:00:5e:00:00:01" }, "is not the address of a network card"},
		{func(n *cloudinit.Node) { n.Addresses = []string{"192.0.2.1"} }, `addresses: "192.0.2.1"`},
		{func(n *cloudinit.Node) { n.Gateway = "192.0.2.1" }, "without addresses"},
		{func(n *cloudinit.Node) { n.Addresses, n.Gateway = []string{"192.0.2.9/28"}, "192.0.2.17" }, "in the network of none of the addresses"},
		{func(n *cloudinit.Node) { n.NameServers = []string{"fe80::1%eth0"} }, "nameservers"},
		{func(n *cloudinit.Node) { n.WiFi = &cloudinit.WiFi{} }, "wifi: SSID"},
		{func(n *cloudinit.Node) { n.WiFi = &cloudinit.WiFi{SSID: `a\nb`} }, "has a backslash"},
		{func(n *cloudinit.Node) { n.WiFi = &cloudinit.WiFi{SSID: `a"b #1`} }, "# after a quotation mark"},
		{func(n *cloudinit.Node) { n.WiFi = &cloudinit.WiFi{SSID: "x", Password: "secret1"} }, "has 7 bytes"},
		{func(n *cloudinit.Node) { n.WiFi = &cloudinit.WiFi{SSID: "x", Country: "ch"} }, `country "ch"`},
		{func(n *cloudinit.Node) { n.User = "Root" }, `user "Root" is not`},
		{func(n *cloudinit.Node) { n.User = "operator" }, `user "operator" is a user or group of the system`},
		{func(n *cloudinit.Node) { n.SSHKeys = []string{"/home/me/.ssh/id.pub"} }, "is it the name of a file?"},
		{func(n *cloudinit.Node) { n.SSHKeys = []string{"-----BEGIN OPENSSH PRIVATE KEY-----"} }, "private key"},
		{func(n *cloudinit.Node) { n.SSHKeys = []string{strings.Replace(publicKey, "ssh-ed25519", "ssh-rsa", 1)} }, `it says "ssh-rsa"`},
		{func(n *cloudinit.Node) { n.SSHKeys = []string{"ssh-ed25519 /////w=="} }, "cut off"},
		{func(n *cloudinit.Node) { n.SSHKeys = []string{publicKey + "\n" + publicKey} }, "U+000A"},
		{func(n *cloudinit.Node) { n.TimeServers = []string{"a b"} }, "timeservers"},
		{func(n *cloudinit.Node) { n.Proxy = "http://user:pass@proxy:3128" }, "user or password"},
		{func(n *cloudinit.Node) { n.Proxy = "http://proxy:3128/\" evil" }, "is not http://HOST:PORT"},
		{func(n *cloudinit.Node) { n.ClusterDNS = "dns" }, "clusterdns"},
		{func(n *cloudinit.Node) { n.ClusterDomain = "Cluster.local" }, "clusterdomain"},
		{func(n *cloudinit.Node) { n.NodeIP = "10.0.0.0/8" }, "nodeip"},
		{func(n *cloudinit.Node) { n.Serial = "a\x00" }, "serial"},
	} {
		n := nodes()["plain"]
		c.change(&n)
		files, err := cloudinit.Render(n, cloudinit.KindNoCloud)
		if err == nil || len(files) > 0 || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "pass@") || strings.Contains(err.Error(), "secret1") {
			t.Errorf("the fault is %v, not %q", err, c.want)
		}
	}
}

func TestAllFaultsOfANode(t *testing.T) {
	err := cloudinit.Node{Name: "A", Role: "x", Proxy: "ftp://x"}.Check()
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not three lines: %v", err)
	}
}

func TestKindsRefuseWhatTheyCannotSay(t *testing.T) {
	n := nodes()["full"]
	many := nodes()["plain"]
	for i := range 600 {
		many.SSHKeys = append(many.SSHKeys, fmt.Sprintf("%s key-%d", publicKey, i))
	}
	nameless := nodes()["plain"]
	nameless.Addresses = []string{"192.0.2.2/24"}
	for _, c := range []struct {
		node cloudinit.Node
		kind cloudinit.Kind
		want string
	}{
		{n, cloudinit.KindConfigDrive, "wifi: a config drive cannot say it"},
		{n, cloudinit.KindOpenStack, "cannot be said in user-data"},
		{nameless, cloudinit.KindConfigDrive, "mac is empty"},
		{many, cloudinit.KindOpenStack, "OpenStack takes 65535"},
		{n, "floppy", `unknown kind "floppy"`},
	} {
		if _, err := cloudinit.Render(c.node, c.kind); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the fault is %v, not %q", c.kind, err, c.want)
		}
	}
}

// TestInstanceID: a fresh token is the same instance, anything else a new one.
func TestInstanceID(t *testing.T) {
	full := nodes()["full"]
	id := full.InstanceID()
	if !regexp.MustCompile(`^iid-edge-2\.example\.org-[0-9a-f]{8}$`).MatchString(id) {
		t.Errorf("it is %s", id)
	}
	fresh := full
	fresh.Token = "another"
	if fresh.InstanceID() != id {
		t.Error("a fresh token makes a new instance")
	}
	seen := map[string]int{id: -1}
	for i, change := range []func(*cloudinit.Node){
		func(n *cloudinit.Node) { n.CloudCore = "192.0.2.2:10000" },
		func(n *cloudinit.Node) { n.CertPort++ },
		func(n *cloudinit.Node) { n.Labels = nil },
		func(n *cloudinit.Node) { n.MAC = "52:54:00:12:34:57" },
		func(n *cloudinit.Node) { n.Serial = "2" },
		func(n *cloudinit.Node) { n.Addresses = n.Addresses[:1] },
		func(n *cloudinit.Node) { n.Gateway = "" },
		func(n *cloudinit.Node) { n.NameServers = nil },
		func(n *cloudinit.Node) { n.WiFi = nil },
		func(n *cloudinit.Node) {
			n.WiFi = &cloudinit.WiFi{SSID: n.WiFi.SSID, Password: "other word", Country: "CH"}
		},
		func(n *cloudinit.Node) { n.User = "" },
		func(n *cloudinit.Node) { n.SSHKeys = nil },
		func(n *cloudinit.Node) { n.TimeServers = n.TimeServers[1:] },
		func(n *cloudinit.Node) { n.Proxy = "" },
		func(n *cloudinit.Node) { n.ClusterDNS = "" },
		func(n *cloudinit.Node) { n.ClusterDomain = "" },
		func(n *cloudinit.Node) { n.NodeIP = "" },
		func(n *cloudinit.Node) { n.EdgeStream = false },
		func(n *cloudinit.Node) { n.MetaServer = false },
		func(n *cloudinit.Node) { n.Role = "none" },
	} {
		n := full
		change(&n)
		if j, again := seen[n.InstanceID()]; again {
			t.Errorf("changes %d and %d are the same instance", i, j)
		}
		seen[n.InstanceID()] = i
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	n := nodes()["full"]
	encoded, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", n, n, n, n, n), fmt.Sprintf("%+v %#v", []cloudinit.Node{n}, n.WiFi), string(encoded)} {
		if strings.Contains(text, token) || strings.Contains(text, "word'") {
			t.Errorf("a secret is in %s", text)
		}
	}
}

// FuzzNode: whatever a node has, its seed is refused or says it in its place.
func FuzzNode(f *testing.F) {
	for _, text := range nasty() {
		f.Add("edge-1", "192.0.2.1:10000", text, text, text, text, text)
		f.Add(text, text, "zone", "hall", "ssid", "password", "http://proxy:3128")
	}
	line := regexp.MustCompile(`^[A-Z_]+=[A-Za-z0-9._:/,=@%+-]*$`)
	f.Fuzz(func(t *testing.T, name, cloudcore, key, value, ssid, password, proxy string) {
		n := cloudinit.Node{
			Name: name, CloudCore: cloudcore, Labels: map[string]string{key: value}, Token: value, Proxy: proxy, ClusterDomain: key, NodeIP: value,
			WiFi: &cloudinit.WiFi{SSID: ssid, Password: password}, User: key, TimeServers: []string{value}, SSHKeys: []string{publicKey + " " + ssid},
		}
		for range 2 { // all at once is nearly never right
			if n.Check() == nil {
				break
			}
			n.ClusterDomain, n.NodeIP, n.User, n.TimeServers, n.Token = "", "", "", nil, ""
		}
		if _, err := cloudinit.Render(n, cloudinit.KindISO); err != nil {
			return
		}
		files, err := cloudinit.Render(n, cloudinit.KindNoCloud)
		if err != nil {
			t.Fatal(err)
		}
		var user cloudinit.UserData
		var network cloudinit.Network
		for _, file := range files {
			switch file.Name {
			case "user-data":
				err = yaml.Unmarshal(file.Content, &user)
			case "network-config":
				err = yaml.Unmarshal(file.Content, &network)
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", file.Name, err, file.Content)
			}
		}
		if got := network.WiFis["wlan0"].AccessPoints; len(got) != 1 || got[ssid].Password != password {
			t.Errorf("the networks are %v", len(got))
		}
		if got := user.Users[0].SSHAuthorizedKeys; len(got) != 1 || got[0] != n.SSHKeys[0] {
			t.Errorf("the keys are %q", got)
		}
		conf := strings.Split(strings.TrimSuffix(user.WriteFiles[0].Content, "\n"), "\n")
		if len(conf) != 9 || conf[0] != "NODE_NAME="+name || conf[1] != "CLOUDCORE="+cloudcore {
			t.Errorf("join.conf is %q", conf)
		}
		for _, l := range conf {
			if !line.MatchString(l) {
				t.Errorf("join.conf has %q", l)
			}
		}
	})
}
