package cloudcore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// maxMessage bounds a message of a node: a Node object of a big machine has some 50 kB.
const maxMessage = 4 << 20

// hubTLS takes only clients with a certificate of our authority. Of TLS 1.2 CloudCore allows one
// cipher suite.
func (s *Server) hubTLS() *tls.Config {
	return &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.ours.pool(), Time: s.opt.Now,
		MinVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		GetCertificate: s.presented,
	}
}

// session is the connection of a node.
type session struct {
	node  string
	conn  *websocket.Conn
	close context.CancelFunc
	alive *time.Timer // ends the session
}

// hubHandler takes any path; who the node is stands in the header node_id.
func (s *Server) hubHandler() http.Handler {
	return s.counted(func(w http.ResponseWriter, r *http.Request) {
		s.pause(r.Context())
		conn, err := websocket.Accept(w, r, nil)
		name := r.Header.Get("node_id")
		if err != nil {
			s.log("failed", name, "upgrading: %v", err)
			return
		}
		defer conn.CloseNow() //nolint:errcheck // the other side may be gone already
		if s.has(FaultRefuse) {
			s.log("rejected", name, "the fault %s is on", FaultRefuse)
			return
		}
		conn.SetReadLimit(maxMessage)
		ctx, cancel := context.WithCancel(context.Background()) // a request's own ends with the upgrade
		defer cancel()
		one := &session{node: name, conn: conn, close: cancel, alive: time.AfterFunc(s.opt.Keepalive, cancel)}
		defer one.alive.Stop()
		s.enter(one)
		err = s.converse(ctx, one)
		s.leave(one, err)
	})
}

// converse reads until the connection ends.
func (s *Server) converse(ctx context.Context, one *session) error {
	for {
		_, data, err := one.conn.Read(ctx)
		if err != nil {
			return err
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("reading a message: %w", err)
		}
		if err := s.take(ctx, one, m); err != nil {
			return err
		}
	}
}

// take acts on a message. Those about anything but the node itself are read and forgotten.
func (s *Server) take(ctx context.Context, one *session, m message) error {
	if m.Route.Operation == "keepalive" {
		one.alive.Reset(s.opt.Keepalive)
		s.change(func() {
			n := s.node(one.node)
			n.Keepalives++
			n.LastKeepalive = s.opt.Now()
		})
		return nil
	}
	name, isNode := nodeOf(m.Route.Resource)
	if !isNode || s.has(FaultUnanswered) {
		return nil
	}
	s.pause(ctx)
	switch m.Route.Operation {
	case "insert":
		return s.register(ctx, one, name, m)
	case "update":
		s.change(func() { s.node(name).Updates++ })
		return s.answer(ctx, one, m)
	}
	return nil
}

// nodeOf returns the name in NAMESPACE/nodestatus/NAME.
func nodeOf(resource string) (name string, ok bool) {
	parts := strings.Split(resource, "/")
	if len(parts) != 3 || parts[1] != "nodestatus" {
		return "", false
	}
	return parts[2], true
}

// register makes the Node. One that exists stays as it is, labels included.
func (s *Server) register(ctx context.Context, one *session, name string, m message) error {
	var object nodeObject
	if err := json.Unmarshal(m.Content, &object); err != nil {
		return fmt.Errorf("reading the Node %s: %w", name, err)
	}
	if err := s.answer(ctx, one, m); err != nil {
		return err
	}
	s.change(func() {
		s.stats.Registrations++
		n := s.node(name)
		if n.Registrations++; n.Registrations == 1 {
			n.describe(object)
		}
		n.Registered = s.opt.Now()
	})
	s.log("registered", name, "labels %v", object.Metadata.Labels)
	if s.has(FaultDrop) {
		one.close()
	}
	return nil
}

// answer says OK.
func (s *Server) answer(ctx context.Context, one *session, m message) error {
	var out message
	out.Header.ID, out.Header.Parent, out.Header.Timestamp = rand.Text(), m.Header.ID, s.opt.Now().UnixMilli()
	out.Route = route{Source: "edgecontroller", Group: "resource", Operation: "response", Resource: m.Route.Resource}
	out.Content = json.RawMessage(`"OK"`)
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	return one.conn.Write(ctx, websocket.MessageText, append(data, '\n'))
}
