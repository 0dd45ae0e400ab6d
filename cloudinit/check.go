package cloudinit

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Check returns every fault of the node, joined: one in a line, each beginning with the name of the
// field in lower case. Rendering checks it too.
func (n Node) Check() error {
	return errors.Join(slices.Concat(n.checkName(), n.checkJoin(), n.checkNetwork(), n.checkAccess())...)
}

// maxLabel is of a DNS label, and of a Kubernetes label's value, which the node's name becomes
// (kubernetes.io/hostname).
const maxLabel = 63

// Patterns that every node is compared with are compiled once.
var (
	dnsPattern     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	digitsPattern  = regexp.MustCompile(`^[0-9.]+$`)
	addressPattern = regexp.MustCompile(`^[0-9A-Fa-f.:]+$`)
	tokenPattern   = regexp.MustCompile(`^[!-~]*$`)
	macPattern     = regexp.MustCompile(`^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$`) // odd is multicast
	phrasePattern  = regexp.MustCompile(`^[ -~]{8,63}$`)
	keyPattern     = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

func dnsName(s string) bool {
	return len(s) <= 253 && dnsPattern.MatchString(s)
}

func (n Node) checkName() (faults []error) {
	if len(n.Name) > maxLabel || !dnsName(n.Name) {
		faults = append(faults, fmt.Errorf("name %q is not one that Kubernetes takes: up to %d lower-case letters, digits, hyphens and dots, a letter or digit at both ends", n.Name, maxLabel))
	}
	if !slices.Contains([]string{"", "edge", "master", "worker", "none"}, n.Role) {
		faults = append(faults, fmt.Errorf("role %q is not edge, master, worker or none", n.Role))
	}
	if clean(n.Serial) != nil {
		faults = append(faults, fmt.Errorf("serial %q: %w", n.Serial, clean(n.Serial)))
	}
	return faults
}

// joins reports whether the seed makes the node join CloudCore.
func (n Node) joins() bool { return n.Role == "" || n.Role == "edge" }

func (n Node) checkJoin() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n.joins() {
		if err := checkEndpoint(n.CloudCore); err != nil {
			fault("cloudcore %q: %w", n.CloudCore, err)
		}
	}
	if n.CertPort < 0 || n.CertPort > 65535 {
		fault("certport %d is not between 1 and 65535", n.CertPort)
	}
	if !tokenPattern.MatchString(n.Token) {
		fault("token has a space, a line break or a character outside ASCII")
	}
	for key, value := range n.Labels {
		if err := checkLabel(key, value); err != nil {
			fault("labels: %w", err)
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if n.ClusterDNS != "" && !isAddress(n.ClusterDNS) {
		fault("clusterdns %q is not an IP address", n.ClusterDNS)
	}
	if n.ClusterDomain != "" && !dnsName(n.ClusterDomain) {
		fault("clusterdomain %q is not a DNS name", n.ClusterDomain)
	}
	if n.NodeIP != "" && !isAddress(n.NodeIP) {
		fault("nodeip %q is not an IP address", n.NodeIP)
	}
	return faults
}

// checkEndpoint judges HOST:PORT as keadm 1.8.2 would use it.
func checkEndpoint(s string) error {
	if s == "" {
		return errors.New("it is empty; give HOST:PORT (port 10000), or role none for a node that does not join")
	}
	if strings.Count(s, ":") > 1 {
		return errors.New("keadm takes what is before the first colon for the host, so an IPv6 address does not work; give an IPv4 address or a DNS name, and a port")
	}
	host, port, found := strings.Cut(s, ":")
	if !found {
		return errors.New("the port is missing (10000 unless CloudCore is set otherwise); keadm would use 443")
	}
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 || port != strconv.FormatUint(p, 10) {
		return fmt.Errorf("port %q is not a number between 1 and 65535", port)
	}
	if !isHost(host) {
		return fmt.Errorf("host %q is neither an IPv4 address nor a DNS name in lower case", host)
	}
	return nil
}

// isHost reports whether s is a DNS name or an IP address; digits and dots alone are an address.
func isHost(s string) bool {
	if digitsPattern.MatchString(s) || strings.Contains(s, ":") {
		return isAddress(s)
	}
	return dnsName(s)
}

// isAddress reports whether s is an IP address as netip writes it, without a zone.
func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" && addressPattern.MatchString(s)
}

// checkLabel judges a label as Kubernetes does: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/.
func checkLabel(key, value string) error {
	word := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	if found && !dnsName(prefix) || !word.MatchString(name) {
		return fmt.Errorf("key %q is not NAME or DOMAIN/NAME with up to %d letters, digits, hyphens, dots and underscores", key, maxLabel)
	}
	if value != "" && !word.MatchString(value) {
		return fmt.Errorf("value %q of %s is not up to %d letters, digits, hyphens, dots and underscores, a letter or digit at both ends", value, key, maxLabel)
	}
	return nil
}

func (n Node) checkNetwork() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n.MAC != "" && !macPattern.MatchString(n.MAC) {
		fault("mac %q is not the address of a network card: six pairs of hexadecimal digits like b8:27:eb:01:02:03", n.MAC)
	}
	gateway, _ := netip.ParseAddr(n.Gateway)
	near := false
	for _, a := range n.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil || p.Bits() == 0 || p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
			fault("addresses: %q is not an address with its prefix length, like 192.0.2.10/24", a)
		}
		near = near || err == nil && p.Contains(gateway)
	}
	switch {
	case n.Gateway == "":
	case !isAddress(n.Gateway):
		fault("gateway %q is not an IP address", n.Gateway)
	case len(n.Addresses) == 0:
		fault("gateway %s is given without addresses; DHCP brings its own", n.Gateway)
	case !near:
		fault("gateway %s is in the network of none of the addresses (%s)", n.Gateway, strings.Join(n.Addresses, ", "))
	}
	for _, s := range n.NameServers {
		if !isAddress(s) {
			fault("nameservers: %q is not an IP address", s)
		}
	}
	if n.WiFi != nil {
		faults = append(faults, n.WiFi.check()...)
	}
	return faults
}

// check judges a wireless network: IEEE 802.11 has SSIDs of 1 to 32 bytes, WPA passphrases of 8 to 63
// printable ASCII characters. The password is not in the faults.
func (w WiFi) check() (faults []error) {
	if err := clean(w.SSID); len(w.SSID) < 1 || len(w.SSID) > 32 || err != nil {
		faults = append(faults, fmt.Errorf("wifi: SSID %q is not 1 to 32 bytes of printable UTF-8", w.SSID))
	}
	if strings.Contains(w.SSID, `\`) || commented(w.SSID) {
		faults = append(faults, fmt.Errorf("wifi: SSID %q has a backslash, or # after a quotation mark: netplan 0.104 or wpa_supplicant would look for another network; name the network otherwise", w.SSID))
	}
	if w.Password != "" && !phrasePattern.MatchString(w.Password) && !keyPattern.MatchString(w.Password) {
		faults = append(faults, fmt.Errorf("wifi: the password of %q has %d bytes; it must have 8 to 63 printable ASCII characters, or 64 hexadecimal digits", w.SSID, len(w.Password)))
	}
	if w.Country != "" && !regexp.MustCompile(`^[A-Z]{2}$`).MatchString(w.Country) {
		faults = append(faults, fmt.Errorf("wifi: country %q is not two capital letters of ISO 3166, like CH", w.Country))
	}
	return faults
}

func (n Node) checkAccess() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,30})?$`).MatchString(n.User) {
		fault("user %q is not up to 31 lower-case letters, digits, hyphens and underscores", n.User)
	}
	if strings.HasPrefix(n.User, "systemd-") || slices.Contains(strings.Fields(systemNames), n.User) {
		fault("user %q is a user or group of the system, and the account would not be made; take another name", n.User)
	}
	for i, key := range n.SSHKeys {
		if err := checkKey(key); err != nil {
			fault("sshkeys: key %d: %w", i+1, err)
		}
	}
	for _, s := range n.TimeServers {
		if !isHost(s) {
			fault("timeservers: %q is neither a DNS name in lower case nor an IP address", s)
		}
	}
	if err := checkProxy(n.Proxy); err != nil {
		fault("proxy: %w", err)
	}
	return faults
}

// systemNames are users and groups of base-passwd in Debian 12 and Ubuntu 18.04 and of packages of the
// profiles. useradd makes no user with the name of a group, and cloud-init then fails.
const systemNames = `root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody
adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl plugdev staff users
nogroup input sgx kvm render crontab netdev messagebus sshd ssh _ssh syslog _apt mosquitto lxd docker admin tss
uuidd landscape pollinate tcpdump dnsmasq netplan ntp _chrony containers`

// checkProxy takes http://HOST[:PORT] and nothing that would need quoting in the files of apt and systemd.
// A password is refused: every process of the machine could read it.
func checkProxy(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("the address is not http://HOST:PORT: %w", errors.Unwrap(err))
	case u.User != nil:
		return fmt.Errorf("the address of %s has a user or password, which every process of the node could read", u.Host)
	}
	if !regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$|^https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?/?$`).MatchString(s) {
		return fmt.Errorf("%q is not http://HOST:PORT", s)
	}
	return nil
}

// checkKey judges a line "TYPE BASE64 [COMMENT]" of authorized_keys (sshd(8)); the type is said again in
// the first field of the key (RFC 4253, section 6.6).
func checkKey(line string) error {
	if err := clean(line); err != nil {
		return err
	}
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return errors.New("it is not TYPE BASE64 [COMMENT]; is it the name of a file?")
	}
	if strings.Contains(fields[0], "PRIVATE") || strings.HasPrefix(fields[0], "-----") {
		return errors.New("it looks like a private key; give the .pub file's line")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(blob) < 4 {
		return errors.New("its second word is not base64; options before the type are not taken")
	}
	size := int64(binary.BigEndian.Uint32(blob))
	if size > int64(len(blob)-4) || string(blob[4:4+size]) != fields[0] {
		return fmt.Errorf("it says %q, but holds a key of another type, or it was cut off", fields[0])
	}
	return nil
}

// clean refuses what a line of text does not have.
func clean(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("it is not UTF-8")
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return fmt.Errorf("it has the character %U, which is not printable", r)
		}
	}
	return nil
}
