package token

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxKubeconfig bounds what is read as a kubeconfig: those with hundreds of clusters have some 100 KiB.
const maxKubeconfig = 4 << 20

// kubeconfig is the part of a kubeconfig that leads to one API server.
//
// Source: k8s.io/client-go/tools/clientcmd/api/v1.
type kubeconfig struct {
	Current  string `yaml:"current-context"`
	Contexts []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string  `yaml:"name"`
		Cluster cluster `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User user   `yaml:"user"`
	} `yaml:"users"`
}

type cluster struct {
	Server     string `yaml:"server"`
	CAFile     string `yaml:"certificate-authority"`
	CAData     string `yaml:"certificate-authority-data"`
	Insecure   bool   `yaml:"insecure-skip-tls-verify"`
	ServerName string `yaml:"tls-server-name"`
	Proxy      string `yaml:"proxy-url"`
}

type user struct {
	CertFile  string `yaml:"client-certificate"`
	CertData  string `yaml:"client-certificate-data"`
	KeyFile   string `yaml:"client-key"`
	KeyData   string `yaml:"client-key-data"`
	Token     string `yaml:"token"`
	TokenFile string `yaml:"tokenFile"`
	Name      string `yaml:"username"`
	Password  string `yaml:"password"`
	Exec      any    `yaml:"exec"`
	Provider  any    `yaml:"auth-provider"`
}

// access is what one context of a kubeconfig gives.
type access struct {
	cluster cluster
	user    user
	dir     string // relative paths are relative to the kubeconfig
	context string
}

func readKubeconfig(path, context string) (access, error) {
	f, err := os.Open(path)
	if err != nil {
		return access{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKubeconfig+1))
	if err != nil {
		return access{}, err
	}
	if len(text) > maxKubeconfig {
		return access{}, fmt.Errorf("it has more than %d bytes", maxKubeconfig)
	}
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil { // the error's excerpt could show a key
		return access{}, errors.New("it is no YAML that a kubeconfig could be")
	}
	a, err := k.choose(context)
	a.dir = filepath.Dir(path)
	return a, err
}

func (k kubeconfig) choose(name string) (access, error) {
	if name == "" {
		name = k.Current
	}
	if name == "" {
		return access{}, errors.New("it has no current-context: name one with --context")
	}
	for _, c := range k.Contexts {
		if c.Name == name {
			return k.access(name, c.Context.Cluster, c.Context.User)
		}
	}
	names := make([]string, 0, len(k.Contexts))
	for _, c := range k.Contexts {
		names = append(names, c.Name)
	}
	return access{}, fmt.Errorf("it has no context %q, only %q", name, names)
}

func (k kubeconfig) access(context, clusterName, userName string) (access, error) {
	a := access{context: context}
	for _, c := range k.Clusters {
		if c.Name == clusterName {
			a.cluster = c.Cluster
		}
	}
	for _, u := range k.Users {
		if u.Name == userName {
			a.user = u.User
		}
	}
	server, err := url.Parse(a.cluster.Server)
	if err != nil || server.Scheme != "https" || server.Host == "" {
		return a, fmt.Errorf("the context %q leads to no server with https", context)
	}
	if a.user.Exec != nil || a.user.Provider != nil {
		return a, fmt.Errorf("the user of the context %q logs in through a program, which edgebake does not start; kubectl does: use --token-command %q",
			context, kubectlCommand)
	}
	return a, nil
}

// kubectlCommand gets the same through kubectl.
const kubectlCommand = "kubectl -n " + namespace + " get secret " + secretName + " -o jsonpath={.data." + secretKey + "} | base64 -d"

// bytes is the content of a field that is there as base64, or of the file that another one names.
func (a access) bytes(field, data, file string) ([]byte, error) {
	if data != "" {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(data))
		if err != nil {
			return nil, fmt.Errorf("its %s-data is no base64", field)
		}
		return b, nil
	}
	if file == "" {
		return nil, nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(a.dir, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", field, err)
	}
	return b, nil
}

func (a access) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.cluster.ServerName, InsecureSkipVerify: a.cluster.Insecure} // as the kubeconfig's owner decided
	ca, err := a.bytes("certificate-authority", a.cluster.CAData, a.cluster.CAFile)
	if err != nil {
		return nil, err
	}
	if ca != nil {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("its certificate-authority holds no certificate in PEM")
		}
	}
	cert, err := a.bytes("client-certificate", a.user.CertData, a.user.CertFile)
	if err != nil || cert == nil {
		return c, err
	}
	key, err := a.bytes("client-key", a.user.KeyData, a.user.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("reading its client-certificate and client-key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

func (a access) transport() (*http.Transport, error) {
	c, err := a.tls()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: c, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	if a.cluster.Proxy != "" {
		proxy, err := url.Parse(a.cluster.Proxy)
		if err != nil {
			return nil, errors.New("its proxy-url is no URL")
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	return t, nil
}

// authorize puts the bearer token or the password into a request.
func (a access) authorize(r *http.Request) error {
	bearer := a.user.Token
	if a.user.TokenFile != "" { // client-go lets it win
		b, err := a.bytes("tokenFile", "", a.user.TokenFile)
		if err != nil {
			return err
		}
		bearer = strings.TrimSpace(string(b))
	}
	switch {
	case bearer != "":
		r.Header.Set("Authorization", "Bearer "+bearer)
	case a.user.Name != "":
		r.SetBasicAuth(a.user.Name, a.user.Password)
	}
	return nil
}
