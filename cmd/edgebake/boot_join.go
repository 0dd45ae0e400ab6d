package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/cloudcore"
)

// joinable leaves the checks of joining out where a machine has no network to join over. asked says
// that the person wants just these checks.
func (env *environment) joinable(checks []string, board string, asked bool) ([]string, error) {
	isJoin := func(c string) bool { return slices.Contains(verify.JoinChecks(), c) }
	if !strings.HasPrefix(board, "raspi") || !slices.ContainsFunc(checks, isJoin) {
		return checks, nil
	}
	if asked {
		return nil, usagef("--checks: %s need a network, and QEMU's board %s has none that works; use virt", strings.Join(verify.JoinChecks(), ", "), board)
	}
	env.reporter.Note("leaving out %s: QEMU's board %s has no network that works", strings.Join(verify.JoinChecks(), ", "), board)
	return slices.DeleteFunc(slices.Clone(checks), isJoin), nil
}

// withCloudCore starts the CloudCore that the checks of joining need, on this host's loopback.
func withCloudCore(ctx context.Context, o verify.CheckOptions) (_ verify.CheckOptions, done func(), err error) {
	if !slices.ContainsFunc(o.Checks, func(c string) bool { return slices.Contains(verify.JoinChecks(), c) }) {
		return o, func() {}, nil
	}
	server, err := cloudcore.New(cloudcore.Options{SANs: []string{verify.HostAddress}})
	if err != nil {
		return o, nil, fmt.Errorf("starting a CloudCore to join: %w", err)
	}
	if err := server.Start(ctx); err != nil {
		return o, nil, fmt.Errorf("starting a CloudCore to join: %w", err)
	}
	o.CloudCore = &verify.CloudCore{
		Address: fmt.Sprintf("%s:%d", verify.HostAddress, server.HubPort()), CertPort: server.CertPort(),
		Token: server.Token(cloudcore.TokenLifetime),
		Seen: func(name string) verify.Seen {
			n, _ := server.Node(name) // one that is unknown has done nothing
			return verify.Seen{Registered: n.Registrations > 0, Connections: n.Connections, Certificates: n.Certificates}
		},
	}
	return o, server.Close, nil
}
