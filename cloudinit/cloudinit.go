// Package cloudinit renders seeds: the per-node data that cloud-init reads at the first boot.
//
// A Seed holds UserData (what to do), MetaData (who the node is) and optionally a Network. NoCloud
// renders it as the files of the NoCloud data source. A Node is what makes one machine itself, and
// Render makes its seed of a Kind: NoCloud files, ISO images, OpenStack's user-data.
//
// The types cover the subset of the modules that edgebake uses, and of their keys those that
// cloud-init 21.4 to 23.1 (Ubuntu 18.04 and 20.04, Debian 12) take without a warning. Rendering is
// deterministic: the same Seed gives the same bytes.
package cloudinit

import (
	"errors"
	"fmt"
	"regexp"
)

// Seed is the data of one node.
type Seed struct {
	User UserData
	Meta MetaData
	// Network is nil when the image's own network configuration shall hold.
	Network *Network
}

// UserData is a cloud-config document. Fields that are zero are left out, so that cloud-init's and
// the image's defaults hold.
type UserData struct {
	// Hostname of the node, without its domain.
	Hostname string `yaml:"hostname,omitempty"`
	// FQDN of the node.
	FQDN string `yaml:"fqdn,omitempty"`
	// Timezone as in /usr/share/zoneinfo: Europe/Zurich.
	Timezone string `yaml:"timezone,omitempty"`
	// SSHPasswordAuth allows or forbids logging in with passwords through SSH.
	SSHPasswordAuth *bool `yaml:"ssh_pwauth,omitempty"`
	// SSHAuthorizedKeys are public keys of the default user.
	SSHAuthorizedKeys []string `yaml:"ssh_authorized_keys,omitempty"`
	// Users to create.
	Users []User `yaml:"users,omitempty"`
	// GrowPart says which partitions are enlarged.
	GrowPart *GrowPart `yaml:"growpart,omitempty"`
	// BootCmd are commands of the init stage, in every boot, before WriteFiles.
	BootCmd [][]string `yaml:"bootcmd,omitempty"`
	// WriteFiles are files written in the init stage of the first boot, before users exist.
	WriteFiles []WriteFile `yaml:"write_files,omitempty"`
	// RunCmd are commands of the final stage of the first boot; each is a program with arguments.
	RunCmd [][]string `yaml:"runcmd,omitempty"`
}

// User is an account. A password has no field: seeds are readable on the card.
type User struct {
	Name              string   `yaml:"name"`
	Gecos             string   `yaml:"gecos,omitempty"`
	Groups            []string `yaml:"groups,omitempty"`
	Shell             string   `yaml:"shell,omitempty"`
	Sudo              string   `yaml:"sudo,omitempty"`
	LockPasswd        *bool    `yaml:"lock_passwd,omitempty"`
	SSHAuthorizedKeys []string `yaml:"ssh_authorized_keys,omitempty"`
}

// WriteFile is a file with its content. Permissions are octal digits in a string ("0755"): YAML
// readers disagree about bare ones.
type WriteFile struct {
	Path        string `yaml:"path"`
	Owner       string `yaml:"owner,omitempty"`
	Permissions string `yaml:"permissions,omitempty"`
	// Defer writes in the final stage, when users exist (cloud-init 21.4 and later).
	Defer   bool   `yaml:"defer,omitempty"`
	Content string `yaml:"content"`
}

// GrowPart configures the enlarging of partitions.
type GrowPart struct {
	Mode    string   `yaml:"mode,omitempty"` // auto, growpart, off
	Devices []string `yaml:"devices,omitempty"`
}

// MetaData says who the node is.
type MetaData struct {
	// InstanceID tells first boots apart: per-instance modules run again when it changes. It is
	// written with a hyphen; with an underscore cloud-init ignores the key.
	InstanceID string `yaml:"instance-id"`
	// LocalHostname is the host name before user-data speaks.
	LocalHostname string `yaml:"local-hostname,omitempty"`
}

// NoCloud renders the files of the NoCloud data source: user-data and meta-data, which both have to
// exist, and network-config when the seed has one.
func NoCloud(s Seed) (map[string][]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	user, err := render("#cloud-config\n", s.User)
	if err != nil {
		return nil, err
	}
	meta, err := render("", s.Meta)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"user-data": user, "meta-data": meta}
	if s.Network != nil {
		if files["network-config"], err = render("version: 2\n", *s.Network); err != nil {
			return nil, err
		}
	}
	return files, nil
}

var (
	labelPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) // RFC 1123, in lower case
	modePattern  = regexp.MustCompile(`^[0-7]{3,4}$`)
)

func (s Seed) check() error {
	var faults []error
	if s.Meta.InstanceID == "" {
		faults = append(faults, errors.New("checking seed: the instance-id is empty; cloud-init would use \"nocloud\" for every node"))
	}
	for _, name := range []string{s.User.Hostname, s.Meta.LocalHostname} {
		if name != "" && !labelPattern.MatchString(name) {
			faults = append(faults, fmt.Errorf("checking seed: host name %q is not up to 63 lower-case letters, digits and inner hyphens", name))
		}
	}
	for _, f := range s.User.WriteFiles {
		if f.Path == "" || f.Path[0] != '/' {
			faults = append(faults, fmt.Errorf("checking seed: the path %q of a file is not absolute", f.Path))
		}
		if f.Permissions != "" && !modePattern.MatchString(f.Permissions) {
			faults = append(faults, fmt.Errorf("checking seed: %s has permissions %q instead of octal digits like 0644", f.Path, f.Permissions))
		}
	}
	return errors.Join(faults...)
}
