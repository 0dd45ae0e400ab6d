package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Options says what a running machine is connected to.
type Options struct {
	Console io.Writer     // receives the first serial port; nil discards it
	Input   io.Reader     // typed into the first serial port; nil is nothing
	Timeout time.Duration // the machine is killed after it; 0 is no limit
}

// VM is a machine that was started.
type VM struct {
	pid    int
	done   chan struct{}
	err    error
	cancel context.CancelFunc
}

// TimeoutError says that a machine ran longer than its Options allowed.
type TimeoutError struct{ Limit time.Duration }

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("running QEMU: killed after its time limit of %s", e.Limit)
}

// ExitError says that QEMU itself ended with a fault: bad arguments, a missing file, a signal.
type ExitError struct {
	Cause  error
	Stderr string // the end of what QEMU wrote to standard error
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("running QEMU: %v: %s", e.Cause, first(strings.TrimSpace(e.Stderr), "it said nothing"))
}

func (e *ExitError) Unwrap() error { return e.Cause }

// killDelay is how long Wait still waits for the console's pipes after QEMU was killed.
const killDelay = 2 * time.Second

// Start runs m. The machine is killed when ctx ends, after the time limit, and by the kernel when
// this process dies. The caller must call Wait.
func Start(ctx context.Context, m Machine, o Options) (*VM, error) {
	path, _, err := Find(m.Arch)
	if err != nil {
		return nil, err
	}
	m, cleanup, err := withVars(m)
	if err != nil {
		return nil, err
	}
	args, err := m.Args()
	if err != nil {
		cleanup()
		return nil, err
	}
	ctx, cancel := limit(ctx, o.Timeout)
	v := &VM{done: make(chan struct{}), cancel: cancel}
	started := make(chan error, 1)
	go func() {
		defer close(v.done)
		defer cleanup()
		v.err = v.run(ctx, path, args, o, started)
	}()
	if err := <-started; err != nil {
		cancel()
		<-v.done
		return nil, err
	}
	return v, nil
}

// Wait waits for the machine's end. It returns nil when the guest powered off (or rebooted, with
// NoReboot), the context's error, a *TimeoutError or an *ExitError.
func (v *VM) Wait() error {
	<-v.done
	v.cancel()
	return v.err
}

// Done is closed when the machine has ended.
func (v *VM) Done() <-chan struct{} { return v.done }

// PID is QEMU's process, which exists until Done is closed.
func (v *VM) PID() int { return v.pid }

// Kill ends the machine at once; Wait then returns context.Canceled.
func (v *VM) Kill() { v.cancel() }

func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, &TimeoutError{Limit: d})
}

// run keeps its thread: the kernel sends the parent-death signal when the thread that forked
// ends, not when the process does (prctl(2), PR_SET_PDEATHSIG).
func (v *VM) run(ctx context.Context, path string, args []string, o Options, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stderr tail
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = o.Console, &stderr
	cmd.WaitDelay = killDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stopInput, err := connectInput(cmd, o.Input)
	if err != nil {
		started <- err
		return err
	}
	if err := cmd.Start(); err != nil {
		stopInput()
		started <- fmt.Errorf("starting %s: %w", path, err)
		return err
	}
	v.pid = cmd.Process.Pid
	started <- nil
	err = cmd.Wait()
	stopInput()
	return outcome(ctx, err, stderr.String())
}

// connectInput gives QEMU a standard input that stays open: on end of file it would close the
// serial port. A reader is copied by a goroutine that nothing waits for, since a terminal's Read
// cannot be interrupted.
func connectInput(cmd *exec.Cmd, input io.Reader) (stop func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making the console's pipe: %w", err)
	}
	cmd.Stdin = r
	if input != nil {
		go func() { _, _ = io.Copy(w, input) }() // ends with the pipe or the reader
	}
	return func() { _, _ = r.Close(), w.Close() }, nil
}

func outcome(ctx context.Context, err error, stderr string) error {
	var timeout *TimeoutError
	switch {
	case errors.As(context.Cause(ctx), &timeout) && err != nil:
		return timeout
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("running QEMU: %w", context.Cause(ctx))
	case err != nil:
		return &ExitError{Cause: err, Stderr: stderr}
	}
	return nil
}

// withVars replaces FirmwareVars by a copy that cleanup removes.
func withVars(m Machine) (Machine, func(), error) {
	if m.FirmwareVars == "" {
		return m, func() {}, nil
	}
	src, err := os.ReadFile(m.FirmwareVars)
	if err != nil {
		return m, nil, fmt.Errorf("reading firmware variables: %w", err)
	}
	f, err := os.CreateTemp("", "edgebake-vars-*.fd")
	if err != nil {
		return m, nil, fmt.Errorf("copying firmware variables: %w", err)
	}
	cleanup := func() { _ = os.Remove(f.Name()) } // a left-over temporary file harms nobody
	_, err = f.Write(src)
	if err := errors.Join(err, f.Close()); err != nil {
		cleanup()
		return m, nil, fmt.Errorf("copying firmware variables: %w", err)
	}
	m.FirmwareVars = f.Name()
	return m, cleanup, nil
}

// tail keeps the end of what is written to it.
type tail struct{ buf bytes.Buffer }

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - tailSize; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buf.String() }
