package initramfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/test/oracle"
)

// TestCertificatesAreThoseOfTheProgram compares what certificates.pl and update-ca-certificates make of the same
// configuration: links, their targets, the bundle, and what they say.
func TestCertificatesAreThoseOfTheProgram(t *testing.T) {
	for _, tool := range []string{"update-ca-certificates", "openssl", "perl", "unshare"} {
		oracle.Need(t, tool)
	}
	whole, err := os.ReadFile("/etc/ca-certificates.conf")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	some := strings.Join(lines[:len(lines)/2], "")
	script := filepath.Join(t.TempDir(), "certificates.pl")
	if err := os.WriteFile(script, certificates, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ conf, before string }{
		"nothing there":   {string(whole), ""},
		"all there":       {string(whole), "update-ca-certificates --hooksdir '' >/dev/null"},
		"some not wanted": {strings.ReplaceAll(some, "mozilla/A", "!mozilla/A"), "update-ca-certificates --hooksdir '' >/dev/null"},
		"one missing":     {some + "mozilla/None.crt\n", "ln -s /nowhere orphan.pem; ln -s /nowhere " + firstLink(lines)},
		"none":            {"# none\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "conf")
			if err := os.WriteFile(conf, []byte(tt.conf), 0o644); err != nil {
				t.Fatal(err)
			}
			want := inCertificates(t, conf, tt.before, "update-ca-certificates --hooksdir ''")
			if got := inCertificates(t, conf, tt.before, "perl "+script); got != want {
				t.Error(cmp.Diff(want, got))
			}
			if tt.conf != "# none\n" && strings.Count(want, "link") < 10 {
				t.Errorf("the program made no links: %s", want)
			}
		})
	}
}

// firstLink is the name of a link that a configuration asks for.
func firstLink(lines []string) string {
	for _, line := range lines {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "mozilla/"); ok {
			return strings.TrimSuffix(name, ".crt") + ".pem"
		}
	}
	return ""
}

// inCertificates runs a command, after another, with an empty /etc/ssl/certs of its own, and lists what it leaves there.
func inCertificates(t *testing.T, conf, before, command string) string {
	t.Helper()
	all := "set -e; mount -t tmpfs none /etc/ssl/certs; mount -t tmpfs none /usr/local/share/ca-certificates; mount --bind " + conf + " /etc/ca-certificates.conf; cd /etc/ssl/certs; umask 077\n" +
		before + "\n" + command + " 2>&1\n" + "cd /etc/ssl/certs; find . -mindepth 1 -printf '%p %M %y link %l\\n' | sort; cat ca-certificates.crt || true"
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--map-root-user", "sh", "-c", all).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}
