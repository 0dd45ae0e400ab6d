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
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // usage, or a fault in a profile
	exitUnverified  = 3 // an input does not verify
	exitStale       = 4 // the lock does not belong to the profile
	exitVerdict     = 5 // the image was examined and found bad
	exitRefused     = 6 // refused for safety
	exitInterrupted = 130
)

// exitCodes is what every command's help says.
const exitCodes = `Exit codes:
  0 done   1 failed   2 usage or profile fault   3 an input does not verify
  4 stale lock   5 negative verdict   6 refused for safety   130 interrupted`

// usageError is a mistake in the command line, the environment or the configuration file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// verdictError says that something was examined and found bad.
type verdictError struct{ what string }

func (e *verdictError) Error() string { return e.what }

// silentError ends a command with exit code 1 whose result on stdout already says why.
type silentError struct{}

func (silentError) Error() string { return "" }

// Main runs edgebake and returns its exit code. The first interrupt ends it cleanly, the second
// kills the process.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from now on a signal kills, as without us

	env := &environment{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv}
	root := newRoot(env)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	env.close()
	code, hint := outcome(err)
	explain(stderr, err, named(hint, cmd))
	return code
}

// named puts the profile as it was typed into a hint, so that its command can be run as it stands.
func named(hint string, cmd *cobra.Command) string {
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

// outcome maps an error to an exit code and to a line that says what to do next.
func outcome(err error) (code int, hint string) {
	var (
		usage    *usageError
		faults   *profile.FaultsError
		mismatch *cas.MismatchError
		inUse    *cas.InUseError
		verdict  *verdictError
		noQEMU   *vm.MissingQEMUError
		stale    *lock.StaleError
		unlocked *lock.MissingError
		gone     *fetch.NotFoundError
		offline  *fetch.OfflineError
		small    *disk.SizeError
		ext4Full *ext4.TooSmallError
		fatFull  *fat.TooSmallError
		unsigned *apt.SignatureError
		unknown  *apt.UnknownPackageError
		script   *guest.ScriptError
	)
	switch {
	case err == nil:
		return exitDone, ""
	case errors.Is(err, context.Canceled):
		return exitInterrupted, "the store is as it should be: run the same command to go on"
	case errors.As(err, &usage), isCobraUsage(err):
		return exitUsage, "see: edgebake COMMAND --help"
	case errors.As(err, &faults):
		return exitUsage, "correct the profile, then: edgebake validate " + faults.Name
	case errors.As(err, &stale):
		return exitStale, "edgebake lock PROFILE takes what the archives have now; with --keep it keeps every version"
	case errors.As(err, &unlocked):
		return exitStale, "edgebake lock PROFILE"
	case errors.As(err, &mismatch):
		return exitUnverified, "nothing of it was kept: try again, or another mirror (--mirror PREFIX=URL); if the archive changed: edgebake lock PROFILE"
	case errors.As(err, &unsigned):
		return exitUnverified, "nothing of it was used: try another mirror, or compare the keyring and the fingerprints in the profile with what the archive publishes"
	case errors.As(err, &verdict):
		return exitVerdict, "the console log says more"
	case errors.As(err, &inUse):
		return exitFailed, "wait for the other edgebake to end, or use another store (--store DIR)"
	case errors.As(err, &gone):
		return exitFailed, "if the archive dropped it: edgebake lock PROFILE pins what the archive has now"
	case errors.As(err, &offline):
		return exitFailed, "run edgebake fetch PROFILE once without --offline"
	case errors.As(err, &small), errors.As(err, &ext4Full), errors.As(err, &fatFull):
		return exitFailed, "raise disk.size or the partition's size in the profile, then: edgebake lock PROFILE"
	case errors.As(err, &unknown):
		return exitFailed, "correct the name in the profile, or add the source that has the package"
	case errors.As(err, &script):
		return exitFailed, "correct the package's configuration or leave it out of the profile; the guest's console log says more"
	case errors.As(err, &noQEMU):
		return exitFailed, "then run the same command again; edgebake doctor shows what else is missing"
	}
	return exitFailed, ""
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
