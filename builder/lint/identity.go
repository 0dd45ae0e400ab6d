package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// checkIdentity: all nodes of an image would share what only one machine may have.
func checkIdentity(s *system) []Finding {
	if s.booted {
		return nil // it is one machine
	}
	var found []Finding
	for _, e := range s.list("etc/ssh") {
		if strings.HasPrefix(path.Base(e.Path), "ssh_host_") {
			found = append(found, fault("/"+e.Path, "remove it: the first boot makes new ones", "an ssh host key is in the image: every node would have the same"))
		}
	}
	for _, p := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} {
		e, err := s.root.Lookup(p)
		if err != nil || e.Type != tree.File {
			continue
		}
		if text, _ := s.content(e); strings.TrimSpace(text) != "" && strings.TrimSpace(text) != "uninitialized" {
			found = append(found, fault("/"+p, "make it empty: the first boot writes a new one", "it holds the id of one machine: every node would have the same, and the same DHCP lease"))
		}
	}
	for _, p := range []string{"var/lib/systemd/random-seed", "var/lib/urandom/random-seed", "boot/efi/loader/random-seed", "var/lib/systemd/credential.secret"} {
		if s.exists(p) {
			found = append(found, fault("/"+p, "remove it", "every node would start with the same secret randomness"))
		}
	}
	for _, p := range []string{"var/lib/cloud/instance", "var/lib/cloud/data/instance-id"} {
		if _, err := s.root.Lookup(p); err == nil {
			found = append(found, fault("/"+p, "remove what is in /var/lib/cloud (cloud-init clean)", "this system has booted before: cloud-init would not do its work of a first boot"))
		}
	}
	for _, p := range s.list("var/lib/cloud/instances") {
		found = append(found, fault("/"+p.Path, "remove what is in /var/lib/cloud (cloud-init clean)", "it belongs to one machine, with its user data"))
	}
	for _, dir := range []string{"etc/kubeedge/certs", "etc/kubeedge/ca", "var/lib/kubelet/pki", "etc/kubernetes/pki"} {
		for e := range s.below(dir) {
			found = append(found, fault("/"+e.Path, "remove it: the node gets its own when it joins", "it is the identity of one node or cluster"))
		}
	}
	return append(found, s.networkIdentity()...)
}

// networkIdentity are names that udev and DHCP gave to one machine.
func (s *system) networkIdentity() []Finding {
	var found []Finding
	for _, p := range []string{"etc/udev/rules.d/70-persistent-net.rules", "etc/netplan/50-cloud-init.yaml"} {
		if s.exists(p) {
			found = append(found, caution("/"+p, "remove it", "it was written on a machine, for that machine's network"))
		}
	}
	for e := range s.below("var/lib/dhcp") {
		if strings.HasSuffix(e.Path, ".leases") && e.Content.Size > 0 {
			found = append(found, caution("/"+e.Path, "remove it", "it holds the addresses that one machine once had"))
		}
	}
	return found
}

// checkPasswords reads shadow and passwd. * and ! are locked; a hash is a password that everybody
// who has the image can try to find; an empty field is none at all.
func checkPasswords(s *system) []Finding {
	var found []Finding
	for _, file := range []string{"etc/shadow", "etc/passwd", "etc/gshadow"} {
		text, _ := s.text(file)
		for line := range strings.Lines(text) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) < 2 || fields[0] == "" {
				continue
			}
			switch hash := fields[1]; {
			case hash == "" && file != "etc/gshadow":
				found = append(found, fault("/"+file, "lock the password: usermod -L "+fields[0], "%s can log in without a password", fields[0]))
			case s.booted: // its seed may have set one
			case strings.HasPrefix(hash, "$") || len(hash) == 13 && !strings.ContainsAny(hash, "*!"):
				found = append(found, fault("/"+file, "lock the password, and set one per node in its seed", "the password of %s is in the image", fields[0]))
			}
		}
	}
	for _, f := range s.seeds() {
		e, _ := f.tree.Lookup("user-data")
		if text, _ := s.content(e); strings.Contains(text, "\nchpasswd:") || strings.Contains(text, "plain_text_passwd:") {
			found = append(found, caution(f.path("user-data"), "write a seed of your own for each node", "the seed in the image sets a password, the same for all nodes"))
		}
	}
	return found
}

// checkTraces finds what people and programs left behind.
func checkTraces(s *system) []Finding {
	histories := []string{".bash_history", ".zsh_history", ".ash_history", ".sh_history", ".python_history", ".mysql_history", ".psql_history", ".lesshst", ".viminfo", ".wget-hsts"}
	var found []Finding
	for _, dir := range s.homes() {
		for _, e := range s.list(dir) {
			if slices.Contains(histories, path.Base(e.Path)) && s.inode(e).Content.Size > 0 {
				found = append(found, fault("/"+e.Path, "remove it", "it tells what somebody typed, secrets included"))
			}
		}
	}
	if s.booted {
		return found
	}
	for e := range s.below("var/log") {
		if e.Content.Size > 0 {
			found = append(found, caution("/"+e.Path, "make it empty", "a log of the machine that made the image, %d bytes", e.Content.Size))
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		for e := range s.below(dir) {
			found = append(found, caution("/"+e.Path, "remove it", "a temporary file was left over"))
		}
	}
	for _, p := range []string{"etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "var/lib/dpkg/status-old"} {
		if s.exists(p) {
			found = append(found, caution("/"+p, "remove it", "a backup file: it may hold what its original no longer does"))
		}
	}
	return found
}

// homes are the directories of people.
func (s *system) homes() []string {
	dirs := []string{"root"}
	for _, e := range s.list("home") {
		if e.Type == tree.Dir {
			dirs = append(dirs, e.Path)
		}
	}
	return dirs
}
