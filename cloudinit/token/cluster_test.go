package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/cloudinit/token"
)

const secretPath = "/api/v1/namespaces/kubeedge/secrets/tokensecret"

// apiServer answers like an API server with role-based access: the bearer token decides.
func apiServer(t *testing.T) *httptest.Server {
	t.Helper()
	secret := fmt.Sprintf(`{"kind":"Secret","apiVersion":"v1","data":{"tokendata":%q}}`, base64.StdEncoding.EncodeToString([]byte(sample(t))))
	answers := map[string]struct {
		code int
		body string
	}{
		"Bearer admin":      {200, secret},
		"Bearer dev":        {403, `{"kind":"Status","message":"secrets \"tokensecret\" is forbidden: User \"dev\" cannot get resource"}`},
		"Bearer early":      {404, `{"kind":"Status","message":"namespaces \"kubeedge\" not found"}`},
		"Bearer new":        {200, `{"kind":"Secret","data":{}}`},
		"Bearer broken":     {200, `{"kind":"Secret","data":{"tokendata":"bm9uc2Vuc2U="}}`},
		"Bearer proxy":      {200, `<html>sign in</html>`},
		"Bearer restarting": {503, `no JSON`},
		"Bearer lost":       {302, ``},
		"Basic YTpi":        {200, secret},
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[r.Header.Get("Authorization")]
		if r.Method != http.MethodGet || r.URL.Path != secretPath {
			a.code, a.body = 400, `{"message":"not asked for"}`
		} else if !ok {
			a.code, a.body = 401, `{"message":"Unauthorized"}`
		}
		w.Header().Set("Location", "https://192.0.2.1/")
		w.WriteHeader(a.code)
		fmt.Fprint(w, a.body)
	}))
	t.Cleanup(s.Close)
	return s
}

func kubeconfig(t *testing.T, s *httptest.Server, user string) string {
	t.Helper()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, content := range map[string]string{
		"bearer": "admin\n",
		"config": fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: c, user: u}}
- {name: elsewhere, context: {cluster: absent, user: u}}
- {name: anonymous, context: {cluster: c, user: nobody}}
clusters:
- name: c
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: u
  user: %s
`, s.URL, base64.StdEncoding.EncodeToString(ca), user),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config")
}

func TestFromCluster(t *testing.T) {
	s := apiServer(t)
	for name, tt := range map[string]struct{ user, context, says string }{
		"bearer token":      {user: "{token: admin}"},
		"token file":        {user: "{token: dev, tokenFile: bearer}"},
		"password":          {user: "{username: a, password: b}"},
		"not allowed":       {"{token: dev}", "", "cannot get resource"},
		"not there":         {"{token: early}", "", "is it running"},
		"not filled":        {"{token: new}", "", "not filled it yet"},
		"no token":          {"{token: broken}", "", "1 parts"},
		"no Secret":         {"{token: proxy}", "", "no Secret"},
		"503":               {"{token: restarting}", "", "answered 503"},
		"redirect":          {"{token: lost}", "", "answered 302"},
		"wrong credentials": {"{token: other}", "", "credentials"},
		"no credentials":    {"{token: admin}", "anonymous", "credentials"},
		"no cluster":        {"{token: admin}", "elsewhere", "no server"},
		"no context":        {"{token: admin}", "x", `only ["here" "elsewhere" "anonymous"]`},
		"a program":         {"{exec: {command: aws}}", "", "--token-command"},
		"bad certificate":   {"{client-certificate-data: eA==, client-key-data: eA==}", "", "client-certificate"},
		"no base64":         {"{client-certificate-data: '*'}", "", "no base64"},
		"no file":           {"{client-certificate: absent.crt}", "", "absent.crt"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := token.FromCluster(t.Context(), kubeconfig(t, s, tt.user), tt.context)
			if tt.says == "" {
				if err != nil || got.Secret() != sample(t) {
					t.Errorf("%v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v; want one that says %q", err, tt.says)
			}
		})
	}
}

// TestClientCertificate logs in as kubeadm's admin.conf does.
func TestClientCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: expiry, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || !bytes.Equal(r.TLS.PeerCertificates[0].Raw, der) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprintf(w, `{"data":{"tokendata":%q}}`, base64.StdEncoding.EncodeToString([]byte(sample(t))))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	inPEM := func(kind string, b []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	user := fmt.Sprintf("{client-certificate-data: %s, client-key-data: %s}", inPEM("CERTIFICATE", der), inPEM("EC PRIVATE KEY", keyDER))
	if got, err := token.FromCluster(t.Context(), kubeconfig(t, s, user), ""); err != nil || got.Secret() != sample(t) {
		t.Error(err)
	}
}

func TestFromClusterOutOfReach(t *testing.T) {
	s := apiServer(t)
	config := kubeconfig(t, s, "{token: admin}")
	other := kubeconfig(t, apiServer(t), "{token: admin}")
	text, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	untrusted := strings.Replace(string(text), "certificate-authority-data", "unknown", 1)
	if err := os.WriteFile(other, []byte(untrusted), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for path, says := range map[string]string{config: "connection refused", other: "certificate", config + "x": "no such file"} {
		if _, err := token.FromCluster(t.Context(), path, ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want one that says %q", err, says)
		}
	}
}
