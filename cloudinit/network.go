package cloudinit

// Network is a network configuration of version 2 (netplan's format, without its top-level key).
type Network struct {
	Ethernets map[string]Ethernet `yaml:"ethernets,omitempty"` // rendered in the order of the names
	WiFis     map[string]WLAN     `yaml:"wifis,omitempty"`     // by name of the interface: networkd cannot match them
}

// WLAN is one wireless interface.
type WLAN struct {
	DHCP4          bool   `yaml:"dhcp4"`
	DHCPIdentifier string `yaml:"dhcp-identifier,omitempty"`
	Optional       bool   `yaml:"optional,omitempty"`
	// AccessPoints by SSID.
	AccessPoints map[string]AccessPoint `yaml:"access-points"`
}

// AccessPoint is a wireless network; without a password it is open.
type AccessPoint struct {
	Password string `yaml:"password,omitempty"`
}

// Ethernet is one wired interface, by its name or matched.
type Ethernet struct {
	Match *Match `yaml:"match,omitempty"`
	DHCP4 bool   `yaml:"dhcp4"`
	DHCP6 bool   `yaml:"dhcp6,omitempty"`
	// DHCPIdentifier "mac" keeps a machine's lease when its card is written anew; networkd's default is
	// made of the machine-id, which is new then.
	DHCPIdentifier string         `yaml:"dhcp-identifier,omitempty"`
	DHCP4Overrides *DHCPOverrides `yaml:"dhcp4-overrides,omitempty"`
	Optional       bool           `yaml:"optional,omitempty"`
	Addresses      []string       `yaml:"addresses,omitempty"` // with prefix: 192.0.2.10/24
	Routes         []Route        `yaml:"routes,omitempty"`
	Nameservers    *Nameserver    `yaml:"nameservers,omitempty"`
}

// DHCPOverrides says what of an answer is not taken.
type DHCPOverrides struct {
	UseDNS bool `yaml:"use-dns"`
}

// Match selects an interface by its properties.
type Match struct {
	Name       string `yaml:"name,omitempty"` // may have wildcards: en*
	MACAddress string `yaml:"macaddress,omitempty"`
}

// Route is a static route; To "0.0.0.0/0" is the default one for every version of cloud-init.
type Route struct {
	To  string `yaml:"to"`
	Via string `yaml:"via"`
}

// Nameserver lists DNS servers and search domains.
type Nameserver struct {
	Addresses []string `yaml:"addresses,omitempty"`
	Search    []string `yaml:"search,omitempty"`
}
