package guest

import (
	"fmt"
	"strings"
	"time"
)

// ScriptError says that a maintainer script or a step failed.
type ScriptError struct {
	Package, Script string // "mosquitto", "postinst"; what dpkg did itself is "configuration" or "unpacking"
	ExitCode        int    // -1 when no script ended with one
	Message         string // dpkg's, when there is one
	Output          []string
}

func (e *ScriptError) Error() string {
	what := fmt.Sprintf("its %s ended with exit code %d%s", e.Script, e.ExitCode, message(e.Message))
	if e.ExitCode < 0 {
		what = fmt.Sprintf("its %s went wrong%s", e.Script, message(e.Message))
	}
	return fmt.Sprintf("configuring package %s: %s%s", e.Package, what, quote(e.Output))
}

// HangError says that one package's script took longer than a package may.
type HangError struct {
	Package, Script string
	Limit           time.Duration
	Output          []string
}

func (e *HangError) Error() string {
	return fmt.Sprintf("configuring package %s: its %s did not end within %s%s", e.Package, e.Script, e.Limit, quote(e.Output))
}

// CrashError says that the guest ended before its job was done.
type CrashError struct {
	Kind    string // "kernel panic", "kernel oops", "QEMU" or "guest"
	Package string // what ran at that time, "" before the first
	Cause   error  // QEMU's error, when it is known
	Output  []string
}

func (e *CrashError) Error() string {
	text := "running the guest: it ended early (" + e.Kind + ")"
	if e.Package != "" {
		text += " while it was at package " + e.Package
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text + quote(e.Output)
}

func (e *CrashError) Unwrap() error { return e.Cause }

func message(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// quote shows the last lines of output under an error.
func quote(output []string) string {
	if len(output) == 0 {
		return "; it printed nothing"
	}
	return "; its last lines:\n    " + strings.Join(output, "\n    ")
}
