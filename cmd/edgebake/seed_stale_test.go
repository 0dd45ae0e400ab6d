package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// seedCommand is another process that makes many seeds.
func seedCommand(t *testing.T, dir, out string, more ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"seed", "--inventory", filepath.Join(dir, "fleet.csv"), "--token-file", "-", "-o", out}, more...)
	cmd := exec.CommandContext(t.Context(), "edgebake", args...) // this test's program, see TestMain
	cmd.Stdin = strings.NewReader(testToken + "\n")
	return cmd
}

// stopMidway signals a process while it makes seeds.
func stopMidway(t *testing.T, dir, out string, signal os.Signal) *exec.Cmd {
	t.Helper()
	cmd := seedCommand(t, dir, out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); len(tokensBelow(t, out)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it makes no seeds")
		}
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("it ended before: %v", err)
	}
	return cmd
}

func tokensBelow(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, stagingPrefix+"*", "*", "edgebake-token"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What a killed seed leaves, tokens in it, is removed by the next one to the same place; what a running one has, a
// link, and somebody's file are not.
func TestSeedRemovesWhatAKilledOneLeft(t *testing.T) {
	dir := fleet(t, 2000)
	out := filepath.Join(dir, "seeds")
	stopMidway(t, dir, out, syscall.SIGKILL)
	if len(tokensBelow(t, out)) == 0 {
		t.Fatal("a killed seed left nothing: the test shows nothing")
	}
	running, linked, file := filepath.Join(out, stagingPrefix+"running"), filepath.Join(out, stagingPrefix+"link"), filepath.Join(out, stagingPrefix+"file")
	precious := filepath.Join(dir, "precious")
	err := errors.Join(os.Mkdir(running, 0o700), os.Mkdir(precious, 0o700), os.Symlink(precious, linked), os.WriteFile(file, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := lockStaging(running, unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if text, err := seedCommand(t, dir, out, "--name", "edge-1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	left, err := filepath.Glob(filepath.Join(out, stagingPrefix+"*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

// Ctrl-C leaves nothing.
func TestInterruptedSeedLeavesNothing(t *testing.T) {
	dir := fleet(t, 2000)
	cmd := stopMidway(t, dir, filepath.Join(dir, "seeds"), syscall.SIGINT)
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(filepath.Join(dir, "seeds")); err == nil {
		t.Error("a directory is left")
	}
}
