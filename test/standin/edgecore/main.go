// Command edgecore is a stand-in for KubeEdge's edgecore 1.8.2 in tests. Seen from CloudCore, from
// systemd, from the journal and from the file system it behaves as the original does: it reads
// edgecore.yaml, asks the container runtime first, gets its certificate with the token, connects,
// says every 15 seconds that it is alive, and registers its node; it ends for the reasons for which
// the original ends, with the same exit codes and lines (edge/cmd/edgecore and edge/pkg in KubeEdge's
// sources).
//
// It runs no pods, keeps nothing in its database, speaks no MQTT, has neither streams nor a metaServer,
// and does not renew certificates.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// Exit codes: klog.Fatal's, and that of edged's failure or a flag.
const (
	exitFatal  = 255
	exitFailed = 1
)

// settings is what tests change.
type settings struct {
	stdout, stderr io.Writer
	proc           string        // file system of processes
	api            string        // address of the kubelet's API
	dialPause      time.Duration // between the dials of one try
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], settings{os.Stdout, os.Stderr, "/proc", "127.0.0.1:10350", 5 * time.Second}))
}

// run is the program; it goes on until ctx ends or something fails.
func run(ctx context.Context, args []string, s settings) int {
	log := kubeedge.NewLog(s.stderr)
	flags := flag.NewFlagSet("edgecore", flag.ContinueOnError)
	flags.SetOutput(s.stderr)
	file := flags.String("config", kubeedge.Path(kubeedge.ConfigFile), "The path to the configuration file")
	version := flags.Bool("version", false, "Print version information and quit")
	defaults := flags.Bool("defaultconfig", false, "Print default configuration for reference")
	if err := flags.Parse(args); err != nil {
		return exitFailed
	}
	switch {
	case *version:
		fmt.Fprintf(s.stdout, "KubeEdge v%s (stand-in for tests)\n", kubeedge.Version)
		return 0
	case *defaults:
		text, err := kubeedge.Defaults(kubeedge.LocalIP()).YAML()
		_, _ = s.stdout.Write(text) // there is nobody else to tell
		return exitOf(err)
	}
	err := start(ctx, s, log, *file)
	var edged *edgedError
	switch {
	case errors.As(err, &edged):
		log.Error("%v", edged.err)
		return exitFailed
	case err != nil && ctx.Err() == nil:
		log.Fatal("%v", err)
		return exitFatal
	}
	return 0
}

func exitOf(err error) int {
	if err != nil {
		return exitFailed
	}
	return 0
}

// start is what the original does between its begin and its modules, in its order.
func start(ctx context.Context, s settings, log *kubeedge.Log, file string) error {
	c, err := readConfig(file)
	if err != nil {
		return err
	}
	if err := checkEnvironment(s.proc, c); err != nil {
		return fmt.Errorf("failed to check the running environment: %w", err)
	}
	if c.Modules.Edged.NodeIP == "" {
		c.Modules.Edged.NodeIP = kubeedge.LocalIP()
	}
	log.Info("Version: v%s (stand-in for tests)", kubeedge.Version)
	log.Info("Module devicetwin registered successfully")
	node := &edged{settings: s, log: log, config: c.Modules.Edged}
	if c.Modules.Edged.Enable {
		if err := node.connect(ctx); err != nil {
			return err
		}
		log.Info("Module edged registered successfully")
	}
	if err := touch(kubeedge.Path(c.Database.DataSource)); err != nil {
		return err
	}
	log.Info("Module websocket registered successfully")
	if c.Modules.Edged.Enable {
		if err := checkCgroups(); err != nil {
			return &edgedError{err}
		}
		go node.serve(ctx)
	}
	if !c.Modules.EdgeHub.Enable {
		<-ctx.Done()
		return nil
	}
	h := &hub{settings: s, log: log, config: c.Modules.EdgeHub, node: node}
	if err := h.obtainCertificate(ctx); err != nil {
		return err
	}
	h.run(ctx)
	return nil
}

func readConfig(file string) (kubeedge.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return kubeedge.Config{}, fmt.Errorf("failed to read configfile %s: %w", file, err)
	}
	c, err := kubeedge.Parse(text)
	if err != nil {
		return c, err
	}
	return c, c.Validate()
}

// checkEnvironment looks for kubelet and kube-proxy, unless it is told not to or metaServer is on.
func checkEnvironment(proc string, c kubeedge.Config) error {
	if os.Getenv("CHECK_EDGECORE_ENVIRONMENT") == "false" || c.Modules.MetaManager.MetaServer.Enable {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return err
	}
	for _, name := range names {
		comm, _ := os.ReadFile(name) // the process may have ended
		switch program := strings.TrimSpace(string(comm)); program {
		case "kubelet", "kube-proxy":
			return fmt.Errorf("%s should not running on edge node when running edgecore", program)
		}
	}
	return nil
}

// touch makes the database's file.
func touch(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
