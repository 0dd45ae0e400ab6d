package cloudinit_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/cloudinit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// publicKey is an ed25519 key of zeros.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

const token = "6b9d1f0c.eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3NjQwMDAwMDB9.c2lnbmF0dXJl"

// nodes are a plain one and one with everything that can be said.
func nodes() map[string]cloudinit.Node {
	return map[string]cloudinit.Node{
		"plain": {Name: "edge-1", CloudCore: "192.0.2.1:10000"},
		"full": {
			Name: "edge-2.example.org", Role: "edge", CloudCore: "cloud.example.org:10000", CertPort: 10012, Token: token,
			Labels: map[string]string{"zone": "hall-3", "example.org/line": "A", "empty": ""},
			MAC:    "52:54:00:12:34:56", Serial: "10000000abcdef01", Addresses: []string{"10.0.2.15/24", "fec0::15/64"}, Gateway: "10.0.2.2",
			NameServers: []string{"10.0.2.3"}, WiFi: &cloudinit.WiFi{SSID: "on: # \"Halle\" ü", Password: "pass: #\"word'", Country: "CH"},
			User: "technician", SSHKeys: []string{publicKey + " ops@example.org: # ü"}, TimeServers: []string{"ntp.example.org", "192.0.2.9"},
			Proxy: "http://proxy.example.org:3128", ClusterDNS: "169.254.96.16", ClusterDomain: "cluster.local", NodeIP: "10.0.2.15",
			EdgeStream: true, MetaServer: true,
		},
		"worker": {Name: "worker-1", Role: "worker", CloudCore: "192.0.2.1:10000", Token: token},
	}
}

func render(t *testing.T, n cloudinit.Node, kind cloudinit.Kind) map[string][]byte {
	t.Helper()
	files, err := cloudinit.Render(n, kind)
	if err != nil {
		t.Fatal(err)
	}
	again, err := cloudinit.Render(n, kind)
	if d := cmp.Diff(files, again); d != "" || err != nil {
		t.Errorf("the second time it is another seed: %v %s", err, d)
	}
	contents := map[string][]byte{}
	for _, f := range files {
		contents[f.Name] = f.Content
		if has := bytes.Contains(f.Content, []byte(token)); has && !f.Secret {
			t.Errorf("%s has the token and is not marked as secret", f.Name)
		}
	}
	return contents
}

func TestGolden(t *testing.T) {
	for name, n := range nodes() {
		for file, content := range render(t, n, cloudinit.KindNoCloud) {
			golden(t, name+"."+file, content)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s: -want +got\n%s", name, d)
	}
}
