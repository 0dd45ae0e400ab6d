package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/cloudinit/inventory"
	"github.com/edgebake/edgebake/cloudinit/token"
)

// nodeFlags are the flags that describe one node, or what all nodes of an inventory have.
type nodeFlags struct {
	cloudinit.Node
	labels           []string
	ssid, country    string
	wifiPasswordFile string
	sshKeyFiles      []string
}

func (n *nodeFlags) add(f *pflag.FlagSet) {
	f.StringVar(&n.Name, "name", "", "Kubernetes node name, also the host name")
	f.StringVar(&n.Role, "role", "", "edge, master, worker or none (default edge)")
	f.StringVar(&n.CloudCore, "cloudcore", "", "HOST:PORT of CloudCore's WebSocket (port 10000); an IPv4 address or a DNS name")
	f.IntVar(&n.CertPort, "cert-port", 0, "CloudCore's HTTPS port for certificates (default 10002)")
	f.StringArrayVar(&n.labels, "label", nil, "Kubernetes label KEY=VALUE (repeatable)")
	f.StringVar(&n.MAC, "mac", "", "address of the network card that the seed is for")
	f.StringVar(&n.Serial, "serial", "", "serial number of the machine, for people")
	f.StringArrayVar(&n.Addresses, "address", nil, "address with prefix, 192.0.2.10/24 (repeatable; default DHCP)")
	f.StringVar(&n.Gateway, "gateway", "", "default router")
	f.StringArrayVar(&n.NameServers, "nameserver", nil, "address of a DNS server (repeatable)")
	f.StringVar(&n.ssid, "wifi-ssid", "", "name of the wireless network")
	f.StringVar(&n.wifiPasswordFile, "wifi-password-file", "", "file with the password of the wireless network")
	f.StringVar(&n.country, "wifi-country", "", "country in whose air it is: CH")
	f.StringVar(&n.User, "user", "", "user who may log in with the SSH keys (default edge)")
	f.StringArrayVar(&n.sshKeyFiles, "ssh-key-file", nil, "file with public SSH keys, one in a line (repeatable)")
	f.StringArrayVar(&n.TimeServers, "time-server", nil, "NTP server (repeatable)")
	f.StringVar(&n.Proxy, "proxy", "", "HTTP proxy for apt and the container runtime: http://HOST:PORT")
	f.StringVar(&n.ClusterDNS, "cluster-dns", "", "address of the cluster's DNS service, for pods")
	f.StringVar(&n.ClusterDomain, "cluster-domain", "", "DNS domain of the cluster: cluster.local")
	f.StringVar(&n.NodeIP, "node-ip", "", "address under which the node is registered")
	f.BoolVar(&n.EdgeStream, "edge-stream", false, "let kubectl logs and exec reach the node")
	f.BoolVar(&n.MetaServer, "meta-server", false, "give pods the local API endpoint")
}

// flagOf is the flag of a column of the inventory.
func flagOf(column string) string {
	switch column {
	case "labels", "nameservers", "time-servers":
		return strings.TrimSuffix(column, "s")
	case "addresses":
		return "address"
	case "ssh-keys":
		return "ssh-key-file"
	case "wifi-password":
		return "wifi-password-file"
	}
	return column
}

// maxSmallFile bounds files of keys and passwords.
const maxSmallFile = 1 << 20

// node is the node of the flags, with the files that they name.
func (n nodeFlags) node() (cloudinit.Node, error) {
	var faults []error
	note := func(flag string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("reading --%s: %w", flag, err))
		}
	}
	if len(n.labels) > 0 {
		labels, err := inventory.ParseLabels(strings.Join(n.labels, ","))
		n.Labels = labels
		note("label", err)
	}
	n.MAC = inventory.NormalMAC(n.MAC)
	if n.ssid != "" || n.wifiPasswordFile != "" || n.country != "" {
		n.WiFi = &cloudinit.WiFi{SSID: n.ssid, Country: n.country}
	}
	if n.wifiPasswordFile != "" {
		text, err := readLimited(n.wifiPasswordFile, maxSmallFile)
		n.WiFi.Password = strings.TrimRight(string(text), "\r\n")
		note("wifi-password-file", err)
	}
	for _, path := range n.sshKeyFiles {
		text, err := readLimited(path, maxSmallFile)
		n.SSHKeys = append(n.SSHKeys, keyLines(string(text))...)
		note("ssh-key-file", err)
	}
	if len(faults) > 0 {
		return n.Node, &usageError{errors.Join(faults...)}
	}
	return n.Node, nil
}

// keyLines are the keys of an authorized_keys or a .pub file.
func keyLines(text string) []string {
	var keys []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			keys = append(keys, line)
		}
		if strings.Contains(line, "PRIVATE KEY") {
			return keys // one line says enough, and the others are a secret
		}
	}
	return keys
}

// readLimited reads a whole file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text, err
}

// tokenFlags say where the token comes from, and what it must be.
type tokenFlags struct {
	file, command       string
	kubeconfig, context string
	ca, shipsIn         string
}

func (t *tokenFlags) add(f *pflag.FlagSet) {
	f.StringVar(&t.file, "token-file", "", "file with the KubeEdge token; - is standard input")
	f.StringVar(&t.command, "token-command", "", "shell command that prints the token")
	f.StringVar(&t.kubeconfig, "kubeconfig", "", "read the token from the Secret kubeedge/tokensecret of this cluster")
	f.StringVar(&t.context, "context", "", "context of the kubeconfig (default its current one)")
	f.StringVar(&t.ca, "ca", "", "certificate of CloudCore's authority (PEM or DER) that the token must belong to")
	f.StringVar(&t.shipsIn, "ships-in", "0", "the node is switched on within this time, and the token must last: 12h, 3d")
}

func (t tokenFlags) given() bool { return t.file != "" || t.command != "" || t.kubeconfig != "" }

// read gets the token and checks it; none of the flags is the zero Token.
func (t tokenFlags) read(ctx context.Context, env *environment) (token.Token, error) {
	if err := t.check(); err != nil || !t.given() {
		return token.Token{}, err
	}
	tok, err := t.get(ctx, env)
	if err != nil {
		return token.Token{}, err
	}
	shipsIn, err := parseAge(t.shipsIn)
	if err != nil {
		return token.Token{}, usagef("reading --ships-in: %w", err)
	}
	if err := tok.CheckExpiry(time.Now(), shipsIn); err != nil {
		return token.Token{}, err
	}
	if t.ca == "" {
		return tok, nil
	}
	ca, err := readLimited(t.ca, maxSmallFile)
	if err != nil {
		return token.Token{}, usagef("reading --ca: %w", err)
	}
	err = tok.CheckCA(ca)
	var wrong *token.WrongCAError
	if err != nil && !errors.As(err, &wrong) {
		err = usagef("reading --ca %s: %w", t.ca, err)
	}
	return tok, err
}

func (t tokenFlags) check() error {
	sources := 0
	for _, s := range []string{t.file, t.command, t.kubeconfig} {
		if s != "" {
			sources++
		}
	}
	switch {
	case sources > 1:
		return usagef("--token-file, --token-command and --kubeconfig exclude each other")
	case sources == 0 && t.ca != "":
		return usagef("--ca checks a token, and there is none: name its source with --token-file, --token-command or --kubeconfig")
	case t.context != "" && t.kubeconfig == "":
		return usagef("--context is of a --kubeconfig, and there is none")
	}
	return nil
}

func (t tokenFlags) get(ctx context.Context, env *environment) (token.Token, error) {
	switch {
	case t.command != "":
		return token.FromCommand(ctx, t.command, env.stdin, env.stderr)
	case t.kubeconfig != "":
		if env.settings.offline {
			return token.Token{}, usagef("--kubeconfig asks the cluster, and --offline opens no socket: use --token-file")
		}
		return token.FromCluster(ctx, t.kubeconfig, t.context)
	}
	return token.FromFile(t.file, env.stdin)
}
