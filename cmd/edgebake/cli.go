// Command edgebake bakes bootable images for edge nodes from YAML profiles.
//
// Main is the whole program without the process around it. Each command has a file of its own
// with a function that makes it and one that runs it; results go to stdout, everything else to
// stderr. An error becomes an exit code in one place: outcome.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/cloudinit/token"
)

// Main runs edgebake and returns its exit code. The first interrupt ends it cleanly, the second
// kills the process.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from now on a signal kills, as without us

	env := &environment{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv}
	root := newRoot(env)
	root.SetArgs(args)
	if slices.ContainsFunc(args, token.Contains) { // and it is not repeated in any message
		explain(stderr, errors.New("an argument holds a KubeEdge token, which every user of this machine sees in ps"), "take it from a file, standard input, a command or the cluster: edgebake seed --help")
		return exitUsage
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	env.close()
	code, hint := outcome(err)
	explain(stderr, err, named(hint, cmd))
	return code
}

// named puts the command and the profile as they were typed into a hint, so that it can be run as it stands.
func named(hint string, cmd *cobra.Command) string {
	hint = strings.ReplaceAll(hint, "edgebake COMMAND", cmd.CommandPath())
	if !strings.Contains(cmd.Use, "PROFILE") || cmd.Flags().NArg() != 1 {
		return hint
	}
	return strings.ReplaceAll(hint, "PROFILE", cmd.Flags().Arg(0))
}

func explain(w io.Writer, err error, hint string) {
	if err == nil || errors.Is(err, silentError{}) {
		return
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "edgebake: interrupted")
	} else {
		fmt.Fprintln(w, "edgebake: "+err.Error())
	}
	if hint != "" {
		fmt.Fprintln(w, "  "+hint)
	}
}

// isCobraUsage knows the errors of cobra and pflag that have no type.
func isCobraUsage(err error) bool {
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

// exactly and between are cobra's argument checks with a usage error that names what is wanted.
func exactly(n int, names string) cobra.PositionalArgs { return between(n, n, names) }

func between(low, high int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && (high < 0 || len(args) <= high) {
			return nil
		}
		if names == "" {
			return usagef("%s takes no arguments, but got %q", cmd.CommandPath(), args)
		}
		return usagef("%s takes %s, but got %d arguments", cmd.CommandPath(), names, len(args))
	}
}
