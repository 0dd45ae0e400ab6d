package cloudcore

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgebake/edgebake/test/oracle"
)

// limit bounds what should take milliseconds.
const limit = 20 * time.Second

func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Log = func(e Event) { t.Logf("%s %s %s", e.Kind, e.Node, e.Text) }
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// node is the edge side, as far as these tests need it.
type node struct {
	t      *testing.T
	server *Server
	name   string
	key    *ecdsa.PrivateKey
	cert   []byte // DER
}

func newNode(t *testing.T, s *Server, name string) *node {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, server: s, name: name, key: key}
}

func (n *node) request() []byte {
	n.t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{Country: []string{"CN"}, Organization: []string{"kubeEdge"}, CommonName: "kubeedge.io"}}, n.key)
	if err != nil {
		n.t.Fatal(err)
	}
	return der
}

func (n *node) tls() *tls.Config {
	pool := x509.NewCertPool()
	ca, err := x509.ParseCertificate(n.server.CA())
	if err != nil {
		n.t.Fatal(err)
	}
	pool.AddCert(ca)
	c := &tls.Config{RootCAs: pool}
	if n.cert != nil {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{n.cert}, PrivateKey: n.key}}
	}
	return c
}

// call asks the port for certificates.
func (n *node) call(method, path string, headers map[string]string, body []byte) (status int, answer []byte, err error) {
	n.t.Helper()
	transport := &http.Transport{TLSClientConfig: n.tls()}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(n.t.Context(), method, fmt.Sprintf("https://127.0.0.1:%d%s", n.server.CertPort(), path), bytes.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("NodeName", n.name)
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	r, err := (&http.Client{Transport: transport, Timeout: limit}).Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	answer, err = io.ReadAll(r.Body)
	return r.StatusCode, answer, err
}

func bearer(token string) map[string]string {
	_, jwt, _ := strings.Cut(token, ".")
	return map[string]string{"Authorization": "Bearer " + jwt}
}

// certify gets the node a certificate.
func (n *node) certify() {
	n.t.Helper()
	status, der, err := n.call("GET", "/edge.crt", bearer(n.server.Token(TokenLifetime)), n.request())
	if err != nil || status != http.StatusOK {
		n.t.Fatalf("asking for a certificate: status %d, %q, %v", status, der, err)
	}
	n.cert = der
}

func (n *node) dial(ctx context.Context) (*websocket.Conn, error) {
	transport := &http.Transport{TLSClientConfig: n.tls()}
	n.t.Cleanup(transport.CloseIdleConnections)
	c, r, err := websocket.Dial(ctx, "wss://"+n.server.Hub()+"/e632aba927ea4ac2b575ec1603d56f10/"+n.name+"/events", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Node_id": {n.name}, "Project_id": {"e632aba927ea4ac2b575ec1603d56f10"}}})
	if r != nil && r.Body != nil {
		r.Body.Close()
	}
	return c, err
}

// connect opens the WebSocket until the test ends.
func (n *node) connect() *websocket.Conn {
	n.t.Helper()
	c, err := n.dial(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

const registration = `{"header":{"msg_id":"m1","timestamp":1,"sync":true},"route":{"source":"edged","group":"meta","operation":"insert","resource":"default/nodestatus/%s"},
"content":{"kind":"Node","metadata":{"name":%q,"labels":{"site":%q}},"status":{"addresses":[{"type":"InternalIP","address":"10.0.2.15"}],"nodeInfo":{"kubeletVersion":"v1.19.3-kubeedge-v1.8.2","containerRuntimeVersion":"remote://1.20.0"}}}}` + "\n"

func (n *node) say(c *websocket.Conn, text string) {
	n.t.Helper()
	if err := c.Write(n.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		n.t.Fatal(err)
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestNodeRegisters(t *testing.T) {
	s := start(t, Options{})
	n := newNode(t, s, "edge-1")
	n.certify()
	c := n.connect()
	n.say(c, fmt.Sprintf(registration, "edge-1", "edge-1", "hall-3"))
	_, data, err := c.Read(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if m.Header.Parent != "m1" || string(m.Content) != `"OK"` || m.Route != (route{"edgecontroller", "resource", "response", "default/nodestatus/edge-1"}) {
		t.Errorf("the answer is %s", data)
	}
	got, err := s.WaitNode(deadline(t), "edge-1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Labels["site"] != "hall-3" || got.Runtime != "remote://1.20.0" || got.Address != "10.0.2.15" || got.Certificates != 1 || got.Registrations != 1 {
		t.Errorf("the node is %+v", got)
	}
}

// TestLabelsStay registers twice: the Node that is there stays as it is.
func TestLabelsStay(t *testing.T) {
	s := start(t, Options{})
	n := newNode(t, s, "edge-1")
	n.certify()
	for i, site := range []string{"hall-3", "hall-4"} {
		n.say(n.connect(), fmt.Sprintf(registration, "edge-1", "edge-1", site))
		if _, err := s.WaitNodeFor(deadline(t), "edge-1", func(n Node) bool { return n.Registrations == i+1 }); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := s.Node("edge-1"); got.Labels["site"] != "hall-3" || got.Connections != 2 || !got.Connected {
		t.Errorf("the node is %+v", got)
	}
}

// TestAnswersOfCertificatePort compares statuses and texts with those of CloudCore 1.8.2.
func TestAnswersOfCertificatePort(t *testing.T) {
	s := start(t, Options{})
	other, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, s, "edge-1")
	good := bearer(s.Token(TokenLifetime))
	for name, c := range map[string]struct {
		method, path string
		headers      map[string]string
		body         []byte
		status       int
		text         string
	}{
		"CA":                {"GET", "/ca.crt", nil, nil, 200, string(s.CA())},
		"unknown path":      {"GET", "/", nil, nil, 404, "404 page not found\n"},
		"other method":      {"POST", "/edge.crt", good, n.request(), 405, ""},
		"no token":          {"GET", "/edge.crt", nil, n.request(), 401, invalidToken},
		"three words":       {"GET", "/edge.crt", map[string]string{"Authorization": "Bearer a b"}, n.request(), 401, invalidToken},
		"expired token":     {"GET", "/edge.crt", bearer(s.Token(-time.Minute)), n.request(), 400, invalidToken},
		"other CloudCore's": {"GET", "/edge.crt", bearer(other.Token(TokenLifetime)), n.request(), 400, invalidToken},
		"no base64":         {"GET", "/edge.crt", map[string]string{"Authorization": "Bearer !.!.!"}, n.request(), 400, invalidToken},
		"no request":        {"GET", "/edge.crt", good, nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, text, err := n.call(c.method, c.path, c.headers, c.body)
			if err != nil || status != c.status || string(text) != c.text {
				t.Errorf("got %d %q, %v; want %d %q", status, text, err, c.status, c.text)
			}
		})
	}
}

// TestRotation asks for a certificate with the old one, and with one of somebody else.
func TestRotation(t *testing.T) {
	s := start(t, Options{})
	n := newNode(t, s, "edge-1")
	n.certify()
	if status, der, err := n.call("GET", "/edge.crt", nil, n.request()); err != nil || status != 200 || len(der) == 0 {
		t.Errorf("rotating: %d %q %v", status, der, err)
	}
	foreign, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(n.request())
	if err != nil {
		t.Fatal(err)
	}
	if n.cert, err = foreign.nodeCertificate(request, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if status, text, err := n.call("GET", "/edge.crt", nil, n.request()); err != nil || status != 401 || !strings.Contains(string(text), "x509") {
		t.Errorf("rotating with a foreign certificate: %d %q %v", status, text, err)
	}
}

// TestCertificateShape looks at what was signed.
func TestCertificateShape(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s, err := New(Options{Now: func() time.Time { return now }, SANs: []string{"cloud.example.org", "192.0.2.7"}})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, s, "edge-1")
	request, err := x509.ParseCertificateRequest(n.request())
	if err != nil {
		t.Fatal(err)
	}
	der, err := s.ours.nodeCertificate(request, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject.String() != "CN=kubeedge.io,O=kubeEdge" || !c.NotBefore.Equal(now) || !c.NotAfter.Equal(now.AddDate(0, 0, 365)) {
		t.Errorf("the node's certificate is for %s from %s to %s", c.Subject, c.NotBefore, c.NotAfter)
	}
	own, err := x509.ParseCertificate(s.present.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cloud.example.org", "192.0.2.7", "127.0.0.1", "localhost"} {
		if err := own.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenSSLAndCurl lets other programs do what edgecore does.
func TestOpenSSLAndCurl(t *testing.T) {
	openssl, curl := oracle.Need(t, "openssl"), oracle.Need(t, "curl")
	s := start(t, Options{})
	dir := t.TempDir()
	run := func(tool string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(deadline(t), tool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v: %s", tool, args, err, out)
		}
		return string(out)
	}
	base := fmt.Sprintf("https://127.0.0.1:%d", s.CertPort())
	hash, _, _ := strings.Cut(s.Token(TokenLifetime), ".")
	run(curl, "-sSfk", "-o", "ca.der", base+"/ca.crt")
	ca, err := os.ReadFile(filepath.Join(dir, "ca.der"))
	if err != nil || fmt.Sprintf("%x", sha256.Sum256(ca)) != hash {
		t.Fatalf("the token names authority %s: %v", hash, err)
	}
	run(openssl, "x509", "-inform", "der", "-in", "ca.der", "-out", "ca.pem")
	run(openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-outform", "der", "-out", "request.der", "-subj", "/CN=kubeedge.io")
	run(curl, "-sSf", "--cacert", "ca.pem", "-X", "GET", "--data-binary", "@request.der", "-H", "NodeName: edge-1",
		"-H", "Authorization: "+bearer(s.Token(TokenLifetime))["Authorization"], "-o", "node.der", base+"/edge.crt")
	run(openssl, "x509", "-inform", "der", "-in", "node.der", "-out", "node.pem")
	if out := run(openssl, "verify", "-purpose", "sslclient", "-CAfile", "ca.pem", "node.pem"); !strings.Contains(out, "OK") {
		t.Error(out)
	}
	out := run(curl, "-sS", "--http1.1", "--cacert", "ca.pem", "--cert", "node.pem", "--key", "key.pem", "-o", "answer", "-w", "%{http_code}", "https://"+s.Hub()+"/")
	if out != "426" { // it wants a WebSocket
		t.Errorf("the hub answers %s to a plain request", out)
	}
}

func TestHubWantsCertificate(t *testing.T) {
	s := start(t, Options{})
	if _, err := newNode(t, s, "edge-1").dial(deadline(t)); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("dialling without a certificate: %v", err)
	}
}

// TestAuthorityStays makes two servers in one directory.
func TestAuthorityStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cloud")
	first := start(t, Options{Dir: dir})
	n := newNode(t, first, "edge-1")
	n.certify()
	first.Close()
	n.server = start(t, Options{Dir: dir})
	n.connect()
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "remove both files") {
		t.Errorf("the error is %v", err)
	}
}

func TestParseListen(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0": "0.0.0.0 10000", "127.0.0.1:0": "127.0.0.1 0", "cloud:30000": "cloud 30000", "::1": "::1 10000", "[::1]:20000": "::1 20000", "[::1]": "::1 10000",
		"": "empty", "a:b:c": "neither", "a:70000": "no port", "a:x": "no port",
	} {
		host, port, err := ParseListen(address)
		got := fmt.Sprint(host, " ", port)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", address, got, want)
		}
	}
}
