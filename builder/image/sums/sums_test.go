package sums

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/test/oracle"
)

func TestFind(t *testing.T) {
	a, b := cas.Of([]byte("a")), cas.Of([]byte("b"))
	const pi = "ubuntu-20.04.5-preinstalled-server-arm64+raspi.img.xz"
	text := "-----BEGIN NOISE\n" + string(a) + " *" + pi + "\n" + string(b) + "  two spaces.img\r\n" +
		strings.ToUpper(string(b)) + " *./upper.img\n" + string(a) + " *twice\n" + string(b) + " *twice\n" +
		string(a) + " *same\n" + string(a) + "  same\nshort *x\n"
	for name, want := range map[string]cas.Digest{pi: a, "two spaces.img": b, "upper.img": b, "same": a} {
		if got, err := Find([]byte(text), name); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, want)
		}
	}
	for name, want := range map[string]string{"twice": "two checksums for twice", strings.ReplaceAll(pi, "+", " "): "no line for", "x": "no line for"} {
		if _, err := Find([]byte(text), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

// gpg runs the real one with its own home.
func gpg(t *testing.T, home string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(oracle.Need(t, "gpg"), append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	var fault strings.Builder
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %v: %v\n%s", args, err, &fault)
	}
	return out
}

func fingerprint(t *testing.T, home, who string) string {
	t.Helper()
	for line := range strings.Lines(string(gpg(t, home, "--with-colons", "--list-keys", who))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			return f[9]
		}
	}
	t.Fatal("no fingerprint of " + who)
	return ""
}

// TestVerify signs as Ubuntu does: with its key of today and with an old DSA key, which nobody
// has pinned.
func TestVerify(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for who, algorithm := range map[string]string{"today": "rsa2048", "old": "dsa1024", "stranger": "ed25519"} {
		gpg(t, home, "--quick-generate-key", who, algorithm, "sign", "never")
	}
	t.Cleanup(func() { // the agent that gpg started, by its own home
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
	})
	text := []byte("some text\n")
	list := filepath.Join(home, "SHA256SUMS")
	if err := os.WriteFile(list, text, 0o644); err != nil {
		t.Fatal(err)
	}
	sign := func(args ...string) []byte {
		return gpg(t, home, append(args, "--output", "-", "--detach-sign", list)...)
	}
	today, keyring := fingerprint(t, home, "today"), gpg(t, home, "--export", "today")
	pinned := []string{strings.ToLower(today[:20]) + " " + today[20:]}
	now := time.Now().Add(time.Minute) // the signatures below are not from the future
	for name, signature := range map[string][]byte{
		"one":              sign("-u", "today"),
		"armored":          sign("--armor", "-u", "today"),
		"old and today":    sign("-u", "old", "-u", "today"),
		"stranger's first": sign("--armor", "-u", "stranger", "-u", "old", "-u", "today"),
	} {
		if got, err := Verify(text, signature, keyring, pinned, now); err != nil || got != today {
			t.Errorf("%s: signed by %q, %v; want %s", name, got, err, today)
		}
	}
	all := gpg(t, home, "--export")
	var fault *apt.SignatureError
	for name, try := range map[string]struct{ text, signature []byte }{
		"stranger only": {text, sign("-u", "stranger")},
		"other text":    {[]byte("other text\n"), sign("-u", "today")},
	} {
		if _, err := Verify(try.text, try.signature, all, pinned, now); !errors.As(err, &fault) {
			t.Errorf("%s: got %v, want a SignatureError", name, err)
		}
	}
	if _, err := Verify(text, sign("-u", "today"), keyring, []string{fingerprint(t, home, "old")}, now); err == nil {
		t.Error("a pinned key that the keyring does not hold was accepted")
	}
}

// TestPublishedKeyrings: the keys that profiles pin are in the keyrings that are shipped.
func TestPublishedKeyrings(t *testing.T) {
	keyring, err := os.ReadFile("../../../profiles/keyrings/ubuntu-cloudimage-keyring.gpg")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify([]byte("x"), nil, keyring, []string{"D2EB 4462 6FDD C30B 513D 5BB7 1A5D 6C4C 7DB8 7C81"}, time.Unix(1700000000, 0))
	var fault *apt.SignatureError
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("got %v: the key is not in the keyring", err)
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(string(cas.Of(nil))+" *name\n"), "name")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		if d, err := Find(text, name); err == nil {
			if _, err := cas.ParseDigest(string(d)); err != nil {
				t.Error(err)
			}
		}
	})
}
