package cloudinit_test

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/test/oracle"
)

// TestWPASupplicantReads has networks go the way they go on a node, through netplan to wpa_supplicant,
// which has to come to the same key as WPA itself from the same name and password.
func TestWPASupplicantReads(t *testing.T) {
	for _, w := range []cloudinit.WiFi{
		{SSID: "plain", Password: "12345678"},
		{SSID: `on: # "Halle" ü`, Password: `pass: #"word'`},
		{SSID: `"`, Password: `p"w'\#: {$x`},
		{SSID: "🛰 ", Password: `""""""""`},
		{SSID: "net", Password: `12345678"#"#`},
	} {
		key, err := pbkdf2.Key(sha1.New, w.Password, []byte(w.SSID), 4096, 32)
		if err != nil {
			t.Fatal(err)
		}
		if ssid, psk := supplicant(t, w); ssid != w.SSID || psk != hex.EncodeToString(key) {
			t.Errorf("%q with %q was read as %q with key %q; want key %x", w.SSID, w.Password, ssid, psk, key)
		}
	}
}

// supplicant returns the one network in the file that netplan makes for wpa_supplicant.
func supplicant(t *testing.T, w cloudinit.WiFi) (ssid, psk string) {
	t.Helper()
	root := netplan(t, render(t, cloudinit.Node{Name: "edge-1", CloudCore: "192.0.2.1:10000", WiFi: &w}, cloudinit.KindNoCloud)["network-config"])
	cmd := exec.CommandContext(t.Context(), oracle.Need(t, "wpa_supplicant"), "-Dnone", "-ilo", "-dd", "-K", "-c", filepath.Join(root, "run/netplan/wpa-wlan0.conf"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }() // it would go on for ever
	var dumped []byte
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "Priority group"); {
		text := lines.Text()
		title, key, _ := strings.Cut(text, " - hexdump(len=32): ")
		switch {
		case strings.HasPrefix(text, "ssid - "), strings.HasPrefix(text, "PSK (ASCII passphrase) - "):
			ssid, dumped = string(dumped), nil
		case strings.HasPrefix(text, "     ") && len(text) > 53: // 16 bytes and what they look like
			line, err := hex.DecodeString(strings.ReplaceAll(text[5:53], " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			dumped = append(dumped, line...)
		case title == "PSK": // the key itself
			ssid, psk = string(dumped), strings.ReplaceAll(key, " ", "")
		case title == "PSK (from passphrase)":
			psk = strings.ReplaceAll(key, " ", "")
		}
	}
	return ssid, psk
}

// netplan runs netplan's generator on a network configuration as cloud-init hands it on.
func netplan(t *testing.T, config []byte) (root string) {
	t.Helper()
	root = t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/netplan"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll("network:\n"+string(config), "\n", "\n  ")
	if err := os.WriteFile(filepath.Join(root, "etc/netplan/50-cloud-init.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(oracle.Need(t, "netplan"), "generate", "--root-dir", root).CombinedOutput(); err != nil {
		t.Errorf("netplan: %v: %s\n%s", err, out, text)
	}
	return root
}
