package main

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/cloudcore"
)

// cluster is an API server that gives the Secret to who has the bearer token "admin".
func cluster(t *testing.T, secret string) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/api/v1/namespaces/kubeedge/secrets/tokensecret":
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("Authorization") != "Bearer admin":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind":"Status","message":"secrets \"tokensecret\" is forbidden"}`)
		default:
			fmt.Fprintf(w, `{"kind":"Secret","data":{"tokendata":%q}}`, base64.StdEncoding.EncodeToString([]byte(secret)))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// kubeconfig has a context for each of the users admin and guest.
func kubeconfig(t *testing.T, s *httptest.Server) string {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return written(t, "config", fmt.Sprintf(`current-context: admin
contexts:
- {name: admin, context: {cluster: here, user: admin}}
- {name: guest, context: {cluster: here, user: guest}}
clusters:
- {name: here, cluster: {server: %q, certificate-authority-data: %s}}
users:
- {name: admin, user: {token: admin}}
- {name: guest, user: {token: guest}}
`, s.URL, base64.StdEncoding.EncodeToString(ca)))
}

func written(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSeedFromCluster gets the token where CloudCore has put it.
func TestSeedFromCluster(t *testing.T) {
	s := cluster(t, testToken)
	config := kubeconfig(t, s)
	for name, tt := range map[string]struct {
		flags []string
		code  int
		says  string
	}{
		"current context": {nil, exitDone, "the token expires at 2100-01-01"},
		"other context":   {[]string{"--context", "guest"}, exitFailed, "grant the verb get"},
		"no such context": {[]string{"--context", "x"}, exitFailed, `no context "x"`},
		"offline":         {[]string{"--offline"}, exitUsage, "use --token-file"},
		"two sources":     {[]string{"--token-file", "-"}, exitUsage, "exclude each other"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "seed")
			args := append([]string{"seed", "--name", "edge-1", "--cloudcore", "192.0.2.1:10000", "--kubeconfig", config, "-o", out}, tt.flags...)
			code, stdout, stderr := edgebake(t, args...)
			if code != tt.code || !strings.Contains(stdout+stderr, tt.says) {
				t.Errorf("exit code %d, want %d and %q: %s%s", code, tt.code, tt.says, stdout, stderr)
			}
			got, err := os.ReadFile(filepath.Join(out, "edgebake-token"))
			if (err == nil) != (tt.code == exitDone) || err == nil && string(got) != testToken+"\n" {
				t.Errorf("the seed's token: %v", err)
			}
		})
	}
	s.Close()
	if code, _, stderr := edgebake(t, "seed", "--name", "edge-1", "--cloudcore", "192.0.2.1:10000", "--kubeconfig", config, "--dry-run"); code != exitFailed || !strings.Contains(stderr, "reachable from here") {
		t.Errorf("without an API server: exit code %d, %s", code, stderr)
	}
}

// TestSeedChecksCA takes a token for a cluster's only with the certificate of that cluster.
func TestSeedChecksCA(t *testing.T) {
	ours, theirs := newCloudCore(t), newCloudCore(t)
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := ours.WriteTokenFile(tokenFile, cloudcore.TokenLifetime); err != nil {
		t.Fatal(err)
	}
	inPEM := func(s *cloudcore.Server) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.CA()}))
	}
	for name, tt := range map[string]struct {
		ca   string
		code int
		says string
	}{
		"PEM":      {inPEM(ours), exitDone, "wrote the seed"},
		"DER":      {string(ours.CA()), exitDone, "wrote the seed"},
		"mismatch": {inPEM(theirs), exitUnverified, "take the token of the cluster whose certificate this is"},
		"a key":    {"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", exitUsage, "instead of a CERTIFICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "seed")
			code, stdout, stderr := edgebake(t, "seed", "--name", "edge-1", "--cloudcore", "192.0.2.1:10000", "--token-file", tokenFile, "--ca", written(t, "ca.crt", tt.ca), "-o", out)
			if code != tt.code || !strings.Contains(stdout+stderr, tt.says) {
				t.Errorf("exit code %d, want %d and %q: %s%s", code, tt.code, tt.says, stdout, stderr)
			}
			if _, err := os.Stat(out); (err == nil) != (tt.code == exitDone) {
				t.Errorf("the seed: %v", err)
			}
		})
	}
}

// newCloudCore has an authority and makes tokens; nobody connects to it.
func newCloudCore(t *testing.T) *cloudcore.Server {
	t.Helper()
	s, err := cloudcore.New(cloudcore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
