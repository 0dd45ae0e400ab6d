package main

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
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// The original's time limits: of the dial and of the header for /ca.crt, of everything for /edge.crt.
const (
	dialLimit   = 30 * time.Second
	headerLimit = 300 * time.Second
	wholeLimit  = 30 * time.Second
)

func (h *hub) caFile() string   { return kubeedge.Path(h.config.CAFile) }
func (h *hub) certFile() string { return kubeedge.Path(h.config.CertFile) }
func (h *hub) keyFile() string  { return kubeedge.Path(h.config.KeyFile) }

// obtainCertificate gets a pair with the token, unless there is one already.
func (h *hub) obtainCertificate(ctx context.Context) error {
	if _, err := tls.LoadX509KeyPair(h.certFile(), h.keyFile()); err == nil {
		return nil
	}
	ca, err := h.getCA(ctx)
	if err != nil {
		return fmt.Errorf("Error: failed to get CA certificate, err: %w", err) //nolint:staticcheck // the original's text
	}
	jwt, err := checkToken(h.config.Token, ca)
	if err != nil {
		return fmt.Errorf("Error: %w", err) //nolint:staticcheck // the original's text
	}
	authority, err := x509.ParseCertificate(ca)
	if err != nil {
		return fmt.Errorf("Error: failed to save the CA certificate to file: %s, error: %w", h.caFile(), err) //nolint:staticcheck // the original's text
	}
	if err := save(h.caFile(), "CERTIFICATE", ca, 0o644); err != nil {
		return err
	}
	key, cert, err := h.getCertificate(ctx, authority, jwt)
	if err != nil {
		return fmt.Errorf("Error: failed to get edge certificate from the cloudcore, error: %w", err) //nolint:staticcheck // the original's text
	}
	if err := save(h.keyFile(), "EC PRIVATE KEY", key, 0o600); err != nil {
		return err
	}
	if len(cert) == 0 {
		return errors.New("Error: failed to save the edge key and certificate, error: certificate cannot be nil when writing to file") //nolint:staticcheck // the original's text
	}
	return save(h.certFile(), "CERTIFICATE", cert, 0o644)
}

func save(file, kind string, der []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// getCA trusts whoever answers, whatever the status.
func (h *hub) getCA(ctx context.Context) ([]byte, error) {
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialLimit}).DialContext, ResponseHeaderTimeout: headerLimit,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the token has the hash of what comes
	}
	defer transport.CloseIdleConnections()
	_, body, err := get(ctx, &http.Client{Transport: transport}, h.config.HTTPServer+"/ca.crt", nil, nil)
	return body, err
}

// checkToken compares the authority with the first part and returns the others.
func checkToken(token string, ca []byte) (jwt string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 4 {
		return "", errors.New("token credentials are in the wrong format")
	}
	if hash := fmt.Sprintf("%x", sha256.Sum256(ca)); hash != parts[0] {
		return "", fmt.Errorf("failed to validate CA certificate. tokenCAhash: %s, CAhash: %s", parts[0], hash)
	}
	return strings.Join(parts[1:], "."), nil
}

// getCertificate sends a request for a certificate in the body of a GET.
func (h *hub) getCertificate(ctx context.Context, authority *x509.Certificate, jwt string) (key, cert []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	subject := pkix.Name{Country: []string{"CN"}, Organization: []string{"kubeEdge"}, Locality: []string{"Hangzhou"}, Province: []string{"Zhejiang"}, CommonName: "kubeedge.io"}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, private)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	status, body, err := get(ctx, &http.Client{Transport: transport, Timeout: wholeLimit}, h.config.HTTPServer+"/edge.crt",
		http.Header{"Authorization": {"Bearer " + jwt}, "Nodename": {h.node.config.HostnameOverride}}, request)
	if err != nil {
		return nil, nil, err
	}
	if status != http.StatusOK {
		return nil, nil, errors.New(string(body))
	}
	key, err = x509.MarshalECPrivateKey(private)
	return key, body, err
}

func get(ctx context.Context, client *http.Client, url string, header http.Header, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	r, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	answer, err = io.ReadAll(r.Body)
	return r.StatusCode, answer, err
}
