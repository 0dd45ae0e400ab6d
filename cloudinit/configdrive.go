package cloudinit

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// metaDataJSON is openstack/*/meta_data.json: cloud-init takes uuid for the instance-id.
type metaDataJSON struct {
	UUID     string `json:"uuid"`
	Hostname string `json:"hostname"`
	Name     string `json:"name"`
}

// networkDataJSON is openstack/*/network_data.json, see
// https://docs.openstack.org/nova/latest/user/metadata.html.
type networkDataJSON struct {
	Links    []linkJSON    `json:"links"`
	Networks []networkJSON `json:"networks"`
	Services []serviceJSON `json:"services"`
}

type linkJSON struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	MAC  string `json:"ethernet_mac_address"`
}

type networkJSON struct {
	ID      string      `json:"id"`
	Link    string      `json:"link"`
	Type    string      `json:"type"`
	Address string      `json:"ip_address,omitempty"`
	Netmask string      `json:"netmask,omitempty"`
	Routes  []routeJSON `json:"routes,omitempty"`
}

type routeJSON struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

type serviceJSON struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// configDrive makes the ISO image of a config drive. cloud-init takes the newest dated version that it
// knows, others take latest, so both have everything.
func (n Node) configDrive(s Seed, userData []byte, secret bool) ([]File, error) {
	meta, err := marshal(metaDataJSON{UUID: s.Meta.InstanceID, Hostname: n.Name, Name: n.Name})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"meta_data.json": meta, "user_data": userData}
	if n.MAC != "" { // otherwise cloud-init asks DHCP on the first card
		if files["network_data.json"], err = marshal(n.networkData()); err != nil {
			return nil, err
		}
	}
	tree := map[string][]byte{}
	for name, content := range files {
		tree["openstack/latest/"+name], tree["openstack/2012-08-10/"+name] = content, content
	}
	image, err := isoImage("config-2", tree)
	return []File{{Name: "config-2.iso", Content: image, Secret: secret}}, err
}

func marshal(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering %T: %w", v, err)
	}
	return append(data, '\n'), nil
}

func (n Node) networkData() networkDataJSON {
	const link = "wired"
	d := networkDataJSON{Links: []linkJSON{{ID: link, Type: "phy", MAC: strings.ToLower(n.MAC)}}, Services: []serviceJSON{}}
	if len(n.Addresses) == 0 {
		d.Networks = []networkJSON{{ID: "network0", Link: link, Type: "ipv4_dhcp"}}
	}
	for i, a := range n.Addresses {
		p := netip.MustParsePrefix(a) // checked
		network := networkJSON{ID: fmt.Sprintf("network%d", i), Link: link, Type: "ipv4", Address: p.Addr().String(), Netmask: netmask(p)}
		if p.Addr().Is6() {
			network.Type = "ipv6"
		}
		if gateway, err := netip.ParseAddr(n.Gateway); err == nil && p.Contains(gateway) {
			every := "0.0.0.0"
			if gateway.Is6() {
				every = "::"
			}
			network.Routes = []routeJSON{{Network: every, Netmask: every, Gateway: n.Gateway}}
		}
		d.Networks = append(d.Networks, network)
	}
	for _, s := range n.NameServers {
		d.Services = append(d.Services, serviceJSON{Type: "dns", Address: s})
	}
	return d
}

// netmask is the prefix's length written as an address.
func netmask(p netip.Prefix) string {
	mask := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(mask) // 4 or 16 bytes
	return a.String()
}
