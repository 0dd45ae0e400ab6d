// Package kubeedge is what the stand-ins for keadm and edgecore 1.8.2 share: the configuration file
// edgecore.yaml with its defaults, and log lines in the form of klog. It is for tests only.
//
// Both take their absolute paths below the directory that EDGEBAKE_STANDIN_ROOT names, so that tests
// can run them without a machine of their own; without it they are where the originals' are.
package kubeedge

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"github.com/goccy/go-yaml"
)

// Version is the release that the stand-ins stand in for.
const Version = "1.8.2"

// Root is the environment variable with the directory that stands for /.
const Root = "EDGEBAKE_STANDIN_ROOT"

// Path puts an absolute path below the root. A slash at the end stays.
func Path(path string) string {
	root := os.Getenv(Root)
	if root == "" {
		return path
	}
	out := filepath.Join(root, path)
	if strings.HasSuffix(path, "/") {
		out += "/"
	}
	return out
}

// The defaults of what keadm's flags set.
const (
	Dockershim        = "unix:///var/run/dockershim.sock"
	DefaultRuntime    = "docker"
	DefaultCgroups    = "cgroupfs"
	DefaultCertPort   = "10002"
	DefaultTunnelPort = "10004"
	ConfigFile        = "/etc/kubeedge/config/edgecore.yaml"
)

// Values are what differs between one edgecore.yaml and another.
type Values struct {
	HTTPServer, WebSocketServer, QUICServer, TunnelServer string
	Token, NodeName, NodeIP                               string
	RuntimeType, Endpoint, CgroupDriver                   string
	Labels                                                map[string]string
}

// Defaults are those of edgecore --defaultconfig. Without a network ip is 127.0.0.1 there.
func Defaults(ip string) Values {
	address := ip
	if address == "" {
		address = "127.0.0.1"
	}
	return Values{
		HTTPServer: "https://" + address + ":" + DefaultCertPort, WebSocketServer: address + ":10000", QUICServer: address + ":10001",
		TunnelServer: "127.0.0.1:" + DefaultTunnelPort, NodeName: hostName(), NodeIP: ip,
		RuntimeType: DefaultRuntime, Endpoint: Dockershim, CgroupDriver: DefaultCgroups,
	}
}

// hostName is the machine's, or a name that all machines with an unusable one share.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || !IsNodeName(name) {
		return "default-edge-node"
	}
	return name
}

// IsNodeName says whether Kubernetes takes a name for a node (RFC 1123 subdomain).
func IsNodeName(name string) bool {
	return len(name) <= 253 && regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`).MatchString(name)
}

// LocalIP is the address that the host's name has if it is one of the machine's, else the one
// towards the default route, else "".
func LocalIP() string {
	own := map[string]bool{}
	addresses, _ := net.InterfaceAddrs() // none is as good as an answer
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			own[n.IP.String()] = true
		}
	}
	name, _ := os.Hostname()
	named, _ := net.LookupHost(name)
	for _, ip := range named {
		if own[ip] {
			return ip
		}
	}
	c, err := net.Dial("udp4", "192.0.2.1:9") // sends nothing
	if err != nil {
		return ""
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

//go:embed edgecore.yaml
var edgecoreYAML string

// YAML is the complete edgecore.yaml.
func (v Values) YAML() ([]byte, error) {
	t, err := template.New("edgecore.yaml").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(edgecoreYAML)
	if err != nil {
		return nil, fmt.Errorf("reading the template of edgecore.yaml: %w", err)
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}

// Validate refuses what keadm and edgecore refuse.
func (c Config) Validate() error {
	var faults []error
	if e := c.Modules.Edged; !IsNodeName(e.HostnameOverride) {
		faults = append(faults, fmt.Errorf("modules.edged.hostnameOverride: Invalid value: %q: a DNS-1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'", e.HostnameOverride))
	} else if e.CgroupDriver != DefaultCgroups && e.CgroupDriver != "systemd" {
		faults = append(faults, fmt.Errorf("modules.edged.cgroupDriver: Invalid value: %q: CGroupDriver value error", e.CgroupDriver))
	}
	if c.Modules.EdgeHub.WebSocket.Enable == c.Modules.EdgeHub.QUIC.Enable {
		faults = append(faults, errors.New("modules.edgeHub: Invalid value: only one of websocket and quic can be enabled"))
	}
	if m := c.Modules.EventBus.MQTTMode; m < 0 || m > 2 {
		faults = append(faults, fmt.Errorf("modules.eventBus.mqttMode: Invalid value: %d: mode should be 0, 1 or 2", m))
	}
	return errors.Join(faults...)
}

// Config is what the stand-in for edgecore reads of edgecore.yaml; other keys are ignored.
type Config struct {
	Database struct {
		DataSource string `yaml:"dataSource"`
	} `yaml:"database"`
	Modules struct {
		EdgeHub     EdgeHub `yaml:"edgeHub"`
		Edged       Edged   `yaml:"edged"`
		MetaManager struct {
			MetaServer struct {
				Enable bool `yaml:"enable"`
			} `yaml:"metaServer"`
		} `yaml:"metaManager"`
		EventBus struct {
			MQTTMode int `yaml:"mqttMode"`
		} `yaml:"eventBus"`
	} `yaml:"modules"`
}

// EdgeHub is modules.edgeHub. Heartbeat is in seconds.
type EdgeHub struct {
	Enable     bool    `yaml:"enable"`
	Heartbeat  int     `yaml:"heartbeat"`
	HTTPServer string  `yaml:"httpServer"`
	ProjectID  string  `yaml:"projectID"`
	CAFile     string  `yaml:"tlsCaFile"`
	CertFile   string  `yaml:"tlsCertFile"`
	KeyFile    string  `yaml:"tlsPrivateKeyFile"`
	Token      string  `yaml:"token"`
	WebSocket  channel `yaml:"websocket"`
	QUIC       channel `yaml:"quic"`
}

type channel struct {
	Enable bool   `yaml:"enable"`
	Server string `yaml:"server"`
}

// Edged is modules.edged. NodeStatusUpdateFrequency is in seconds.
type Edged struct {
	Enable                    bool              `yaml:"enable"`
	CgroupDriver              string            `yaml:"cgroupDriver"`
	HostnameOverride          string            `yaml:"hostnameOverride"`
	Labels                    map[string]string `yaml:"labels"`
	NodeIP                    string            `yaml:"nodeIP"`
	NodeStatusUpdateFrequency int               `yaml:"nodeStatusUpdateFrequency"`
	PodSandboxImage           string            `yaml:"podSandboxImage"`
	RegisterNode              bool              `yaml:"registerNode"`
	RegisterNodeNamespace     string            `yaml:"registerNodeNamespace"`
	RemoteRuntimeEndpoint     string            `yaml:"remoteRuntimeEndpoint"`
	RuntimeType               string            `yaml:"runtimeType"`
}

// Parse reads an edgecore.yaml over the defaults.
func Parse(text []byte) (Config, error) {
	var c Config
	defaults, err := Defaults(LocalIP()).YAML()
	if err != nil {
		return c, err
	}
	for _, layer := range [][]byte{defaults, text} {
		if err := yaml.Unmarshal(layer, &c); err != nil {
			return c, fmt.Errorf("reading edgecore.yaml: %s", yaml.FormatError(err, false, false))
		}
	}
	return c, nil
}
