package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/cloudinit"
)

// value is what stands in a cell: a text, or in YAML also a list or a mapping.
type value struct {
	text  string
	items []string
	pairs [][2]string
	kind  kind
}

type kind int

const (
	isText kind = iota
	isList
	isMap
)

// has says whether a text of the value is as f wants.
func (v value) has(f func(string) bool) bool {
	for _, p := range v.pairs {
		if f(p[0]) || f(p[1]) {
			return true
		}
	}
	return f(v.text) || slices.ContainsFunc(v.items, f)
}

func (v value) one() (string, error) {
	if v.kind != isText {
		return "", errors.New("one value is wanted here, not a list or a mapping")
	}
	return strings.TrimSpace(v.text), nil
}

// list splits a text at the separators, or takes YAML's list.
func (v value) list(separators string) ([]string, error) {
	if v.kind == isMap {
		return nil, errors.New("a list is wanted here, not a mapping")
	}
	items := v.items
	if v.kind == isText {
		items = strings.FieldsFunc(v.text, func(r rune) bool { return strings.ContainsRune(separators, r) })
	}
	var out []string
	for _, s := range items {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out, nil
}

const usualSeparators = " \t\r\n,;"

func (v value) labels() (map[string]string, error) {
	out := map[string]string{}
	pairs := v.pairs
	if v.kind != isMap {
		items, err := v.list(usualSeparators)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			key, text, ok := strings.Cut(item, "=")
			if !ok {
				return nil, fmt.Errorf("label %q has no =: keadm 1.8.2 crashes on such a one", item)
			}
			pairs = append(pairs, [2]string{key, text})
		}
	}
	for _, p := range pairs {
		if _, twice := out[p[0]]; twice {
			return nil, fmt.Errorf("label %q is there twice", p[0])
		}
		out[p[0]] = p[1]
	}
	return out, nil
}

// column is one property of a node.
type column struct {
	name string
	set  func(n *cloudinit.Node, v value) error
}

// columns are all there are, in the order of the documentation.
func columns() []column {
	wifi := func(n *cloudinit.Node) *cloudinit.WiFi {
		w := cloudinit.WiFi{}
		if n.WiFi != nil {
			w = *n.WiFi // the defaults' is shared by all rows
		}
		n.WiFi = &w
		return n.WiFi
	}
	return []column{
		text("name", func(n *cloudinit.Node) *string { return &n.Name }),
		text("role", func(n *cloudinit.Node) *string { return &n.Role }),
		text("cloudcore", func(n *cloudinit.Node) *string { return &n.CloudCore }),
		{"cert-port", setCertPort},
		{"labels", setLabels},
		{"mac", setMAC},
		text("serial", func(n *cloudinit.Node) *string { return &n.Serial }),
		list("addresses", usualSeparators, func(n *cloudinit.Node) *[]string { return &n.Addresses }),
		text("gateway", func(n *cloudinit.Node) *string { return &n.Gateway }),
		list("nameservers", usualSeparators, func(n *cloudinit.Node) *[]string { return &n.NameServers }),
		text("wifi-ssid", func(n *cloudinit.Node) *string { return &wifi(n).SSID }),
		{"wifi-password", func(n *cloudinit.Node, v value) (err error) { // blanks at its ends belong to it
			if v.kind != isText {
				_, err = v.one()
			}
			wifi(n).Password = v.text
			return err
		}},
		text("wifi-country", func(n *cloudinit.Node) *string { return &wifi(n).Country }),
		text("user", func(n *cloudinit.Node) *string { return &n.User }),
		list("ssh-keys", ";\r\n", func(n *cloudinit.Node) *[]string { return &n.SSHKeys }),
		list("time-servers", usualSeparators, func(n *cloudinit.Node) *[]string { return &n.TimeServers }),
		text("proxy", func(n *cloudinit.Node) *string { return &n.Proxy }),
		text("cluster-dns", func(n *cloudinit.Node) *string { return &n.ClusterDNS }),
		text("cluster-domain", func(n *cloudinit.Node) *string { return &n.ClusterDomain }),
		text("node-ip", func(n *cloudinit.Node) *string { return &n.NodeIP }),
		flag("edge-stream", func(n *cloudinit.Node) *bool { return &n.EdgeStream }),
		flag("meta-server", func(n *cloudinit.Node) *bool { return &n.MetaServer }),
	}
}

// columnNames are the names of all columns.
func columnNames() []string {
	var names []string
	for _, c := range columns() {
		names = append(names, c.name)
	}
	return names
}

func known(name string) bool { return slices.Contains(columnNames(), name) }

func text(name string, field func(*cloudinit.Node) *string) column {
	return column{name, func(n *cloudinit.Node, v value) (err error) {
		*field(n), err = v.one()
		return err
	}}
}

func list(name, separators string, field func(*cloudinit.Node) *[]string) column {
	return column{name, func(n *cloudinit.Node, v value) (err error) {
		*field(n), err = v.list(separators)
		return err
	}}
}

func flag(name string, field func(*cloudinit.Node) *bool) column {
	return column{name, func(n *cloudinit.Node, v value) error {
		s, err := v.one()
		if err != nil {
			return err
		}
		switch strings.ToLower(s) {
		case "true", "yes", "1", "x":
			*field(n) = true
		case "false", "no", "0":
			*field(n) = false
		default:
			return fmt.Errorf("%q is neither yes nor no", s)
		}
		return nil
	}}
}

func setCertPort(n *cloudinit.Node, v value) error {
	s, err := v.one()
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is no port number", s)
	}
	n.CertPort = port
	return nil
}

func setLabels(n *cloudinit.Node, v value) error {
	own, err := v.labels()
	if err != nil {
		return err
	}
	all := map[string]string{}
	for k, v := range n.Labels { // those of all nodes
		all[k] = v
	}
	for k, v := range own {
		all[k] = v
	}
	n.Labels = all
	return nil
}

// setMAC writes an address as cloud-init compares it: aa:bb:cc:dd:ee:ff.
func setMAC(n *cloudinit.Node, v value) error {
	s, err := v.one()
	n.MAC = strings.ReplaceAll(strings.ToLower(s), "-", ":")
	return err
}

// ParseLabels reads labels as a flag or a cell has them: "zone=hall-3,rack=2".
func ParseLabels(text string) (map[string]string, error) { return value{text: text}.labels() }

// NormalMAC writes an address as seeds have it.
func NormalMAC(mac string) string {
	var n cloudinit.Node
	_ = setMAC(&n, value{text: mac}) // a text has no fault here
	return n.MAC
}
