package cloudcore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Node is what the server knows of a node. Times are zero for what did not happen.
type Node struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"` // of the first registration, as in the Node object
	Address   string            `json:"address,omitempty"`
	Kubelet   string            `json:"kubelet,omitempty"`
	Runtime   string            `json:"runtime,omitempty"`
	Arch      string            `json:"arch,omitempty"`
	Connected bool              `json:"connected"`

	Joined        time.Time `json:"joined,omitzero"` // the last connection's begin
	Registered    time.Time `json:"registered,omitzero"`
	LastKeepalive time.Time `json:"last_keepalive,omitzero"`
	Left          time.Time `json:"left,omitzero"` // the last connection's end

	Certificates  int `json:"certificates"`
	Connections   int `json:"connections"`
	Registrations int `json:"registrations"`
	Keepalives    int `json:"keepalives"`
	Updates       int `json:"updates"`
}

// Stats counts what the server did.
type Stats struct {
	CARequests    int `json:"ca_requests"`
	Certificates  int `json:"certificates"` // signed
	Rejected      int `json:"rejected"`     // requests for a certificate
	Connections   int `json:"connections"`  // to the hub
	Registrations int `json:"registrations"`
}

func (n *Node) describe(o nodeObject) {
	n.Labels, n.Kubelet, n.Runtime, n.Arch = o.Metadata.Labels, o.Status.NodeInfo.KubeletVersion, o.Status.NodeInfo.ContainerRuntimeVersion, o.Status.NodeInfo.Architecture
	for _, a := range o.Status.Addresses {
		if a.Type == "InternalIP" {
			n.Address = a.Address
		}
	}
}

// IsRegistered says whether the node has registered and is connected now.
func (n Node) IsRegistered() bool { return n.Connected && n.Registrations > 0 }

// Nodes returns all nodes that asked for a certificate or connected, by name.
func (s *Server) Nodes() []Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Node, 0, len(s.nodes))
	for _, n := range s.nodes {
		one := *n
		one.Labels = maps.Clone(n.Labels)
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Node returns one of them.
func (s *Server) Node(name string) (Node, bool) {
	for _, n := range s.Nodes() {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Wait waits until done says yes, and asks it again after each change.
func (s *Server) Wait(ctx context.Context, done func(*Server) bool) error {
	for {
		next := s.next()
		if done(s) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitNode waits until a node is registered and connected.
func (s *Server) WaitNode(ctx context.Context, name string) (Node, error) {
	return s.WaitNodeFor(ctx, name, Node.IsRegistered)
}

// WaitNodeFor waits until a node is as wanted. A node that is unknown has only its name.
func (s *Server) WaitNodeFor(ctx context.Context, name string, wanted func(Node) bool) (Node, error) {
	n := Node{Name: name}
	err := s.Wait(ctx, func(s *Server) bool {
		if found, ok := s.Node(name); ok {
			n = found
		}
		return wanted(n)
	})
	if err != nil {
		return n, fmt.Errorf("waiting for node %s, which has %d certificates, %d connections and %d registrations: %w",
			name, n.Certificates, n.Connections, n.Registrations, err)
	}
	return n, nil
}

// Drop hangs up on a node. It may connect again.
func (s *Server) Drop(name string) {
	s.mu.Lock()
	one := s.open[name]
	s.mu.Unlock()
	if one != nil {
		one.close()
	}
}

// DropAll hangs up on every node.
func (s *Server) DropAll() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.open))
	s.mu.Unlock()
	for _, one := range all {
		one.close()
	}
}

// Forget deletes a node, as kubectl delete node does, and hangs up on it.
func (s *Server) Forget(name string) {
	s.Drop(name)
	s.change(func() { delete(s.nodes, name) })
}

// enter takes the place of an older connection of the same node.
func (s *Server) enter(one *session) {
	s.Drop(one.node)
	s.change(func() {
		s.open[one.node] = one
		s.stats.Connections++
		n := s.node(one.node)
		n.Connections++
		n.Connected, n.Joined = true, s.opt.Now()
	})
	s.log("connected", one.node, "")
}

func (s *Server) leave(one *session, reason error) {
	s.change(func() {
		if s.open[one.node] != one {
			return // the node came again
		}
		delete(s.open, one.node)
		if n := s.nodes[one.node]; n != nil { // not forgotten
			n.Connected, n.Left = false, s.opt.Now()
		}
	})
	s.log("disconnected", one.node, "%v", reason)
}

// node finds or makes a record; s.mu is held.
func (s *Server) node(name string) *Node {
	n, ok := s.nodes[name]
	if !ok {
		n = &Node{Name: name}
		s.nodes[name] = n
	}
	return n
}

// change makes a change that those who wait hear of.
func (s *Server) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// next is closed at the next change.
func (s *Server) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}
