package verify

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/cloudinit"
)

// CloudCore is the server that a machine joins while it is checked.
type CloudCore struct {
	// Address is HOST:PORT of the WebSocket as the machine reaches it, and CertPort the HTTPS port on
	// the same host. On QEMU's user-mode network, this host's loopback is HostAddress.
	Address  string
	CertPort int
	Token    string
	// Seen says what the server knows of a node. It may be called at any time.
	Seen func(node string) Seen
}

// HostAddress is how a machine on QEMU's user-mode network reaches the loopback of this host.
const HostAddress = "10.0.2.2"

// Seen is what a CloudCore knows of a node.
type Seen struct {
	Registered   bool // there is a Node of this name
	Connections  int  // of edgecore, from the beginning
	Certificates int  // signed in this name
}

// checkName is the node's and host's name in a check.
const checkName = "edgebake-check"

// JoinChecks are the checks that need a CloudCore.
func JoinChecks() []string { return []string{CheckJoined, CheckTokenScrubbed, CheckStaysJoined} }

// PlainChecks are all others: they need nothing but the image.
func PlainChecks() []string {
	return slices.DeleteFunc(AllChecks(), func(c string) bool { return slices.Contains(JoinChecks(), c) })
}

// joins reports whether the machine gets a seed with which it joins.
func (o CheckOptions) joins() bool {
	return slices.ContainsFunc(o.Checks, func(c string) bool { return slices.Contains(JoinChecks(), c) })
}

// nodeSeed are the files that make the machine a node of the CloudCore.
func (o CheckOptions) nodeSeed(ownFAT bool) (map[string][]byte, error) {
	if o.CloudCore == nil {
		return nil, fmt.Errorf("seeding the machine: the checks %s need a CloudCore, and there is none", strings.Join(JoinChecks(), ", "))
	}
	return NodeSeed(cloudinit.Node{
		Name: checkName, CloudCore: o.CloudCore.Address, CertPort: o.CloudCore.CertPort, Token: o.CloudCore.Token,
	}, ownFAT)
}

// NodeSeed renders the seed of a node for a machine of Plan: files of the image's own FAT, or, when
// it has no place for a seed, of a second disk, where user-data brings the token along.
func NodeSeed(n cloudinit.Node, ownFAT bool) (map[string][]byte, error) {
	seed, err := rendered(n, cloudinit.KindNoCloud)
	if err != nil || ownFAT {
		return seed, err
	}
	cloud, err := rendered(n, cloudinit.KindOpenStack)
	if err != nil {
		return nil, err
	}
	delete(seed, "edgebake-token")
	seed["user-data"] = cloud["user-data"]
	return seed, nil
}

func rendered(n cloudinit.Node, kind cloudinit.Kind) (map[string][]byte, error) {
	list, err := cloudinit.Render(n, kind)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, f := range list {
		files[f.Name] = f.Content
	}
	return files, nil
}

// after looks from outside at what a boot has left: at the CloudCore, and at the disk. What the
// script has said is good only when this is.
func (o CheckOptions) after(ctx context.Context, r *ran) error {
	if !o.joins() || !r.state.Finished {
		return nil
	}
	before := r.seen
	r.seen = o.CloudCore.Seen(checkName)
	r.confirm(CheckJoined, r.seen.Registered && r.seen.Connections > before.Connections, fmt.Sprintf("CloudCore had %+v and has %+v", before, r.seen))
	r.confirm(CheckStaysJoined, r.seen.Certificates == before.Certificates, fmt.Sprintf("CloudCore signed %d certificates before and %d now", before.Certificates, r.seen.Certificates))
	disk, err := OpenDisk(filepath.Join(o.WorkDir, overlayName))
	if err != nil {
		return err
	}
	defer disk.Close()
	traces, err := Find(ctx, disk, []byte(o.CloudCore.Token))
	if err != nil {
		return err
	}
	r.confirm(CheckTokenScrubbed, len(traces.Files) == 0, traces.String())
	secrets, err := Secrets(ctx, disk)
	if err != nil && ctx.Err() == nil {
		secrets = []string{err.Error()} // a disk that cannot be read is no good one
	}
	r.confirm(CheckTokenScrubbed, len(secrets) == 0, cmp.Or(strings.Join(secrets, ", "), "the linter finds no secret"))
	return ctx.Err()
}

// confirm adds to the result of a check; a check that the script has not reported stays so.
func (r *ran) confirm(name string, ok bool, detail string) {
	if i := find(r.state.Results, name); i >= 0 {
		x := &r.state.Results[i]
		x.OK, x.Detail = x.OK && ok, x.Detail+"; "+detail
	}
}

func find(results []Result, name string) int {
	return slices.IndexFunc(results, func(x Result) bool { return x.Name == name })
}

// merge puts the results of two boots together: a check is good when it was good each time.
func merge(first, second []Result) []Result {
	all := slices.Clone(first)
	for _, x := range second {
		i := find(all, x.Name)
		switch {
		case i < 0:
			all = append(all, x)
		case all[i].OK && !x.OK:
			all[i] = Result{Name: x.Name, Detail: "second boot: " + x.Detail}
		case all[i].OK:
			all[i].Detail += "; second boot: " + x.Detail
		}
	}
	return all
}
