package cloudcore

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestFaults(t *testing.T) {
	for fault, c := range map[Fault]struct {
		status int
		text   string // of the answer or of the error
	}{
		FaultServerError:      {500, "fault http-500"},
		FaultRejectToken:      {400, invalidToken},
		FaultExpiredToken:     {400, invalidToken},
		FaultEmptyCertificate: {200, ""},
		FaultWrongCA:          {0, "unknown authority"},
		FaultFuture:           {0, "not yet valid"},
		FaultClosed:           {0, syscall.ECONNREFUSED.Error()},
	} {
		t.Run(string(fault), func(t *testing.T) {
			s := start(t, Options{Faults: []Fault{fault}})
			n := newNode(t, s, "edge-1")
			status, text, err := n.call("GET", "/edge.crt", bearer(s.Token(TokenLifetime)), n.request())
			if err != nil {
				text = []byte(err.Error())
			}
			if status != c.status || !strings.Contains(string(text), c.text) || c.text == "" && len(text) > 0 {
				t.Errorf("got %d %q, want %d %q", status, text, c.status, c.text)
			}
			if err := s.SetFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
			n.certify()
		})
	}
}

func TestFaultsOfHub(t *testing.T) {
	for _, fault := range []Fault{FaultRefuse, FaultDrop, FaultClosed} {
		t.Run(string(fault), func(t *testing.T) {
			s := start(t, Options{})
			n := newNode(t, s, "edge-1")
			n.certify()
			if err := s.SetFaults(t.Context(), fault); err != nil {
				t.Fatal(err)
			}
			c, err := n.dial(deadline(t))
			if err == nil {
				_ = c.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, registration, "edge-1", "edge-1", "x")) // the hub may be gone
				for err == nil {
					_, _, err = c.Read(deadline(t))
				}
			}
			if err := s.SetFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
			n.say(n.connect(), fmt.Sprintf(registration, "edge-1", "edge-1", "x"))
			if _, err := s.WaitNode(deadline(t), "edge-1"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestUnansweredStaysUnregistered(t *testing.T) {
	s := start(t, Options{Faults: []Fault{FaultUnanswered}})
	n := newNode(t, s, "edge-1")
	n.certify()
	c := n.connect()
	n.say(c, fmt.Sprintf(registration, "edge-1", "edge-1", "x"))
	n.say(c, `{"route":{"operation":"keepalive"}}`) // after it the registration has been read
	got, err := s.WaitNodeFor(deadline(t), "edge-1", func(n Node) bool { return n.Keepalives == 1 })
	if err != nil || got.IsRegistered() {
		t.Errorf("the node is %+v, %v", got, err)
	}
}

// TestSilent connects while nothing is said, and is hung up on when that ends.
func TestSilent(t *testing.T) {
	s := start(t, Options{Faults: []Fault{FaultSilent}})
	c, err := new(net.Dialer).DialContext(deadline(t), "tcp", s.Hub())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("silence says %v", err)
	}
	if err := s.SetFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("after the silence, reading says %v", err)
	}
	newNode(t, s, "edge-1").certify()
}

func TestSlow(t *testing.T) {
	const delay = 60 * time.Millisecond
	s := start(t, Options{Faults: []Fault{FaultSlow}, Delay: delay})
	begun := time.Now()
	newNode(t, s, "edge-1").certify()
	if took := time.Since(begun); took < delay {
		t.Errorf("it took %s", took)
	}
}

func TestUnknownFault(t *testing.T) {
	if _, err := New(Options{Faults: []Fault{"tired"}}); err == nil || !strings.Contains(err.Error(), "refuse") {
		t.Errorf("the error is %v", err)
	}
	if err := start(t, Options{}).SetFaults(t.Context(), "tired"); err == nil {
		t.Error("the server can be tired")
	}
}
