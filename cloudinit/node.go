package cloudinit

// Node is what makes one machine itself: the input of its seed. Zero values mean "not said"; the
// fields say what then holds. Render checks all of it.
type Node struct {
	// Name is the Kubernetes node name and the host name: a lower-case DNS name of at most 63
	// characters. A name with dots is a fully qualified one; the host name is its first label.
	Name string
	// Role is edge (also ""), master, worker or none. Only an edge node has settings to join CloudCore
	// and a token in its seed.
	Role string
	// CloudCore is HOST:PORT of CloudCore's WebSocket (port 10000). HOST is a DNS name or an IPv4
	// address: keadm 1.8.2 splits at the first colon.
	CloudCore string
	// CertPort is CloudCore's HTTPS port for certificates; 0 is 10002.
	CertPort int
	// Token is the KubeEdge token, a secret: fmt and JSON leave it out.
	Token string `json:"-"`
	// Labels are the node's Kubernetes labels.
	Labels map[string]string

	// MAC is the address of the wired network card that the seed is for (aa:bb:cc:dd:ee:ff): the
	// network configuration matches it. "" matches every wired card.
	MAC string
	// Serial is the machine's serial number. It names the machine to people: of it only the instance-id
	// depends.
	Serial string
	// Addresses are of the wired card, with prefix (192.0.2.10/24, 2001:db8::2/64); none is DHCP.
	Addresses []string
	// Gateway is the default router of Addresses.
	Gateway string
	// NameServers are IP addresses of DNS servers; none is those of DHCP.
	NameServers []string
	// WiFi is nil without a wireless network.
	WiFi *WiFi

	// User is the login user that gets SSHKeys and sudo; "" is edge. It has no password.
	User string
	// SSHKeys are lines of authorized_keys without options.
	SSHKeys []string
	// TimeServers are host names or addresses of NTP servers; none is the image's own.
	TimeServers []string
	// Proxy is the URL of an HTTP proxy (http://HOST:PORT) for apt and the container runtime. edgecore
	// ignores it.
	Proxy string

	// ClusterDNS is the IP address of the cluster's DNS service, for pods.
	ClusterDNS string
	// ClusterDomain is the cluster's DNS domain: cluster.local.
	ClusterDomain string
	// NodeIP is the address under which the node is registered; "" is the one edgecore finds.
	NodeIP string
	// EdgeStream enables kubectl logs and exec; MetaServer the local API endpoint for pods.
	EdgeStream, MetaServer bool
}

// WiFi is a wireless network with WPA2 or WPA3 personal.
type WiFi struct {
	SSID string
	// Password is the passphrase of 8 to 63 ASCII characters, or 64 hex digits; "" is an open network.
	Password string `json:"-"`
	// Country is the regulatory domain, two capital letters of ISO 3166: CH.
	Country string
	// Fingerprint stands for the password in the instance-id; "" is computed each time, which takes
	// milliseconds on purpose. Whoever renders many nodes of one network sets it once, with Digest.
	Fingerprint string `json:"-"`
}

// String names the node and hides the rest: %v, %+v and %#v of a Node show no secret.
func (n Node) String() string { return "node " + n.Name }

// GoString is String.
func (n Node) GoString() string { return n.String() }

// String names the network and hides its password.
func (w WiFi) String() string { return "wireless network " + w.SSID }

// GoString is String.
func (w WiFi) GoString() string { return w.String() }

// Kind says for which data source of cloud-init a seed is rendered, and so which files it has.
type Kind string

// The kinds of seeds.
const (
	// KindNoCloud is the files in the root of a Raspberry Pi's boot partition: user-data, meta-data,
	// network-config and, with a token, edgebake-token.
	KindNoCloud Kind = "nocloud"
	// KindISO is one ISO 9660 image, cidata.iso, with the label CIDATA, for a second drive of a virtual machine.
	KindISO Kind = "iso"
	// KindConfigDrive is one ISO 9660 image, config-2.iso, with the label config-2, as OpenStack attaches it.
	KindConfigDrive Kind = "config-drive"
	// KindOpenStack is one file, user-data, for "openstack server create --user-data". Name and network
	// are the cloud's affair; the host name is set from user-data.
	KindOpenStack Kind = "openstack"
)

// File is one file of a seed.
type File struct {
	Name    string // plain name, without directories
	Content []byte
	Secret  bool // to be written with mode 0600: the content has the token or a password
}
