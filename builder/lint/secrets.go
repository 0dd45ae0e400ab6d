package lint

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// secret is something that must not be in a file that others get.
type secret struct {
	what string
	// sign is in every text that pattern matches: looking for it is a hundred times faster.
	sign    string
	pattern *regexp.Regexp
	fix     string
}

const seedFix = "remove it: what only one node may have comes with its seed, when the card is written"

// secretPatterns are written so that a description of the form does not match.
var secretPatterns = []secret{
	{"a private key", "PRIVATE KEY", regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n(?:[A-Za-z-]+: .*\r?\n)*\s*[A-Za-z0-9+/=]{16,}`), seedFix},
	{"a JSON web token", ".eyJ", regexp.MustCompile(`(?:^|[^.A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}`), seedFix},
	{"a bootstrap token of kubeadm", "token", regexp.MustCompile(`(?m)token["']?[:= ]+["']?[a-z0-9]{6}\.[a-z0-9]{16}\b`), seedFix},
	{"a client's key of Kubernetes", "client-key-data:", regexp.MustCompile(`client-key-data:\s*[A-Za-z0-9+/=]{64,}`), seedFix},
	{"an access key of a cloud", "AKIA", regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`), seedFix},
	{"the password of a wireless network", "psk=", regexp.MustCompile(`(?m)^\s*psk=["']?\S{8,}`), seedFix},
	{"the password of a wireless network", "access-points:", regexp.MustCompile(`(?m)^\s+password:\s*["']?[^"'\n#]{8,}`), seedFix},
	{"the password of a wireless network", "wpa_passphrase=", regexp.MustCompile(`(?m)^\s*wpa_passphrase=\S{8,}`), seedFix},
}

// secretNames are files that hold nothing but secrets.
var secretNames = []string{".netrc", ".git-credentials", ".pgpass", "id_rsa", "id_ecdsa", "id_ed25519", "id_dsa", ".dockercfg"}

// maxSecret bounds the files that are searched: keys and configuration are small.
const maxSecret = 1 << 20

// ownKeys are the places where a node that has run keeps its own keys.
var ownKeys = []string{"etc/ssh/ssh_host_", "etc/kubeedge/certs/", "etc/kubeedge/ca/", "etc/kubernetes/pki/", "var/lib/kubelet/pki/"}

func (s *system) isOwnKey(name string) bool {
	return s.booted && slices.ContainsFunc(ownKeys, func(p string) bool { return strings.HasPrefix(name, p) })
}

// checkSecrets searches the places where configuration and people's files are. Tokens are searched everywhere, by another rule.
func checkSecrets(s *system) []Finding {
	var found []Finding
	for _, dir := range []string{"etc", "root", "home", "opt", "srv", "usr/lib/edgebake", "usr/local", "var/lib/edgebake", "var/lib/kubelet", "var/lib/kubeedge", "var/lib/cloud"} {
		for e := range s.below(dir) {
			found = append(found, s.checkSecretsIn(e, "/"+e.Path)...)
		}
	}
	for _, f := range s.fats {
		for _, e := range f.tree.Entries() {
			if e.Type == tree.File {
				found = append(found, s.checkSecretsIn(e, f.path(e.Path))...)
			}
		}
	}
	return dedupe(found)
}

func (s *system) checkSecretsIn(e tree.Entry, shown string) []Finding {
	if e.Content.Size == 0 || e.Content.Size > maxSecret {
		return nil
	}
	if slices.Contains(secretNames, path.Base(e.Path)) || strings.HasSuffix(e.Path, ".docker/config.json") {
		return []Finding{fault(shown, seedFix, "a file of this name holds credentials")}
	}
	head := s.head(e, 4)
	if len(head) == 4 && (string(head) == "\x7fELF" || string(head[:2]) == "\x1f\x8b") {
		return nil
	}
	if s.isOwnKey(e.Path) && e.Mode&0o077 == 0 {
		return nil
	}
	text, _ := s.content(e)
	for _, p := range secretPatterns {
		if strings.Contains(text, p.sign) && p.pattern.MatchString(text) {
			return []Finding{s.secretFound(e, shown, p)}
		}
	}
	return nil
}

func (s *system) secretFound(e tree.Entry, shown string, p secret) Finding {
	if s.isOwnKey(e.Path) {
		return fault(shown, "chmod 0600", "it holds %s of this node, and others than root may read it (mode %04o)", p.what, e.Mode)
	}
	return fault(shown, p.fix, "it holds %s", p.what)
}
