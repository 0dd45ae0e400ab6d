package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run the whole command line in process, as the command edgebake.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"edgebake": func() { os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../test/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("EDGEBAKE_STORE", e.WorkDir+"/store")
			e.Setenv("HOME", e.WorkDir)
			// testscript puts the directory with nothing but this program in front.
			e.Setenv("EDGEBAKE_ALONE", filepath.SplitList(e.Getenv("PATH"))[0])
			return nil
		},
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Condition: lacks,
	})
}

// exits runs a command and wants a certain exit code: exits 2 edgebake validate x.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("running %v: %v", args[1:], err)
		}
		got = strconv.Itoa(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code is %s, want %s", got, args[0])
	}
}

// lacks is the condition [lacks:TOOL]. Where CI=true a missing tool is a fault, as for oracle.Need.
func lacks(condition string) (bool, error) {
	tool, ok := strings.CutPrefix(condition, "lacks:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	_, err := exec.LookPath(tool)
	if err != nil && os.Getenv("CI") == "true" {
		return true, fmt.Errorf("%s is missing: make setup installs it", tool)
	}
	return err != nil, nil
}
