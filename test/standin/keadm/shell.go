package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// shell runs commands and asks questions.
type shell struct {
	stdin  io.Reader
	stdout io.Writer
	log    *kubeedge.Log
}

func (s *shell) say(format string, args ...any) { fmt.Fprintf(s.stdout, format+"\n", args...) }

// bash runs a command line. Its exit code is -1 when bash itself did not run.
func bash(line string) (stdout string, code int, err error) {
	var out, complaints bytes.Buffer
	cmd := exec.Command("bash", "-c", line)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.String(), 0, nil
	case errors.As(err, &exit):
		return out.String(), exit.ExitCode(), fmt.Errorf("failed to exec '%s', err: %s", line, strings.TrimSpace(complaints.String()))
	}
	return "", -1, fmt.Errorf("failed to exec '%s', err: %w", line, err)
}

func (s *shell) do(line string) error {
	_, _, err := bash(line)
	return err
}

// isRunning asks pidof; anything but yes and no is an error.
func isRunning(program string) (bool, error) {
	_, code, err := bash("pidof " + program + " 2>&1")
	switch code {
	case 0:
		return true, nil
	case 1:
		return false, nil
	}
	return false, err
}

// hasSystemd is what the original asks: file(1) succeeds for a path that is not there, too.
func hasSystemd() bool {
	if _, code, _ := bash("file " + kubeedge.Path("/sbin/init")); code == 0 {
		return true
	}
	_, code, _ := bash("test -d " + kubeedge.Path("/run/systemd/system"))
	return code == 0
}

// confirm asks once.
func (s *shell) confirm() (bool, error) {
	s.say("[y/N]: ")
	var answer string
	if _, err := fmt.Fscan(s.stdin, &answer); err != nil {
		return false, err
	}
	switch strings.ToLower(answer) {
	case "y":
		return true, nil
	case "n":
		return false, nil
	}
	return false, errors.New("invalid Input")
}
