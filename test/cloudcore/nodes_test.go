package cloudcore

import (
	"testing"
	"time"
)

// TestSilentNodeLeaves gives the node a short time to live.
func TestSilentNodeLeaves(t *testing.T) {
	s := start(t, Options{Keepalive: 50 * time.Millisecond})
	n := newNode(t, s, "edge-1")
	n.certify()
	c := n.connect()
	n.say(c, `{"header":{"msg_id":"k"},"route":{"source":"websocket","group":"resource","operation":"keepalive","resource":"node"},"content":"ping"}`+"\n")
	if _, _, err := c.Read(deadline(t)); err == nil {
		t.Error("the hub answered a keepalive")
	}
	got, err := s.WaitNodeFor(deadline(t), "edge-1", func(n Node) bool { return !n.Connected && !n.Left.IsZero() })
	if err != nil || got.Keepalives != 1 {
		t.Errorf("the node is %+v, %v", got, err)
	}
}

func TestDropAndForget(t *testing.T) {
	s := start(t, Options{})
	n := newNode(t, s, "edge-1")
	n.certify()
	for _, end := range []func(string){s.Drop, s.Forget} {
		c := n.connect()
		if _, err := s.WaitNodeFor(deadline(t), "edge-1", func(n Node) bool { return n.Connected }); err != nil {
			t.Fatal(err)
		}
		end("edge-1")
		if _, _, err := c.Read(deadline(t)); err == nil || deadline(t).Err() != nil {
			t.Errorf("after hanging up, reading says %v", err)
		}
	}
	if _, ok := s.Node("edge-1"); ok {
		t.Error("the node is not forgotten")
	}
}
