package cloudcore

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Fault is a way to misbehave.
type Fault string

// The faults. They add up; the first that applies wins.
const (
	FaultClosed           Fault = "closed"            // nothing listens: connections are refused, and those there were are cut
	FaultSilent           Fault = "silent"            // connections are accepted, and nothing is ever said on them
	FaultSlow             Fault = "slow"              // each answer comes after Options.Delay
	FaultServerError      Fault = "http-500"          // the port for certificates answers 500
	FaultRejectToken      Fault = "reject-token"      // no token is good enough
	FaultExpiredToken     Fault = "expired-token"     // the tokens that are given out ended an hour ago
	FaultWrongCA          Fault = "wrong-ca"          // another authority's certificates, as if another CloudCore had the address
	FaultFuture           Fault = "future"            // the server's certificate is valid from tomorrow on
	FaultEmptyCertificate Fault = "empty-certificate" // /edge.crt answers 200 and nothing
	FaultRefuse           Fault = "refuse"            // the hub hangs up on each node, as above nodeLimit
	FaultUnanswered       Fault = "unanswered"        // the hub reads and answers nothing: nodes stay unregistered
	FaultDrop             Fault = "drop"              // the hub hangs up after each registration
)

// Faults lists them all.
func Faults() []Fault {
	return []Fault{FaultClosed, FaultSilent, FaultSlow, FaultServerError, FaultRejectToken, FaultExpiredToken, FaultWrongCA,
		FaultFuture, FaultEmptyCertificate, FaultRefuse, FaultUnanswered, FaultDrop}
}

// ParseFaults takes names for faults.
func ParseFaults(names []string) ([]Fault, error) {
	faults := make([]Fault, 0, len(names))
	for _, name := range names {
		faults = append(faults, Fault(name))
	}
	_, err := faultSet(faults)
	return faults, err
}

func faultSet(faults []Fault) (map[Fault]bool, error) {
	on := map[Fault]bool{}
	for _, f := range faults {
		if !slices.Contains(Faults(), f) {
			return nil, fmt.Errorf("switching fault %q on: there is no such fault; there are %v", f, Faults())
		}
		on[f] = true
	}
	return on, nil
}

// SetFaults switches to exactly these faults. Connections that are open stay, except with
// FaultClosed; the faults of the hub that are about connections apply to new ones.
func (s *Server) SetFaults(ctx context.Context, faults ...Fault) error {
	on, err := faultSet(faults)
	if err != nil {
		return err
	}
	s.change(func() { s.faults = on })
	s.log("fault", "", "%v", faults)
	return s.apply(ctx)
}

// apply opens or closes the ports.
func (s *Server) apply(ctx context.Context) error {
	if s.has(FaultClosed) {
		s.closePorts()
		return nil
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	for _, p := range []*port{s.hub, s.certs} {
		if err := p.open(ctx); err != nil {
			return err
		}
		p.release(s.has(FaultSilent))
	}
	return nil
}

func (s *Server) has(f Fault) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults[f]
}

// pause waits with FaultSlow, and for ever with FaultSilent.
func (s *Server) pause(ctx context.Context) {
	for s.has(FaultSilent) && ctx.Err() == nil {
		select {
		case <-s.next():
		case <-ctx.Done():
		}
	}
	if !s.has(FaultSlow) {
		return
	}
	select {
	case <-time.After(s.opt.Delay):
	case <-ctx.Done():
	}
}
