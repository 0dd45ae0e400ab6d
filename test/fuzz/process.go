package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// goTool runs the go command and returns what it printed.
func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out) + stderr.String(), fmt.Errorf("running go %s: %w: %s", args[0], err, stderr.String())
	}
	return string(out), nil
}

// fuzz runs one test and returns what it printed.
func (p fuzzed) fuzz(ctx context.Context, o options, program, name string) (text string, ok bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.time+grace, fmt.Errorf("it did not end within %s", o.time+grace))
	defer cancel()
	ctx, stuck := context.WithCancelCause(ctx)
	defer stuck(nil)
	cmd := exec.CommandContext(ctx, program, "-test.run=^$", "-test.fuzz=^"+name+"$", "-test.parallel=1",
		"-test.fuzztime="+o.time.String(), "-test.fuzzminimizetime=100x", "-test.fuzzcachedir="+filepath.Join(o.cache, p.ImportPath))
	cmd.Dir = p.Dir // for testdata
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the worker too
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err.Error(), false
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err.Error(), false
	}
	var b strings.Builder
	lines, still := bufio.NewScanner(out), progress{}
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		b.WriteString(lines.Text() + "\n")
		if still.stands(lines.Text()) {
			stuck(fmt.Errorf("no execution ended for %s: is it an endless loop? The last lines are above", maxStuck))
		}
	}
	err = cmd.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return b.String() + cause.Error() + "\n", false
	}
	if err != nil && !spurious(b.String()) {
		return b.String() + err.Error() + "\n", false
	}
	return b.String(), true
}

// progress counts the lines that Go's fuzzer prints every reportEvery while nothing goes on.
type progress struct {
	still int
}

const reportEvery = 3 * time.Second // of internal/fuzz, coordinator.logStats

func (p *progress) stands(line string) bool {
	if !strings.HasPrefix(line, "fuzz: elapsed: ") {
		return false
	}
	if strings.Contains(line, "(0/sec)") {
		p.still++
	} else {
		p.still = 0
	}
	return p.still > int(maxStuck/reportEvery)
}

// spurious says that a test failed only because its time was over: Go's fuzzer reports that as a failure when a
// worker is busy at that moment (https://go.dev/issue/75804).
func spurious(text string) bool {
	_, after, found := strings.Cut(text, "--- FAIL: ")
	if !found {
		return false
	}
	_, after, _ = strings.Cut(after, "\n")
	for line := range strings.Lines(after) {
		switch line = strings.TrimSpace(line); line {
		case "", "context deadline exceeded", "FAIL":
		default:
			return false
		}
	}
	return strings.Contains(after, "context deadline exceeded")
}
