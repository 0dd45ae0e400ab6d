package cloudinit

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // WPA's derivation of keys is defined with SHA-1
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Places in the node that the scripts of the image know.
const (
	// JoinConfPath has the settings of the join, as lines KEY=VALUE.
	JoinConfPath = "/etc/edgebake/join.conf"
	// TokenPath has the token where the seed is not the FAT of a Raspberry Pi.
	TokenPath = "/var/lib/edgebake/token" //nolint:gosec // a path
	// TokenFile is the token's name in the FAT of a Raspberry Pi.
	TokenFile = "edgebake-token"
	// DefaultUser is the login user of a node that names none.
	DefaultUser = "edge"
	// DefaultCertPort is where CloudCore gives certificates.
	DefaultCertPort = 10002
)

// maxUserData is what OpenStack takes of user-data, in base64 (nova's MAX_USERDATA_SIZE).
const maxUserData = 65535

// Render makes the seed of one node: the same node gives the same bytes. Files are in the order of
// their names. An error lists every fault of the node, one in a line.
func Render(n Node, kind Kind) ([]File, error) {
	if err := n.Check(); err != nil {
		return nil, err
	}
	seed, err := n.seed(kind)
	if err != nil {
		return nil, err
	}
	files, err := NoCloud(seed)
	if err != nil {
		return nil, err
	}
	token := n.joins() && n.Token != ""
	switch kind {
	case KindNoCloud:
		if token {
			files[TokenFile] = []byte(n.Token + "\n")
		}
		return n.list(files), nil
	case KindISO:
		image, err := isoImage("cidata", files)
		return []File{{Name: "cidata.iso", Content: image, Secret: token || n.wifiSecret()}}, err
	case KindConfigDrive:
		return n.configDrive(seed, files["user-data"], token)
	}
	if size := base64.StdEncoding.EncodedLen(len(files["user-data"])); size > maxUserData {
		return nil, fmt.Errorf("rendering user-data: it has %d bytes in base64, and OpenStack takes %d; give fewer SSH keys or labels", size, maxUserData)
	}
	return []File{{Name: "user-data", Content: files["user-data"], Secret: token}}, nil
}

// wifiSecret reports whether the network configuration has a password.
func (n Node) wifiSecret() bool { return n.WiFi != nil && n.WiFi.Password != "" }

func (n Node) list(files map[string][]byte) []File {
	var list []File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		secret := name == TokenFile || name == "network-config" && n.wifiSecret()
		list = append(list, File{Name: name, Content: files[name], Secret: secret})
	}
	return list
}

// seed is the node as cloud-init reads it.
func (n Node) seed(kind Kind) (Seed, error) {
	s := Seed{User: n.userData(kind != KindNoCloud), Meta: MetaData{InstanceID: n.InstanceID(), LocalHostname: n.hostname()}}
	switch kind {
	case KindNoCloud, KindISO:
		var err error
		if s.Network, err = n.network(); err != nil {
			return s, err
		}
	case KindConfigDrive:
		switch {
		case n.WiFi != nil:
			return s, fmt.Errorf("wifi: a config drive cannot say it; use kind %s", KindISO)
		case n.MAC == "" && len(n.Addresses)+len(n.NameServers) > 0:
			return s, fmt.Errorf("mac is empty: a config drive names the network card of addresses and nameservers by it")
		}
	case KindOpenStack:
		if n.WiFi != nil || len(n.Addresses)+len(n.NameServers) > 0 {
			return s, fmt.Errorf("addresses, nameservers and wifi cannot be said in user-data: set them in OpenStack's port and subnet")
		}
	default:
		return s, fmt.Errorf("rendering seed: unknown kind %q; known are %s, %s, %s and %s", kind, KindNoCloud, KindISO, KindConfigDrive, KindOpenStack)
	}
	return s, nil
}

// hostname is the first label of the name.
func (n Node) hostname() string {
	label, _, _ := strings.Cut(n.Name, ".")
	return label
}

// InstanceID is iid-NAME-DIGEST: cloud-init makes a first boot of a seed with another one. The digest is
// of everything but the token, so that a fresh token does not make a new instance. The values and not the
// files are hashed: another version of this program, which may write the files otherwise, makes none either.
func (n Node) InstanceID() string {
	h := sha256.New()
	say := func(key string, values ...string) {
		if len(values) > 0 && (len(values) > 1 || values[0] != "") {
			fmt.Fprintf(h, "%s=%q\n", key, values)
		}
	}
	say("name", n.Name)
	say("serial", n.Serial)
	say("mac", strings.ToLower(n.MAC))
	say("addresses", n.Addresses...)
	say("gateway", n.Gateway)
	say("nameservers", n.NameServers...)
	if n.WiFi != nil {
		say("wifi", n.WiFi.SSID, n.WiFi.Country, n.WiFi.Digest())
	}
	say("user", n.user())
	say("sshkeys", n.SSHKeys...)
	say("timeservers", n.TimeServers...)
	say("proxy", n.Proxy)
	if n.joins() {
		say("join", n.joinConf())
	}
	return fmt.Sprintf("iid-%s-%x", n.Name, h.Sum(nil)[:4])
}

// Digest is the Fingerprint of the network. It makes guessing the password as slow as WPA itself makes it:
// the instance-id is no secret.
func (w WiFi) Digest() string {
	if w.Password == "" || w.Fingerprint != "" {
		return w.Fingerprint
	}
	key, err := w.key()
	if err != nil { // the node is another instance then, not a wrong one
		return "unknown"
	}
	return key
}

// key is WPA's own key of the passphrase, 64 hexadecimal digits (IEEE 802.11, annex J.4). A Go toolchain
// in FIPS mode may refuse to derive it.
func (w WiFi) key() (string, error) {
	key, err := pbkdf2.Key(sha1.New, w.Password, []byte(w.SSID), 4096, 32)
	if err != nil {
		return "", fmt.Errorf("deriving the key of the %s: %w", w, err)
	}
	return fmt.Sprintf("%x", key), nil
}

// secret is what the network configuration says for the password: itself, or the key when
// wpa_supplicant would take a part of it for a comment.
func (w WiFi) secret() (string, error) {
	if commented(w.Password) {
		return w.key()
	}
	return w.Password, nil
}

// commented reports whether wpa_supplicant 2.10 cuts a text in quotes off: for it, quotes end at the first
// quotation mark, and # begins a comment after that.
func commented(text string) bool {
	_, rest, found := strings.Cut(text, `"`)
	return found && strings.Contains(rest, "#")
}

func (n Node) user() string { return cmp.Or(n.User, DefaultUser) }

// joinConf renders /etc/edgebake/join.conf. Check has seen to it that values have only
// [A-Za-z0-9._:/,=@%+-]: the script on the node parses the lines and takes nothing else.
func (n Node) joinConf() string {
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		labels = append(labels, key+"="+n.Labels[key])
	}
	var b strings.Builder
	for _, line := range [][2]string{
		{"NODE_NAME", n.Name},
		{"CLOUDCORE", n.CloudCore},
		{"CERT_PORT", strconv.Itoa(cmp.Or(n.CertPort, DefaultCertPort))},
		{"LABELS", strings.Join(labels, ",")},
		{"CLUSTER_DNS", n.ClusterDNS},
		{"CLUSTER_DOMAIN", n.ClusterDomain},
		{"NODE_IP", n.NodeIP},
		{"EDGE_STREAM", strconv.FormatBool(n.EdgeStream)},
		{"META_SERVER", strconv.FormatBool(n.MetaServer)},
	} {
		fmt.Fprintf(&b, "%s=%s\n", line[0], line[1])
	}
	return b.String()
}

// userData says who may log in and writes the files of the node. withToken is for seeds without a
// place for the token's own file.
func (n Node) userData(withToken bool) UserData {
	yes, no := true, false
	u := UserData{
		Hostname: n.hostname(), SSHPasswordAuth: &no,
		Users: []User{{
			Name: n.user(), Gecos: "Edge node", Groups: []string{"adm", "sudo", "systemd-journal"}, Shell: "/bin/bash",
			Sudo: "ALL=(ALL) NOPASSWD:ALL", LockPasswd: &yes, SSHAuthorizedKeys: n.SSHKeys,
		}},
	}
	if n.Name != n.hostname() {
		u.FQDN = n.Name
	}
	if n.joins() {
		u.WriteFiles = append(u.WriteFiles, WriteFile{Path: JoinConfPath, Permissions: "0600", Content: n.joinConf()})
		if withToken && n.Token != "" {
			u.WriteFiles = append(u.WriteFiles, WriteFile{Path: TokenPath, Permissions: "0600", Content: n.Token + "\n"})
		}
	}
	n.addTime(&u)
	n.addProxy(&u)
	n.addWiFi(&u)
	return u
}

// addTime names the time servers in a drop-in of timesyncd: cloud-init's own ntp module would install
// another client. timesyncd runs already when the file comes in the first boot.
func (n Node) addTime(u *UserData) {
	if len(n.TimeServers) == 0 {
		return
	}
	u.WriteFiles = append(u.WriteFiles, WriteFile{
		Path: "/etc/systemd/timesyncd.conf.d/50-edgebake.conf", Permissions: "0644",
		Content: "[Time]\nNTP=" + strings.Join(n.TimeServers, " ") + "\n",
	})
	u.RunCmd = append(u.RunCmd, []string{"systemctl", "try-restart", "systemd-timesyncd.service"})
}

// addProxy tells apt and the container runtimes. cloud-init's apt module is not used: with it the
// image's sources.list would be written anew.
func (n Node) addProxy(u *UserData) {
	if n.Proxy == "" {
		return
	}
	apt := fmt.Sprintf("Acquire::http::Proxy %q;\nAcquire::https::Proxy %q;\n", n.Proxy, n.Proxy)
	u.WriteFiles = append(u.WriteFiles, WriteFile{Path: "/etc/apt/apt.conf.d/50edgebake-proxy", Permissions: "0644", Content: apt})
	var unit strings.Builder
	unit.WriteString("[Service]\n")
	for _, v := range []string{"HTTP_PROXY=" + n.Proxy, "HTTPS_PROXY=" + n.Proxy, "NO_PROXY=localhost,127.0.0.1,::1"} {
		fmt.Fprintf(&unit, "Environment=%q\n", v)
	}
	for _, name := range []string{"containerd", "crio"} {
		u.WriteFiles = append(u.WriteFiles, WriteFile{
			Path: "/etc/systemd/system/" + name + ".service.d/50-edgebake-proxy.conf", Permissions: "0644", Content: unit.String(),
		})
	}
	// Only the runtime that the image has; it runs already.
	u.RunCmd = append(u.RunCmd, []string{"sh", "-c", "systemctl daemon-reload; for unit in containerd crio; do " +
		"if systemctl --quiet is-active $unit.service; then systemctl restart $unit.service; fi; done"})
}

// hidePassword closes what cloud-init leaves readable for all with the wireless network's password in it:
// netplan's file before version 23.2, and its log, to which it writes the whole network configuration,
// in version 22.4, which keeps the mode with which Python has opened the file.
const hidePassword = "chmod -f 0600 /etc/netplan/50-cloud-init.yaml; chmod -f 0640 /var/log/cloud-init.log || true"

// addWiFi sets the regulatory domain: netplan has a key for it since 0.105 only, and an unknown key
// would leave the node without any network. In the first boot the module may be loaded before the file
// is there, so iw, where the image has it, says it again.
func (n Node) addWiFi(u *UserData) {
	if n.WiFi == nil {
		return
	}
	if n.wifiSecret() {
		u.BootCmd = append(u.BootCmd, []string{"sh", "-c", hidePassword})
	}
	if c := n.WiFi.Country; c != "" {
		u.BootCmd = append(u.BootCmd, []string{"sh", "-c", "if command -v iw >/dev/null; then iw reg set " + c + " || true; fi"})
		u.WriteFiles = append(u.WriteFiles, WriteFile{
			Path: "/etc/modprobe.d/50-edgebake-wifi.conf", Permissions: "0644", Content: "options cfg80211 ieee80211_regdom=" + c + "\n",
		})
	}
}

// network is netplan's configuration: every wired card, or the one with the MAC, and the wireless one.
// None is optional: the image waits until any one is online, and counts no optional ones.
func (n Node) network() (*Network, error) {
	wired := Ethernet{Match: &Match{Name: "e*"}, Addresses: n.Addresses}
	if n.MAC != "" {
		wired.Match = &Match{MACAddress: strings.ToLower(n.MAC)}
	}
	if len(n.NameServers) > 0 {
		wired.Nameservers = &Nameserver{Addresses: n.NameServers}
	}
	if len(n.Addresses) == 0 {
		wired.DHCP4, wired.DHCPIdentifier = true, "mac"
		if len(n.NameServers) > 0 {
			wired.DHCP4Overrides = &DHCPOverrides{UseDNS: false}
		}
	}
	switch {
	case strings.Contains(n.Gateway, ":"):
		wired.Routes = []Route{{To: "::/0", Via: n.Gateway}}
	case n.Gateway != "":
		wired.Routes = []Route{{To: "0.0.0.0/0", Via: n.Gateway}}
	}
	net := &Network{Ethernets: map[string]Ethernet{"wired": wired}}
	if n.WiFi == nil {
		return net, nil
	}
	secret, err := n.WiFi.secret()
	net.WiFis = map[string]WLAN{"wlan0": {
		DHCP4: true, DHCPIdentifier: "mac", AccessPoints: map[string]AccessPoint{n.WiFi.SSID: {Password: secret}},
	}}
	return net, err
}
