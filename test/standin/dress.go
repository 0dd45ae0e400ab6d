package standin

import (
	"fmt"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Release is an Ubuntu release.
type Release struct {
	// Version is 20.04, Codename focal, Point 20.04.5.
	Version, Codename, Point string
	// Name is the long code name.
	Name string
}

// Focal and Bionic are the releases that the profiles start from.
func Focal() Release  { return Release{"20.04", "focal", "20.04.5", "Focal Fossa"} }
func Bionic() Release { return Release{"18.04", "bionic", "18.04.6", "Bionic Beaver"} }

// notInUbuntu are packages of edgebake's Debian profiles that a server image of Ubuntu lacks, with
// the libraries that only they need.
func notInUbuntu() []string {
	return []string{"containerd", "runc", "mosquitto", "libmosquitto1", "libcjson1", "libdlt2", "conntrack", "socat"}
}

// osRelease has the fields of base-files' /usr/lib/os-release.
func (r Release) osRelease() string {
	return fmt.Sprintf(`NAME="Ubuntu"
VERSION="%[1]s LTS (%[2]s)"
ID=ubuntu
ID_LIKE=debian
PRETTY_NAME="Ubuntu %[1]s LTS"
VERSION_ID="%[3]s"
HOME_URL="https://www.ubuntu.com/"
SUPPORT_URL="https://help.ubuntu.com/"
BUG_REPORT_URL="https://bugs.launchpad.net/ubuntu/"
PRIVACY_POLICY_URL="https://www.ubuntu.com/legal/terms-and-policies/privacy-policy"
VERSION_CODENAME=%[4]s
UBUNTU_CODENAME=%[4]s
`, r.Point, r.Name, r.Version, r.Codename)
}

const readme = `This system is a stand-in for tests. It looks like Ubuntu from outside; its programs and its
kernel are Debian's, and /var/lib/dpkg/status says so.
`

// ubuntu dresses a Debian system as an Ubuntu server image: its identity, its services, cloud-init
// with the user ubuntu, and no trace of what the image does not have.
func (w *wardrobe) ubuntu(r Release, archive string) {
	w.withoutAccount("mosquitto")
	w.remove("var/lib/mosquitto", "var/log/mosquitto", "etc/mosquitto", "etc/containerd", "etc/apt/sources.list.d/*", "etc/motd")
	w.text("etc/os-release.standin", readme)
	w.text("usr/lib/os-release", r.osRelease())
	w.link("etc/os-release", "../usr/lib/os-release")
	w.text("etc/lsb-release", fmt.Sprintf("DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=%s\nDISTRIB_CODENAME=%s\nDISTRIB_DESCRIPTION=\"Ubuntu %s LTS\"\n", r.Version, r.Codename, r.Point))
	w.text("etc/issue", fmt.Sprintf("Ubuntu %s LTS \\n \\l\n\n", r.Point))
	w.text("etc/issue.net", fmt.Sprintf("Ubuntu %s LTS\n", r.Point))
	w.text("etc/dpkg/origins/ubuntu", "Vendor: Ubuntu\nVendor-URL: http://www.ubuntu.com/\nBugs: https://bugs.launchpad.net/ubuntu/+filebug\nParent: Debian\n")
	w.link("etc/dpkg/origins/default", "ubuntu")
	w.text("etc/apt/sources.list", sourcesList(r, archive))
	w.text("etc/hostname", "ubuntu\n")
	w.text("etc/hosts", "127.0.0.1 localhost\n\n# The following lines are desirable for IPv6 capable hosts\n::1 ip6-localhost ip6-loopback\nfe00::0 ip6-localnet\nff00::0 ip6-mcastprefix\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\nff02::3 ip6-allhosts\n")
	w.text("etc/default/locale", "LANG=C.UTF-8\n")
	w.put("etc/machine-id", 0o444, tree.Content{})
	w.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
	w.services()
	w.cloudInit(r)
}

func sourcesList(r Release, archive string) string {
	var b strings.Builder
	for _, pocket := range []string{"", "-updates", "-security"} {
		fmt.Fprintf(&b, "deb %s %s%s main restricted universe multiverse\n", archive, r.Codename, pocket)
	}
	return b.String()
}

// services are those that a server image starts: Debian's packages leave them off.
func (w *wardrobe) services() {
	w.enable("multi-user.target", "systemd-networkd.service")
	w.enable("network-online.target", "systemd-networkd-wait-online.service")
	w.enable("sockets.target", "systemd-networkd.socket")
	w.enable("multi-user.target", "systemd-resolved.service")
	w.enable("multi-user.target", "ssh.service")
}

func (w *wardrobe) cloudInit(r Release) {
	w.edit("etc/cloud/cloud.cfg", func(text string) string {
		for _, pair := range [][2]string{
			{"distro: debian", "distro: ubuntu"}, {"name: debian", "name: ubuntu"}, {"gecos: Debian", "gecos: Ubuntu"},
		} {
			if !strings.Contains(text, pair[0]) {
				w.fail("dressing cloud-init: cloud.cfg has no %q", pair[0])
			}
			text = strings.ReplaceAll(text, pair[0], pair[1])
		}
		return text
	})
	w.text("etc/cloud/build.info", "build_name: server\nserial: 20230607\n")
}
