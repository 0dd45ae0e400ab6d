package inventory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/cloudinit/inventory"
)

const (
	key  = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example.org"
	tok  = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a.eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	pass = "s3cr3t: pass, word"
)

func wanted() []cloudinit.Node {
	return []cloudinit.Node{
		{
			Name: "edge-1", Role: "edge", CloudCore: "192.0.2.1:10000", CertPort: 10012, Labels: map[string]string{"zone": "hall-3", "example.org/rack": "2"},
			MAC: "dc:a6:32:01:02:03", Serial: "10000000ABCDEF01", Addresses: []string{"192.0.2.10/24", "2001:db8::10/64"}, Gateway: "192.0.2.254",
			NameServers: []string{"192.0.2.53", "2001:db8::53"}, WiFi: &cloudinit.WiFi{SSID: "Hall 3", Password: pass, Country: "CH"},
			User: "porter", SSHKeys: []string{key, key + "-2"}, TimeServers: []string{"ntp.example.org", "192.0.2.123"}, Proxy: "http://192.0.2.3:3128",
			ClusterDNS: "10.96.0.10", ClusterDomain: "cluster.local", NodeIP: "192.0.2.10", EdgeStream: true,
		},
		{Name: "edge-2.example.org", CloudCore: "cloud.example.org:10000", Labels: map[string]string{}, MetaServer: true},
	}
}

func nodes(rows []inventory.Row) []cloudinit.Node {
	var out []cloudinit.Node
	for _, r := range rows {
		if r.Node.WiFi != nil {
			r.Node.WiFi.Fingerprint = "" // another test's affair
		}
		out = append(out, r.Node)
	}
	return out
}

func TestCSV(t *testing.T) {
	const names = "MAC;Role;cloudcore;cert_port;labels;Name;serial;addresses;gateway;Name Servers;wifi-ssid;wifi-password;wifi-country;user;ssh-keys;time-servers;proxy;cluster-dns;cluster-domain;node-ip;edge-stream;meta-server\r\n"
	text := "\ufeff# our fleet\r\n" + strings.Replace(names, "Name Servers", "nameservers", 1) +
		`DC-A6-32-01-02-03;edge;192.0.2.1:10000;10012;"zone=hall-3,example.org/rack=2";edge-1;10000000ABCDEF01;"192.0.2.10/24 2001:db8::10/64";192.0.2.254;"192.0.2.53,2001:db8::53";Hall 3;` +
		pass + `;CH;porter;"` + key + ";\n" + key + `-2";ntp.example.org 192.0.2.123;http://192.0.2.3:3128;10.96.0.10;cluster.local;192.0.2.10;yes;no` + "\r\n" +
		strings.Repeat(";", 21) + "\r\n" +
		`;;cloud.example.org:10000;;"";edge-2.example.org;;;;;;;;;;;;;;;;X` + "\r\n"
	rows, err := inventory.Read("fleet.csv", []byte(text), cloudinit.Node{Labels: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted(), nodes(rows)); diff != "" {
		t.Error(diff)
	}
	if rows[0].Number != 2 || rows[0].Line != 3 || rows[1].Number != 4 || rows[1].Line != 6 {
		t.Errorf("rows %d (line %d) and %d (line %d)", rows[0].Number, rows[0].Line, rows[1].Number, rows[1].Line)
	}
}

func TestCSVSeparators(t *testing.T) {
	for _, sep := range []string{",", ";", "\t"} {
		text := strings.ReplaceAll("name|cloudcore|labels\nedge-1|c:10000|\"a=1 b=2\"\n", "|", sep)
		rows, err := inventory.Read("fleet.csv", []byte(text), cloudinit.Node{})
		if err != nil || len(rows) != 1 || len(rows[0].Node.Labels) != 2 {
			t.Errorf("%q: %v, %v", sep, rows, err)
		}
	}
}

func TestYAML(t *testing.T) {
	text := `
defaults:
  labels: {zone: hall-3}
  wifi: {ssid: Hall 3, password: "` + pass + `", country: CH}
nodes:
  - name: edge-1
    role: edge
    cloudcore: 192.0.2.1:10000
    cert-port: 10012
    labels:
      example.org/rack: 2
    mac: DC:A6:32:01:02:03
    serial: 10000000ABCDEF01
    addresses: [192.0.2.10/24, 2001:db8::10/64]
    gateway: 192.0.2.254
    nameservers:
      - 192.0.2.53
      - 2001:db8::53
    user: porter
    ssh-keys:
      - ` + key + `
      - ` + key + `-2
    time-servers: ntp.example.org 192.0.2.123
    proxy: http://192.0.2.3:3128
    cluster: {dns: 10.96.0.10, domain: cluster.local}
    node-ip: 192.0.2.10
    edge-stream: true
`
	rows, err := inventory.Read("fleet.yaml", []byte(text), cloudinit.Node{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted()[:1], nodes(rows)); diff != "" {
		t.Error(diff)
	}
	list := "- {name: edge-2.example.org, cloudcore: cloud.example.org:10000, meta-server: yes, proxy: ~, labels: {}}\n"
	if rows, err = inventory.Read("fleet.yml", []byte(list), cloudinit.Node{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted()[1:], nodes(rows)); diff != "" {
		t.Error(diff)
	}
}

// TestFaults has one row for each thing that can be wrong.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		column, value string
		says          string
	}{
		"upper case":         {"name", "Edge-1", "lower-case letters"},
		"underscore":         {"name", "edge_1", "lower-case letters"},
		"254 characters":     {"name", strings.Repeat("abcdefghi.", 25) + "abcd", "up to 63"},
		"no port":            {"cloudcore", "192.0.2.1", "443"},
		"IPv6":               {"cloudcore", "[2001:db8::1]:10000", "before the first colon"},
		"role":               {"role", "boss", "not edge"},
		"cert port":          {"cert-port", "http", "no port number"},
		"high port":          {"cert-port", "70000", "between 1 and 65535"},
		"label without =":    {"labels", "zone", "crashes"},
		"label key":          {"labels", "-a=1", "key"},
		"label value":        {"labels", "a=b/c", "value"},
		"label twice":        {"labels", "a=1 a=2", "twice"},
		"mac":                {"mac", "dc:a6:32", "network card"},
		"serial":             {"serial", "a\x01b", "not printable"},
		"no prefix":          {"addresses", "192.0.2.1", "prefix"},
		"address twice":      {"addresses", "192.0.2.10/24 192.0.2.10/24", "there twice"},
		"gateway alone":      {"gateway", "192.0.2.1", "without addresses"},
		"nameserver":         {"nameservers", "dns.example.org", "not an IP"},
		"password alone":     {"wifi-password", "longenough", "SSID"},
		"long ssid":          {"wifi-ssid", strings.Repeat("é", 17), "32 bytes"},
		"user":               {"user", "Root", "lower-case"},
		"private key":        {"ssh-keys", "-----BEGIN OPENSSH PRIVATE KEY-----", "private key"},
		"damaged key":        {"ssh-keys", key[:30], "key 1"},
		"time server":        {"time-servers", "a..b", "DNS name"},
		"proxy":              {"proxy", "192.0.2.1:3128", "http://"},
		"cluster DNS":        {"cluster-dns", "dns", "not an IP"},
		"cluster domain":     {"cluster-domain", "Cluster.local", "not a DNS"},
		"node IP":            {"node-ip", "192.0.2.1/24", "not an IP"},
		"neither yes nor no": {"edge-stream", "maybe", "neither"},
		"a token":            {"serial", tok, "holds a KubeEdge token"},
	} {
		t.Run(name, func(t *testing.T) {
			cells := map[string]string{"name": "edge-1", "cloudcore": "c:10000"}
			cells[tt.column] = tt.value
			var head, row []string
			for _, c := range []string{"name", "cloudcore", tt.column} {
				if c != tt.column || len(head) < 3 && !contains(head, c) {
					head, row = append(head, c), append(row, `"`+cells[c]+`"`)
				}
			}
			text := strings.Join(head, ",") + "\n" + strings.Join(row, ",") + "\n"
			f := only(t, text)
			if f.Row != 2 || f.Line != 2 || !strings.Contains(f.Message, tt.says) || strings.Contains(f.String(), tok) {
				t.Errorf("%s; want one that says %q", f, tt.says)
			}
			if f.Column != tt.column && name != "password alone" {
				t.Errorf("column %q instead of %q", f.Column, tt.column)
			}
		})
	}
}

func contains(list []string, s string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
}

func faults(t *testing.T, file, text string) []inventory.Fault {
	t.Helper()
	rows, err := inventory.Read(file, []byte(text), cloudinit.Node{})
	var list *inventory.FaultsError
	if !errors.As(err, &list) || rows != nil {
		t.Fatalf("%d rows, error %v", len(rows), err)
	}
	return list.Faults
}

// only returns the first fault; the others may only be consequences in other columns.
func only(t *testing.T, text string) inventory.Fault {
	t.Helper()
	return faults(t, "fleet.csv", text)[0]
}

// TestAllFaultsAtOnce also looks at what a person reads.
func TestAllFaultsAtOnce(t *testing.T) {
	text := "name,claudcore,mac,wifi-ssid,wifi-password,addresses\n" +
		"edge-1,c:10000,dc:a6:32:00:00:01,Hall,short,192.0.2.1/24\n" +
		"edge-1,c,dc:a6:32:00:00:01,Hall,longenough,192.0.2.1/16\n" +
		"Edge,c:10000,x,,\n"
	_, err := inventory.Read("fleet.csv", []byte(text), cloudinit.Node{})
	if err == nil {
		t.Fatal("no fault")
	}
	want := []string{
		"fleet.csv:1:6: row 1, column claudcore: there is no such column; did you mean \"cloudcore\"?",
		"fleet.csv:2:1: row 2 (edge-1), column cloudcore: ",
		"fleet.csv:2:39: row 2 (edge-1), column wifi-password: ",
		"fleet.csv:3:1: row 3 (edge-1), column cloudcore: ",
		"fleet.csv:3:1: row 3 (edge-1), column name: edge-1 is already in row 2 (edge-1)",
		"fleet.csv:3:10: row 3 (edge-1), column mac: dc:a6:32:00:00:01 is already in row 2 (edge-1)",
		"fleet.csv:3:44: row 3 (edge-1), column addresses: 192.0.2.1 is already in row 2 (edge-1)",
		"fleet.csv:4:1: row 4: it has 5 cells and there are 6 columns: a cell with a separator is written in quotes",
		"fleet.csv:4:1: row 4 (Edge), column name: \"Edge\" is not ",
		"fleet.csv:4:1: row 4 (Edge), column cloudcore: ",
		"fleet.csv:4:14: row 4 (Edge), column mac: \"x\" is not ",
		"inventory fleet.csv has 11 faults",
	}
	got := strings.Split(err.Error(), "\n")
	for i, line := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], line) {
			t.Fatalf("line %d should begin with %q:\n%s", i+1, line, err)
		}
	}
	if strings.Contains(err.Error(), "short") {
		t.Error("a password is shown")
	}
}

func TestFilesThatAreNone(t *testing.T) {
	for name, tt := range map[string]struct{ file, text, says string }{
		"empty CSV":         {"f.csv", "", "empty"},
		"no name column":    {"f.csv", "cloudcore\nc:1\n", "column name is missing"},
		"column twice":      {"f.csv", "name,name\na,b\n", "there twice"},
		"nameless column":   {"f.csv", "name,\na,\n", "2. column"},
		"open quote":        {"f.csv", "name\n\"a\n", "quote"},
		"UTF-16":            {"f.csv", "\xff\xfen\x00a\x00", "UTF-8"},
		"only a header":     {"f.csv", "name,cloudcore\n", "no node"},
		"token column":      {"f.csv", "name,token\na," + tok + "\n", "--token-file"},
		"empty YAML":        {"f.yaml", "# nothing\n", "no node"},
		"no YAML":           {"f.yaml", "- {a: [", "can't be read"},
		"a text":            {"f.yaml", "hello\n", "list of nodes"},
		"other key":         {"f.yaml", "node: []\n", "only defaults and nodes"},
		"nodes is a map":    {"f.yaml", "nodes: {a: 1}\n", "nodes is a list"},
		"node is a text":    {"f.yaml", "- edge-1\n", "node 1 is not a mapping"},
		"alias":             {"f.yaml", "- &a {name: x}\n- *a\n", "not a mapping"},
		"key twice":         {"f.yaml", "- name: a\n  name: b\n", "already given on line 1"},
		"list for one":      {"f.yaml", "- name: [a, b]\n", "one value"},
		"map for a list":    {"f.yaml", "- {name: a, addresses: {a: b}}\n", "list is wanted"},
		"two documents":     {"f.yaml", "- {name: a, cloudcore: 'c:1'}\n---\n- {name: b}\n", "second one starts"},
		"own as a default":  {"f.yaml", "defaults: {mac: 'dc:a6:32:00:00:01'}\nnodes: [{name: a, cloudcore: 'c:1'}]\n", "cannot be a default"},
		"unknown in a node": {"f.yaml", "- {name: a, clodcore: 'c:1'}\n", "no such column"},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			for _, f := range faults(t, tt.file, tt.text) {
				said = append(said, f.String())
			}
			if all := strings.Join(said, "\n"); !strings.Contains(all, tt.says) || strings.Contains(all, tok) {
				t.Errorf("%s; want one that says %q", all, tt.says)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	base := cloudinit.Node{CloudCore: "c:10000", Labels: map[string]string{"zone": "a"}, WiFi: &cloudinit.WiFi{SSID: "Hall", Password: "longenough"}}
	rows, err := inventory.Read("f.csv", []byte("name,cloudcore,labels,wifi-ssid\na,,x=1,\nb,d:10000,zone=b,Roof\n"), base)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(rows[0].Node.CloudCore, rows[0].Node.Labels, *rows[0].Node.WiFi, rows[1].Node.CloudCore, rows[1].Node.Labels, *rows[1].Node.WiFi, base.WiFi.SSID)
	if want := "c:10000 map[x:1 zone:a] wireless network Hall d:10000 map[zone:b] wireless network Roof Hall\n"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestSharedNetworks: what is computed once for all rows is what each would have computed.
func TestSharedNetworks(t *testing.T) {
	rows, err := inventory.Read("f.csv", []byte("name,wifi-ssid,wifi-password\na,Hall,longenough\nb,Hall,longenough\nc,Hall,another one\nd,,\n"), cloudinit.Node{CloudCore: "c:10000", WiFi: &cloudinit.WiFi{SSID: "Hall", Password: "longenough"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		fast := r.Node.InstanceID()
		r.Node.WiFi.Fingerprint = ""
		if slow := r.Node.InstanceID(); slow != fast {
			t.Errorf("%s is %s and %s", r.Node.Name, fast, slow)
		}
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	_, err := inventory.Read("f.csv", []byte("name,cloudcore\n"+strings.Repeat("X,c\n", 1000)), cloudinit.Node{})
	if err == nil || !strings.HasSuffix(err.Error(), "and 2799 more\ninventory f.csv has 2999 faults") {
		t.Errorf("it ends with %q", err.Error()[len(err.Error())-80:])
	}
}

func FuzzRead(f *testing.F) {
	f.Add("f.csv", "name,cloudcore,wifi-ssid,wifi-password\nedge-1,c:10000,a,longenough\n")
	f.Add("f.csv", "name;labels\n\"a\";\"x=1;y\"\n#\n")
	f.Add("f.yaml", "defaults: {cloudcore: 'c:10000'}\nnodes:\n- name: a\n  labels: {x: 1}\n- {name: b, addresses: [1.2.3.4/8]}\n")
	f.Add("f.yaml", "- &a {name: x}\n- !!str *a\n- ? [a]\n  : b\n")
	f.Fuzz(func(t *testing.T, file, text string) {
		rows, err := inventory.Read(file, []byte(text), cloudinit.Node{})
		var list *inventory.FaultsError
		switch {
		case err == nil && len(rows) == 0:
			t.Error("no rows and no fault")
		case err != nil && (!errors.As(err, &list) || len(list.Faults) == 0):
			t.Errorf("the error has no faults: %v", err)
		}
		for _, r := range rows {
			if len(inventory.Check(r.Node)) > 0 {
				t.Errorf("%s has problems", r.Node.Name)
			}
		}
	})
}
