package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/cloudinit/inventory"
	"github.com/edgebake/edgebake/cloudinit/token"
)

type seedOptions struct {
	node      nodeFlags
	token     tokenFlags
	inventory string
	kind      string
	out       string
	apply     string
	force     bool
	dryRun    bool
}

// seedLong is the text of the help. It has no example of a token: there is no way to give one in an argument.
const seedLong = `seed makes what a node needs to be itself and to join CloudCore at its first boot: name, keys, network, the address
of CloudCore and a KubeEdge token. One node comes from flags, a fleet from an inventory (CSV or YAML, one directory
for each node; flags hold for every node that says nothing else, --name chooses one of them).

--kind nocloud makes the files for the boot partition of a Raspberry Pi, iso an image (cidata.iso) and config-drive
another (config-2.iso) for virtual machines, openstack the user-data for openstack server create. --apply writes the
files into the FAT with the label system-boot of an image or a card, in place, and changes nothing else; without a
--name it only puts a fresh token there.

The token comes from a file (- is standard input), a command, or the cluster's Secret kubeedge/tokensecret. It is
never taken from an argument, which every user of the machine sees, and never printed. One that has expired, or
expires within --ships-in, is refused. Without a token the seed is complete but for edgebake-token.`

const seedExample = `edgebake seed --name edge-1 --cloudcore 192.0.2.1:10000 --token-file token -o edge-1
edgebake seed --inventory fleet.csv --kubeconfig ~/.kube/config --ships-in 12h -o seeds
edgebake seed --inventory fleet.csv --name edge-7 --token-file token --apply /dev/sdX
edgebake seed --token-file fresh-token --apply /dev/sdX`

func newSeed(env *environment) *cobra.Command {
	var o seedOptions
	cmd := &cobra.Command{
		Use: "seed", Short: "make the seeds of nodes: who they are, and how they join", Args: noWords,
		Long: long(seedLong, seedExample),
		RunE: func(cmd *cobra.Command, _ []string) error { return runSeed(cmd.Context(), env, o) },
	}
	cmd.SetFlagErrorFunc(seedFlagError)
	f := cmd.Flags()
	o.node.add(f)
	o.token.add(f)
	f.StringVar(&o.inventory, "inventory", "", "file with the nodes of a fleet: CSV, or YAML (.yaml)")
	f.StringVar(&o.kind, "kind", string(cloudinit.KindNoCloud), "nocloud, iso, config-drive or openstack")
	f.StringVarP(&o.out, "output", "o", "", "directory of the seed; with --inventory of one directory for each node")
	f.StringVar(&o.apply, "apply", "", "write the seed into the FAT of this image or card instead")
	f.BoolVar(&o.force, "force", false, "replace seeds that are there; with --apply also on a disk that is not removable")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and write nothing")
	cmd.MarkFlagsMutuallyExclusive("output", "apply")
	return cmd
}

// noWords refuses arguments without repeating them: one could be a token.
func noWords(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, but got %d", cmd.CommandPath(), len(args))
	}
	return nil
}

func seedFlagError(_ *cobra.Command, err error) error {
	if strings.HasPrefix(err.Error(), "unknown flag: --token") {
		return usagef("a token is not taken from an argument, which every user of this machine sees in ps: use --token-file (- is standard input), --token-command or --kubeconfig")
	}
	return usagef("%s", token.Hide(err.Error()))
}

func runSeed(ctx context.Context, env *environment, o seedOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	nodes, err := o.nodes()
	if err != nil {
		return env.inventoryFaults(err)
	}
	tok, err := o.token.read(ctx, env)
	if err != nil {
		return err
	}
	for i := range nodes {
		nodes[i].Token = tok.Secret()
	}
	if tok.IsZero() && joins(nodes) {
		env.reporter.Warn("there is no token in the seed: the node waits until one lies beside it as %s", cloudinit.TokenFile)
	}
	if o.apply != "" {
		return applySeed(ctx, env, o, nodes, tok)
	}
	return writeSeeds(ctx, env, o, nodes, tok)
}

func joins(nodes []cloudinit.Node) bool {
	for _, n := range nodes {
		if n.Role == "" || n.Role == "edge" {
			return true
		}
	}
	return false
}

// check refuses combinations that mean nothing. Values are checked where they are used.
func (o *seedOptions) check() error {
	if o.kind == "configdrive" {
		o.kind = string(cloudinit.KindConfigDrive)
	}
	switch cloudinit.Kind(o.kind) {
	case cloudinit.KindNoCloud, cloudinit.KindISO, cloudinit.KindConfigDrive, cloudinit.KindOpenStack:
	default:
		return usagef("--kind %q is none of nocloud, iso, config-drive and openstack", o.kind)
	}
	switch {
	case o.apply == "" && o.out == "" && !o.dryRun:
		return usagef("where to? name a directory with -o, or an image or card with --apply")
	case o.apply != "" && o.kind != string(cloudinit.KindNoCloud):
		return usagef("--apply writes the files of --kind nocloud; %s is a file of its own for a virtual machine: make it with -o", o.kind)
	case o.apply != "" && o.inventory != "" && o.node.Name == "":
		return usagef("--apply writes one node: choose one of the inventory with --name")
	case o.apply != "" && o.node.Name == "" && !o.token.given():
		return usagef("--apply needs a node (--name), or a fresh token alone (--token-file, --token-command or --kubeconfig)")
	case o.apply == "" && o.inventory == "" && o.node.Name == "":
		return usagef("which node? name one with --name, or a fleet with --inventory")
	}
	return nil
}

// nodes are those of the flags or of the inventory; none when only a token is to be applied.
func (o seedOptions) nodes() ([]cloudinit.Node, error) {
	if o.inventory != "" {
		return o.fleet()
	}
	if o.node.Name == "" {
		return nil, nil
	}
	n, err := o.node.node()
	if err != nil {
		return nil, err
	}
	problems := inventory.Check(n)
	if len(problems) == 0 {
		return []cloudinit.Node{n}, nil
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = "--" + flagOf(p.Column) + ": " + p.Message
	}
	return nil, usagef("checking node %q:\n%s", n.Name, token.Hide(strings.Join(lines, "\n")))
}

// fleet reads the inventory; --name chooses one node of it, and all of them are checked.
func (o seedOptions) fleet() ([]cloudinit.Node, error) {
	wanted := o.node.Name
	o.node.Name = ""
	base, err := o.node.node()
	if err != nil {
		return nil, err
	}
	text, err := readLimited(o.inventory, inventory.MaxSize)
	if err != nil {
		return nil, usagef("reading inventory: %w", err)
	}
	rows, err := inventory.Read(o.inventory, text, base)
	if err != nil {
		return nil, err
	}
	var nodes []cloudinit.Node
	for _, r := range rows {
		if wanted == "" || r.Node.Name == wanted {
			nodes = append(nodes, r.Node)
		}
	}
	if len(nodes) == 0 {
		return nil, usagef("choosing a node of %s: none of its %d has the name %q", o.inventory, len(rows), wanted)
	}
	return nodes, nil
}

// inventoryFaults prints the faults as the result when JSON is asked for.
func (env *environment) inventoryFaults(err error) error {
	var faults *inventory.FaultsError
	if env.settings.json && errors.As(err, &faults) {
		if err := env.printJSON(faults); err != nil {
			return err
		}
	}
	return err
}

// seeded is what seed --json prints of each node. There is no secret in it.
type seeded struct {
	Node       string   `json:"node"`
	Kind       string   `json:"kind"`
	InstanceID string   `json:"instanceID"`
	Path       string   `json:"path,omitempty"`
	Files      []string `json:"files"`
}

// seedReport is what seed --json prints.
type seedReport struct {
	Seeds  []seeded   `json:"seeds"`
	Token  *tokenInfo `json:"token,omitempty"`
	DryRun bool       `json:"dryRun,omitempty"`
}

type tokenInfo struct {
	CAHash  string `json:"caHash"`
	Expires string `json:"expires"`
}

func infoOf(t token.Token) *tokenInfo {
	if t.IsZero() {
		return nil
	}
	return &tokenInfo{CAHash: t.CAHash(), Expires: t.Expires().Format("2006-01-02T15:04:05Z07:00")}
}

// tokenLine says until when the seeds are good.
func tokenLine(t token.Token) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("; the token expires at %s", t.Expires().Format("2006-01-02 15:04 MST"))
}
