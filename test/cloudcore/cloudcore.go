// Package cloudcore is a CloudCore to test against: it speaks what the edge side of KubeEdge 1.8.2
// sees of the real one, without a Kubernetes behind it.
//
// A CloudCore has two ports. The one for certificates (HTTPS, 10002) gives the certificate of its
// authority to everybody, and signs a client certificate for who brings a token. The hub (WebSocket
// over TLS, 10000) takes only clients with such a certificate; a node says there that it is alive
// (keepalive) and asks to be made a Node object (registration), which is answered with "OK". A fault
// is a way in which the server misbehaves on purpose, and can be switched while it runs.
//
// The protocol is that of cloud/pkg/cloudhub and edge/pkg/edgehub in KubeEdge's sources at v1.8.2.
// The subset: no pods, config maps or devices are ever sent to a node, no streams (10003, 10004),
// no QUIC, and nodes exist only in memory.
package cloudcore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The ports that CloudCore listens on by default (cloudcore.yaml, modules.cloudHub).
const (
	HubPort         = 10000
	CertificatePort = 10002
)

// Options is what a server is made with. The zero value listens on loopback, on free ports.
type Options struct {
	// Host is the address to listen on; "" is 127.0.0.1.
	Host string
	// HubPort and CertPort are the ports; 0 takes a free one, which then stays the same.
	HubPort, CertPort int
	// SANs are the addresses and names that the server's certificate is valid for, with Host,
	// 127.0.0.1 and localhost.
	SANs []string
	// Dir keeps the authority (ca.crt, ca.key), so that nodes know the server after a restart.
	// Without it each server has an authority of its own.
	Dir string
	// Faults are those to begin with.
	Faults []Fault
	// Delay is what FaultSlow waits before each answer; 0 is 5 s.
	Delay time.Duration
	// Keepalive is how long a node may be silent (cloudHub.keepaliveInterval); 0 is 30 s.
	Keepalive time.Duration
	// Now tells the time for certificates, tokens and records; nil is time.Now.
	Now func() time.Time
	// Log gets what happens, never a token. It is called by several goroutines, one at a time.
	Log func(Event)
}

// Event is something that happened.
type Event struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"` // ca, certificate, rejected, connected, registered, disconnected, fault, failed
	Node string    `json:"node,omitempty"`
	Text string    `json:"text,omitempty"`
}

// Server is a CloudCore to test against.
type Server struct {
	opt         Options
	ours, other authority
	// What the server presents: its own certificate, one that is not valid yet, one of another authority.
	present, future, foreign tls.Certificate

	opening sync.Mutex // held while the ports open or close
	hub     *port
	certs   *port
	stop    context.CancelFunc

	logging sync.Mutex
	mu      sync.Mutex // guards what is below
	faults  map[Fault]bool
	changed chan struct{} // closed at each change, and replaced
	nodes   map[string]*Node
	open    map[string]*session
	stats   Stats
	running int  // handlers
	ended   bool // no handler begins any more
}

// New makes a server and its authority. It does not listen yet.
func New(o Options) (*Server, error) {
	faults, err := faultSet(o.Faults)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: withDefaults(o), faults: faults, changed: make(chan struct{}), nodes: map[string]*Node{}, open: map[string]*session{}}
	if err := s.makeCertificates(); err != nil {
		return nil, err
	}
	s.hub = &port{host: s.opt.Host, number: o.HubPort, handler: s.hubHandler(), tls: s.hubTLS()}
	s.certs = &port{host: s.opt.Host, number: o.CertPort, handler: s.certHandler(), tls: s.certTLS()}
	return s, nil
}

func withDefaults(o Options) Options {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Delay == 0 {
		o.Delay = 5 * time.Second
	}
	if o.Keepalive == 0 {
		o.Keepalive = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (s *Server) makeCertificates() error {
	now := s.opt.Now()
	var err error
	if s.ours, err = openAuthority(s.opt.Dir, now); err != nil {
		return err
	}
	if s.other, err = newAuthority(now); err != nil {
		return err
	}
	names := append([]string{s.opt.Host, "127.0.0.1", "localhost"}, s.opt.SANs...)
	for _, c := range []struct {
		out  *tls.Certificate
		from authority
		at   time.Time
	}{{&s.present, s.ours, now}, {&s.future, s.ours, now.Add(futureBy)}, {&s.foreign, s.other, now}} {
		if *c.out, err = c.from.serverCertificate(names, c.at); err != nil {
			return err
		}
	}
	return nil
}

// Start listens on both ports, unless FaultClosed is on, and returns. The server ends with ctx.
func (s *Server) Start(ctx context.Context) error {
	ctx, s.stop = context.WithCancel(ctx)
	for _, p := range []*port{s.hub, s.certs} {
		p.silent = func() bool { return s.has(FaultSilent) }
		free, err := p.reserve()
		if err != nil {
			s.stop()
			return err
		}
		context.AfterFunc(ctx, free)
	}
	if err := s.apply(ctx); err != nil {
		s.stop()
		return err
	}
	context.AfterFunc(ctx, s.closePorts)
	return nil
}

// Close ends the server and its connections. When it returns, nothing calls Options.Log any more.
func (s *Server) Close() {
	if s.stop != nil {
		s.stop()
	}
	s.change(func() { s.ended = true })
	s.closePorts()
	_ = s.Wait(context.Background(), func(s *Server) bool { // never ends without being done
		s.DropAll()
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running == 0
	})
}

// counted lets Close wait for a handler.
func (s *Server) counted(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begins := false
		s.change(func() {
			if begins = !s.ended; begins {
				s.running++
			}
		})
		if !begins {
			return
		}
		defer s.change(func() { s.running-- })
		h(w, r)
	})
}

func (s *Server) closePorts() {
	s.opening.Lock()
	s.hub.close()
	s.certs.close()
	s.opening.Unlock()
	s.DropAll()
}

// Hub is the address of the WebSocket, HOST:PORT: what keadm calls --cloudcore-ipport.
func (s *Server) Hub() string { return s.hub.address() }

// HubPort is the port of the WebSocket.
func (s *Server) HubPort() int { return s.hub.number }

// CertPort is the port for certificates: what keadm calls --certport.
func (s *Server) CertPort() int { return s.certs.number }

// CA is the certificate of the authority in DER, as /ca.crt has it.
func (s *Server) CA() []byte { return slices.Clone(s.ours.certificate.Raw) }

func (s *Server) log(kind, node, format string, args ...any) {
	if s.opt.Log == nil {
		return
	}
	s.logging.Lock()
	defer s.logging.Unlock()
	s.opt.Log(Event{s.opt.Now(), kind, node, fmt.Sprintf(format, args...)})
}

// WriteTokenFile writes a token to a file that only its owner can read, whatever was there before.
func (s *Server) WriteTokenFile(path string, lifetime time.Duration) error {
	return writeFile(path, []byte(s.Token(lifetime)+"\n"), 0o600)
}

// writeFile replaces a file at once: its reader sees the old or the new one.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		_ = os.Remove(f.Name()) // the reason is in err
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// ParseListen splits HOST or HOST:PORT; without a port it is HubPort. An address of IPv6 with a port
// has brackets.
func ParseListen(address string) (host string, port int, err error) {
	if address == "" {
		return "", 0, errors.New("reading an address: it is empty")
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil { // no port, or an address of IPv6 alone
		host, text = strings.Trim(address, "[]"), strconv.Itoa(HubPort)
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", 0, fmt.Errorf("reading address %q: it is neither HOST nor HOST:PORT", address)
		}
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("reading address %q: %q is no port (0 to 65535)", address, text)
	}
	return host, int(number), nil
}

func joinPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
