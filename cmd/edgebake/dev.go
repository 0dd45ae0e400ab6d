package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/cloudcore"
)

func newDev(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "dev", Short: "tools for trying images out", Args: exactly(0, ""),
		Long: long("dev has tools for trying images out, which no production needs.", "edgebake dev cloudcore"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDevCloudCore(env))
	return cmd
}

type devCloudCoreOptions struct {
	listen   string
	certPort int
	sans     []string
	faults   []string
	dir      string
	lifetime time.Duration
	print    bool
}

func newDevCloudCore(env *environment) *cobra.Command {
	var o devCloudCoreOptions
	var names []string
	for _, f := range cloudcore.Faults() {
		names = append(names, string(f))
	}
	cmd := &cobra.Command{
		Use: "cloudcore", Short: "run a CloudCore for nodes to join, without a cluster", Args: exactly(0, ""),
		Long: long("cloudcore runs a CloudCore of KubeEdge 1.8 without a Kubernetes behind it: it gives certificates for its token,\n"+
			"takes nodes' connections and registers them, and says what happens, until it is interrupted. It keeps its\n"+
			"authority and a fresh token in a directory of its own, so that nodes know it again. Use it for tests only.\n\n"+
			"It can misbehave, from the beginning (--fault) or while it runs, by lines on standard input:\n"+
			"  fault NAME...  exactly these faults     nodes        who is there\n"+
			"  clear          no faults                token        print a token\n"+
			"  drop NODE      hang up on a node        forget NODE  delete a node\n"+
			"Faults: "+strings.Join(names, ", "), "edgebake dev cloudcore --listen 0.0.0.0 --san 192.0.2.10\n"+
			"edgebake dev cloudcore --fault closed"),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDevCloudCore(cmd.Context(), env, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:10000", "address to listen on, with the port of the WebSocket (0: a free one)")
	f.IntVar(&o.certPort, "cert-port", cloudcore.CertificatePort, "port for certificates (0: a free one)")
	f.StringArrayVar(&o.sans, "san", nil, "address or name under which nodes reach it (repeatable)")
	f.StringArrayVar(&o.faults, "fault", nil, "misbehave from the beginning (repeatable)")
	f.StringVar(&o.dir, "dir", "", "directory of the authority and the token (default: beside the store)")
	f.DurationVar(&o.lifetime, "token-lifetime", cloudcore.TokenLifetime, "how long a token is good; half of it later there is a new one")
	f.BoolVar(&o.print, "print-token", false, "print the token, not only the name of its file")
	return cmd
}

// cloudCoreConsole is a running CloudCore and who watches it.
type cloudCoreConsole struct {
	*environment
	o         devCloudCoreOptions
	server    *cloudcore.Server
	tokenFile string
}

func runDevCloudCore(ctx context.Context, env *environment, o devCloudCoreOptions) error {
	c, err := env.newCloudCoreConsole(o)
	if err != nil {
		return err
	}
	if err := c.server.Start(ctx); err != nil {
		return err
	}
	defer c.server.Close()
	if err := c.server.WriteTokenFile(c.tokenFile, o.lifetime); err != nil {
		return err
	}
	if err := c.introduce(); err != nil {
		return err
	}
	return c.watch(ctx)
}

func (env *environment) newCloudCoreConsole(o devCloudCoreOptions) (*cloudCoreConsole, error) {
	if o.lifetime <= 0 {
		return nil, usagef("--token-lifetime: %s is no time in which a node could join; for tokens that ended: --fault %s", o.lifetime, cloudcore.FaultExpiredToken)
	}
	host, port, err := cloudcore.ParseListen(o.listen)
	if err != nil {
		return nil, usagef("--listen: %w", err)
	}
	faults, err := cloudcore.ParseFaults(o.faults)
	if err != nil {
		return nil, usagef("--fault: %w", err)
	}
	dir := o.dir
	if dir == "" {
		dir = filepath.Join(filepath.Dir(cas.DefaultDir(env.getenv)), "edgebake-cloudcore")
	}
	c := &cloudCoreConsole{environment: env, o: o, tokenFile: filepath.Join(dir, "token")}
	c.server, err = cloudcore.New(cloudcore.Options{
		Host: host, HubPort: port, CertPort: o.certPort, SANs: append(o.sans, verify.HostAddress), Dir: dir, Faults: faults, Log: c.happened,
	})
	return c, err
}

// cloudCoreAddresses is the first line of --json; each after it is an event.
type cloudCoreAddresses struct {
	Kind      string `json:"kind"` // listening
	Hub       string `json:"hub"`
	CertPort  int    `json:"cert_port"`
	TokenFile string `json:"token_file"`
	Token     string `json:"token,omitempty"`
}

func (c *cloudCoreConsole) introduce() error {
	a := cloudCoreAddresses{Kind: "listening", Hub: c.server.Hub(), CertPort: c.server.CertPort(), TokenFile: c.tokenFile}
	if c.o.print {
		a.Token = c.server.Token(c.o.lifetime)
	}
	if c.settings.json {
		return c.line(a)
	}
	fmt.Fprintf(c.stdout, "A CloudCore for tests listens on %s, for certificates on port %d.\n", a.Hub, a.CertPort)
	fmt.Fprintf(c.stdout, "A guest of QEMU on this host reaches it as %s:%d.\n", verify.HostAddress, c.server.HubPort())
	fmt.Fprintf(c.stdout, "The token, good for %s, is in %s\n", c.o.lifetime, a.TokenFile)
	if a.Token != "" {
		fmt.Fprintf(c.stdout, "%s\n", a.Token)
	}
	return nil
}

// line writes one JSON object in a line.
func (c *cloudCoreConsole) line(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (c *cloudCoreConsole) happened(e cloudcore.Event) {
	if c.settings.json {
		_ = c.line(e) // who listens has gone; the server goes on
		return
	}
	fmt.Fprintln(c.stdout, strings.TrimRight(fmt.Sprintf("%s %-12s %s %s", e.Time.Format(time.TimeOnly), e.Kind, e.Node, e.Text), " "))
}

// watch does what standard input says and renews the token, until it is interrupted.
func (c *cloudCoreConsole) watch(ctx context.Context) error {
	renew := time.NewTicker(max(c.o.lifetime/2, time.Second))
	defer renew.Stop()
	lines := readLines(ctx, c.stdin)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-renew.C:
			if err := c.server.WriteTokenFile(c.tokenFile, c.o.lifetime); err != nil {
				return err
			}
		case line := <-lines:
			if err := c.obey(ctx, strings.Fields(line)); err != nil {
				fmt.Fprintln(c.stderr, "edgebake: "+err.Error())
			}
		}
	}
}

// readLines reads until the end; then the channel stays silent.
func readLines(ctx context.Context, r io.Reader) <-chan string {
	lines := make(chan string)
	if r == nil {
		return lines
	}
	go func() {
		for scan := bufio.NewScanner(r); scan.Scan(); {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

func (c *cloudCoreConsole) obey(ctx context.Context, words []string) error {
	switch {
	case len(words) == 0:
		return nil
	case words[0] == "fault" && len(words) > 1, words[0] == "clear" && len(words) == 1:
		return c.misbehave(ctx, words[1:])
	case words[0] == "drop" && len(words) == 2:
		c.server.Drop(words[1])
		return nil
	case words[0] == "forget" && len(words) == 2:
		c.server.Forget(words[1])
		return nil
	case words[0] == "token" && len(words) == 1:
		_, err := fmt.Fprintln(c.stdout, c.server.Token(c.o.lifetime))
		return err
	case words[0] == "nodes" && len(words) == 1:
		return c.listNodes()
	}
	return fmt.Errorf("obeying %q: there are fault NAME..., clear, nodes, token, drop NODE and forget NODE", strings.Join(words, " "))
}

func (c *cloudCoreConsole) misbehave(ctx context.Context, names []string) error {
	faults, err := cloudcore.ParseFaults(names)
	if err != nil {
		return err
	}
	if err := c.server.SetFaults(ctx, faults...); err != nil {
		return err
	}
	return c.server.WriteTokenFile(c.tokenFile, c.o.lifetime)
}

func (c *cloudCoreConsole) listNodes() error {
	nodes := c.server.Nodes()
	if c.settings.json {
		return c.line(map[string]any{"kind": "nodes", "nodes": nodes})
	}
	for _, n := range nodes {
		fmt.Fprintf(c.stdout, "%s connected=%t registered=%t address=%s labels=%v\n", n.Name, n.Connected, n.Registrations > 0, n.Address, n.Labels)
	}
	fmt.Fprintf(c.stdout, "%d nodes\n", len(nodes))
	return nil
}
