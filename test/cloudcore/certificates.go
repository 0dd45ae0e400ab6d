package cloudcore

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxRequest bounds a certificate request; edgecore's has 282 bytes.
const maxRequest = 1 << 20

// invalidToken is CloudCore's whole answer to who has no good token.
const invalidToken = "Invalid authorization token"

// certTLS asks for a client certificate and takes none for an answer; handlers look at it.
func (s *Server) certTLS() *tls.Config {
	return &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12, GetCertificate: s.presented}
}

// presented is the server's certificate, as the faults have it.
func (s *Server) presented(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	switch {
	case s.has(FaultWrongCA):
		return &s.foreign, nil
	case s.has(FaultFuture):
		return &s.future, nil
	}
	return &s.present, nil
}

func (s *Server) certHandler() http.Handler {
	return s.counted(func(w http.ResponseWriter, r *http.Request) {
		handle := map[string]http.HandlerFunc{"/ca.crt": s.giveCA, "/edge.crt": s.giveCertificate}[r.URL.Path]
		s.pause(r.Context())
		switch {
		case handle == nil:
			http.NotFound(w, r)
		case r.Method != http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case s.has(FaultServerError):
			http.Error(w, "the fault "+string(FaultServerError)+" is on", http.StatusInternalServerError)
		default:
			handle(w, r)
		}
	})
}

// giveCA answers with the authority's certificate in DER.
func (s *Server) giveCA(w http.ResponseWriter, r *http.Request) {
	der := s.ours.certificate.Raw
	if s.has(FaultWrongCA) {
		der = s.other.certificate.Raw
	}
	s.change(func() { s.stats.CARequests++ })
	s.log("ca", "", "the authority's certificate for %s", r.RemoteAddr)
	_, _ = w.Write(der) // who hangs up gets nothing
}

// giveCertificate signs a node's certificate for a token, or for the certificate that it replaces.
func (s *Server) giveCertificate(w http.ResponseWriter, r *http.Request) {
	node := r.Header.Get("NodeName")
	if status, text := s.authorize(r); status != http.StatusOK {
		s.change(func() { s.stats.Rejected++ })
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // who hangs up gets nothing
		return
	}
	if s.has(FaultEmptyCertificate) {
		return
	}
	der, err := s.signRequest(r)
	if err != nil {
		s.log("failed", node, "signing: %v", err) // CloudCore answers 200 with nothing
		return
	}
	s.change(func() {
		s.stats.Certificates++
		s.node(node).Certificates++
	})
	s.log("certificate", node, "signed for %s", r.RemoteAddr)
	_, _ = w.Write(der) // who hangs up gets nothing
}

// authorize returns the status and the text that CloudCore answers with.
func (s *Server) authorize(r *http.Request) (status int, text string) {
	node := r.Header.Get("NodeName")
	if peers := r.TLS.PeerCertificates; len(peers) > 0 {
		_, err := peers[0].Verify(x509.VerifyOptions{Roots: s.ours.pool(), CurrentTime: s.opt.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			s.log("rejected", node, "client certificate: %v", err)
			return http.StatusUnauthorized, err.Error()
		}
		return http.StatusOK, ""
	}
	words := strings.Split(r.Header.Get("Authorization"), " ")
	if len(words) != 2 {
		s.log("rejected", node, "no token")
		return http.StatusUnauthorized, invalidToken
	}
	err := s.checkToken(words[1])
	if err == nil && s.has(FaultRejectToken) {
		err = fmt.Errorf("the fault %s is on", FaultRejectToken)
	}
	if err != nil {
		s.log("rejected", node, "token: %v", err)
		return http.StatusBadRequest, invalidToken
	}
	return http.StatusOK, ""
}

// signRequest signs the request in the body. The header ExtKeyUsages has a JSON array of numbers.
func (s *Server) signRequest(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("reading a certificate request: %w", err)
	}
	request, err := x509.ParseCertificateRequest(body)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate request: %w", err)
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if text := r.Header.Get("ExtKeyUsages"); text != "" {
		if err := json.Unmarshal([]byte(text), &usages); err != nil {
			return nil, fmt.Errorf("reading ExtKeyUsages: %w", err)
		}
	}
	return s.ours.nodeCertificate(request, usages, s.opt.Now())
}
