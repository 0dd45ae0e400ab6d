package cloudcore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long certificates last: CloudCore's own for a century, a node's for a year
// (cloudHub.edgeCertSigningDuration).
const (
	ownYears = 100
	nodeDays = 365
	futureBy = 24 * time.Hour // how far FaultFuture is off
)

// authority is a certificate authority: an EC key on P-256, as CloudCore makes it.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	secret      []byte // the key in SEC 1's DER, which also signs tokens
}

func newAuthority(now time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("making the authority's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1024), Subject: pkix.Name{CommonName: "KubeEdge"},
		NotBefore: now.UTC(), NotAfter: now.UTC().AddDate(ownYears, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	return parseAuthority(der, key)
}

func parseAuthority(der []byte, key *ecdsa.PrivateKey) (authority, error) {
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return authority{}, fmt.Errorf("encoding the authority's key: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	return authority{certificate, key, secret}, nil
}

// openAuthority reads the authority of a directory, or makes one and keeps it there.
func openAuthority(dir string, now time.Time) (authority, error) {
	if dir == "" {
		return newAuthority(now)
	}
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if errors.Is(err, fs.ErrNotExist) {
		return keepAuthority(dir, cert, key, now)
	}
	if err != nil {
		return authority{}, fmt.Errorf("reading the authority in %s: %w; remove both files for a new one", dir, err)
	}
	ec, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return authority{}, fmt.Errorf("reading the authority in %s: its key is %T, and CloudCore's are EC keys", dir, pair.PrivateKey)
	}
	return parseAuthority(pair.Certificate[0], ec)
}

func keepAuthority(dir, cert, key string, now time.Time) (authority, error) {
	a, err := newAuthority(now)
	if err != nil {
		return a, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return a, fmt.Errorf("making the authority's directory: %w", err)
	}
	return a, errors.Join(
		writeFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: a.secret}), 0o600),
		writeFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}), 0o644))
}

// serverCertificate makes the certificate of both ports, valid from a time for names and addresses.
func (a authority) serverCertificate(names []string, from time.Time) (tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "KubeEdge", Organization: []string{"KubeEdge"}},
		NotBefore: from.UTC(), NotAfter: from.UTC().AddDate(ownYears, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the server's key: %w", err)
	}
	der, err := a.sign(template, key.Public())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// nodeCertificate signs what a node asks for: the name and the organisations of the request are
// kept, the rest of it is not, and its signature is not looked at.
func (a authority) nodeCertificate(request *x509.CertificateRequest, usages []x509.ExtKeyUsage, now time.Time) ([]byte, error) {
	return a.sign(&x509.Certificate{
		Subject:   pkix.Name{CommonName: request.Subject.CommonName, Organization: request.Subject.Organization},
		NotBefore: now.UTC(), NotAfter: now.UTC().AddDate(0, 0, nodeDays),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: usages,
	}, request.PublicKey)
}

func (a authority) sign(template *x509.Certificate, key any) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return der, nil
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}
