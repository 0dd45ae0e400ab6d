package cloudcore

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"golang.org/x/sys/unix"
)

// port is one TCP port with an HTTP server behind TLS; it can close and open again.
type port struct {
	host    string
	number  int
	handler http.Handler
	tls     *tls.Config
	silent  func() bool
	server  *http.Server // nil while closed

	mu   sync.Mutex
	held []net.Conn // accepted and kept waiting
}

func (p *port) address() string { return joinPort(p.host, p.number) }

// reserve takes the number, which may be any free one, for the server's life, with a socket that is
// bound and never listens: while the port is closed, connections are refused and nobody else gets it.
// It returns what gives the number back.
func (p *port) reserve() (free func(), err error) {
	address, err := net.ResolveTCPAddr("tcp", p.address())
	if err != nil {
		return nil, fmt.Errorf("finding the address %s: %w", p.host, err)
	}
	socket, number, err := bind(address)
	if err != nil {
		return nil, fmt.Errorf("taking port %d of %s: %w", p.number, p.host, err)
	}
	p.number = number
	return func() { _ = unix.Close(socket) }, nil // nothing was written
}

func bind(address *net.TCPAddr) (socket, number int, err error) {
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: address.Port, Addr: [16]byte(address.IP.To16())})
	if ip := address.IP.To4(); ip != nil {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte(ip)}
	}
	socket, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	// The listener, which sets the option too, may share the port with it.
	err = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(socket, at)
	}
	if err == nil {
		at, err = unix.Getsockname(socket)
	}
	if err != nil {
		_ = unix.Close(socket) // err says why
		return 0, 0, err
	}
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		number = at.Port
	case *unix.SockaddrInet6:
		number = at.Port
	}
	return socket, number, nil
}

func (p *port) open(ctx context.Context) error {
	if p.server != nil {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.address())
	if err != nil {
		return fmt.Errorf("listening on %s: %w", p.address(), err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // HTTP/2 has no upgrade, and edgecore does not offer it
	p.server = &http.Server{Handler: p.handler, TLSConfig: p.tls, ErrorLog: log.New(io.Discard, "", 0), Protocols: protocols}
	go func(s *http.Server) {
		_ = s.ServeTLS(&gate{Listener: l, port: p}, "", "") // ends with close, which is no news
	}(p.server)
	return nil
}

func (p *port) close() {
	if p.server != nil {
		_ = p.server.Close() // nothing is left to be done about a socket that does not close
		p.server = nil
	}
	p.release(false)
}

// release hangs up on who was kept waiting, unless silence goes on.
func (p *port) release(silent bool) {
	if silent {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.held {
		_ = c.Close() // the other side may be gone already
	}
	p.held = nil
}

// gate keeps connections away from the server while the port is silent.
type gate struct {
	net.Listener
	port *port
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || !g.port.silent() {
			return c, err
		}
		g.port.mu.Lock()
		g.port.held = append(g.port.held, c)
		g.port.mu.Unlock()
	}
}
