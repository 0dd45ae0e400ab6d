package cloudinit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/test/oracle"
)

func fullSeed() cloudinit.Seed {
	no := false
	return cloudinit.Seed{
		User: cloudinit.UserData{
			Hostname: "edge-1", FQDN: "edge-1.example.org", Timezone: "Europe/Zurich", SSHPasswordAuth: &no,
			Users:    []cloudinit.User{{Name: "edge", Groups: []string{"sudo"}, Shell: "/bin/bash", Sudo: "ALL=(ALL) NOPASSWD:ALL", SSHAuthorizedKeys: []string{"ssh-ed25519 AAAA a: b # c"}}},
			GrowPart: &cloudinit.GrowPart{Mode: "auto", Devices: []string{"/"}},
			BootCmd:  [][]string{{"echo", "yes", "0755"}},
			WriteFiles: []cloudinit.WriteFile{
				{Path: "/run/script", Permissions: "0755", Content: "#!/bin/sh\nset -e\n\techo \"tab: $1\" # not a comment\n\n"},
				{Path: "/etc/motd", Owner: "root:root", Defer: true, Content: "one line"},
			},
			RunCmd: [][]string{{"systemctl", "start", "--no-block", "x.service"}},
		},
		Meta:    cloudinit.MetaData{InstanceID: "edge-1-0001", LocalHostname: "edge-1"},
		Network: &cloudinit.Network{Ethernets: map[string]cloudinit.Ethernet{"eth1": {DHCP4: true, Optional: true}, "eth0": {Addresses: []string{"192.0.2.10/24"}, Routes: []cloudinit.Route{{To: "0.0.0.0/0", Via: "192.0.2.1"}}}}},
	}
}

func TestNoCloudFiles(t *testing.T) {
	files, err := cloudinit.NoCloud(fullSeed())
	if err != nil {
		t.Fatal(err)
	}
	if got := string(files["meta-data"]); got != "instance-id: edge-1-0001\nlocal-hostname: edge-1\n" {
		t.Errorf("meta-data is %q", got)
	}
	wantNetwork := `version: 2
ethernets:
  eth0:
    dhcp4: false
    addresses:
      - "192.0.2.10/24"
    routes:
      - to: "0.0.0.0/0"
        via: "192.0.2.1"
  eth1:
    dhcp4: true
    optional: true
`
	if d := cmp.Diff(wantNetwork, string(files["network-config"])); d != "" {
		t.Error(d)
	}
	if got := string(files["user-data"]); !strings.HasPrefix(got, "#cloud-config\nhostname: edge-1\n") {
		t.Errorf("user-data is\n%s", got)
	}
	again, _ := cloudinit.NoCloud(fullSeed())
	if d := cmp.Diff(files, again); d != "" {
		t.Error(d)
	}
}

func TestEmptySeed(t *testing.T) {
	files, err := cloudinit.NoCloud(cloudinit.Seed{Meta: cloudinit.MetaData{InstanceID: "i"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"user-data": []byte("#cloud-config\n"), "meta-data": []byte("instance-id: i\n")}
	if d := cmp.Diff(want, files); d != "" {
		t.Error(d)
	}
}

func TestFaultsComeTogether(t *testing.T) {
	_, err := cloudinit.NoCloud(cloudinit.Seed{User: cloudinit.UserData{Hostname: "Edge_1", WriteFiles: []cloudinit.WriteFile{{Path: "etc/x", Permissions: "rw"}}}})
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, want := range []string{"instance-id is empty", `host name "Edge_1"`, `path "etc/x"`, `permissions "rw"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: lacks %s", err, want)
		}
	}
}

// TestCloudInitAccepts asks the real cloud-init about the document, and Python's YAML reader, which
// is the one that cloud-init uses, about the bytes of a file.
func TestCloudInitAccepts(t *testing.T) {
	tool, python := oracle.Need(t, "cloud-init"), oracle.Need(t, "python3")
	files, err := cloudinit.NoCloud(fullSeed())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(name, files["user-data"], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "schema", "--config-file", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Valid cloud-config") {
		t.Errorf("%v: %s\n%s", err, out, files["user-data"])
	}
	script := "import sys, yaml; sys.stdout.write(yaml.safe_load(open(sys.argv[1]))['write_files'][0]['content'])"
	out, err = exec.Command(python, "-c", script, name).Output()
	if want := fullSeed().User.WriteFiles[0].Content; err != nil || string(out) != want {
		t.Errorf("Python reads %q (%v), want %q", out, err, want)
	}
}
