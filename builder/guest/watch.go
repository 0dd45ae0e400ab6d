package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgebake/edgebake/builder/guest/vm"
)

const (
	outputLines = 30      // lines of output that an error shows
	maxLine     = 1 << 16 // a longer line of a console is cut in two
	marker      = "@@EB "
)

// watch reads the guest's console. It is the io.Writer that QEMU's serial port goes to.
type watch struct {
	job    Job
	cancel context.CancelCauseFunc
	begin  time.Time

	mu      sync.Mutex
	partial []byte
	state   state
	since   time.Time // when the current package began
	result  Result
	timer   *time.Timer
}

// state is what the lines seen so far say; it knows no clock.
type state struct {
	pkg, script string // what runs now
	output      []string
	failure     error
	crash       string
	booted      bool
	clean, done bool
}

func newWatch(j Job, cancel context.CancelCauseFunc) *watch {
	now := time.Now()
	w := &watch{job: j, cancel: cancel, begin: now, since: now}
	w.timer = time.AfterFunc(j.PackageTimeout, w.hang)
	return w
}

func (w *watch) stop() { w.timer.Stop() }

func (w *watch) hang() {
	w.mu.Lock()
	defer w.mu.Unlock()
	name, script := w.state.pkg, w.state.script
	switch {
	case name == "":
		name, script = "(none yet)", "start of the guest"
	case script == "":
		script = "configuration"
	}
	w.cancel(&HangError{Package: name, Script: script, Limit: w.job.PackageTimeout, Output: w.state.output})
}

// Write never fails because of the log: losing it must not lose the bake.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.job.Log.Write(p)
	w.partial = append(w.partial, p...)
	for {
		i := bytes.IndexByte(w.partial, '\n')
		if i < 0 && len(w.partial) > maxLine {
			i = maxLine
		}
		if i < 0 {
			return len(p), nil
		}
		w.line(string(bytes.TrimRight(w.partial[:i], "\r")))
		w.partial = w.partial[i+1:]
	}
}

func (w *watch) line(line string) {
	before := w.state
	w.state = w.state.next(line)
	now := w.state
	if now.booted && !before.booted {
		w.result.Boot = time.Since(w.begin)
	}
	if now.pkg != before.pkg || now.script != before.script {
		w.timer.Reset(w.job.PackageTimeout)
		w.record(before)
		w.job.Report.Detail("guest: %s %s", now.pkg, now.script)
	}
}

func (w *watch) record(ended state) {
	now := time.Now()
	if ended.pkg != "" {
		w.result.Packages = append(w.result.Packages, PackageTime{ended.pkg, ended.script, now.Sub(w.since)})
	}
	w.since = now
}

// next returns the state after one more line of the console.
func (s state) next(line string) state {
	if i := strings.Index(line, marker); i >= 0 {
		return s.mark(strings.Fields(line[i+len(marker):]))
	}
	if m := processing().FindStringSubmatch(line); m != nil {
		return s.begin(m[2], scriptName(m[1]))
	}
	if m := scriptFailed().FindStringSubmatch(line); m != nil {
		return s.failed(m)
	}
	if kind := crashKind(line); kind != "" && s.crash != "kernel panic" {
		s.crash = kind
	}
	if line == "" || statusLine().MatchString(line) {
		return s
	}
	s.output = append(slices.Clone(s.output[max(0, len(s.output)-outputLines+1):]), line)
	return s
}

// mark takes a line of guest-init.sh.
func (s state) mark(words []string) state {
	verb, rest := "", words
	if len(words) > 0 {
		verb, rest = words[0], words[1:]
	}
	switch {
	case verb == "boot":
		s.booted = true
	case verb == "clean":
		s.clean = true
	case verb == "done":
		s.done = true
	case verb == "package" && len(rest) == 2:
		return s.begin(rest[0], scriptName(rest[1]))
	case verb == "step" && len(rest) == 1 && s.failure == nil:
		return s.begin("("+rest[0]+")", "phase")
	case verb == "fail" && len(rest) == 4 && rest[0] == "script":
		return s.scriptFailed(rest[1], rest[2], rest[3])
	case verb == "fail" && s.failure == nil:
		s.failure = &CrashError{Kind: "guest", Package: s.pkg, Cause: errors.New(strings.Join(rest, " ")), Output: s.output}
	}
	return s
}

// scriptName turns what dpkg does into the maintainer script it runs for that.
func scriptName(action string) string {
	switch action {
	case "configure":
		return "postinst"
	case "trigproc":
		return "postinst triggered"
	case "install", "upgrade":
		return "unpacking"
	}
	return action
}

func (s state) begin(pkg, script string) state {
	s.pkg, s.script, s.output = pkg, script, nil
	return s
}

func (s state) scriptFailed(pkg, script, code string) state {
	n, err := strconv.Atoi(code)
	if err != nil {
		n = -1
	}
	s.failure = &ScriptError{Package: pkg, Script: script, ExitCode: n, Output: s.output}
	return s
}

// failed takes dpkg's status line of a fault; the first one is the cause of all others.
func (s state) failed(m []string) state {
	if s.failure != nil {
		return s
	}
	e := &ScriptError{Package: strings.TrimSpace(m[1]), ExitCode: -1, Message: m[2], Output: s.output}
	if strings.Contains(e.Package, "/") && s.pkg != "" { // while it unpacks, dpkg names the file
		e.Package = s.pkg
	}
	e.Script = s.culprit(m[2])
	if code := exitStatus().FindStringSubmatch(m[2]); code != nil {
		e.ExitCode, _ = strconv.Atoi(code[1]) // three digits at most
	}
	s.failure = e
	return s
}

// culprit is the script that dpkg's message is about, or what dpkg itself was doing.
func (s state) culprit(text string) string {
	names := [][2]string{{"pre-installation", "preinst"}, {"post-installation", "postinst"}, {"pre-removal", "prerm"}, {"post-removal", "postrm"}}
	for _, n := range names {
		if strings.Contains(text, n[0]+" script") && n[1]+" triggered" != s.script {
			return n[1]
		}
	}
	if s.script == "" || s.script == "phase" {
		return "configuration"
	}
	return s.script
}

// dpkg's status lines (dpkg(1), --status-fd) may follow an unfinished line of a script.
func processing() *regexp.Regexp {
	return regexp.MustCompile(`processing: (install|upgrade|configure|trigproc): (\S+)$`)
}

func scriptFailed() *regexp.Regexp {
	return regexp.MustCompile(`status: (\S+) ?: error ?: (.*)$`)
}

func statusLine() *regexp.Regexp {
	return regexp.MustCompile(`^status: \S+: (half-installed|unpacked|half-configured|triggers-awaited|triggers-pending|installed)$`)
}

func exitStatus() *regexp.Regexp { return regexp.MustCompile(`exit status ([0-9]{1,3})`) }

func crashKind(line string) string {
	switch {
	case strings.Contains(line, "Kernel panic - not syncing"):
		return "kernel panic"
	case strings.Contains(line, "Internal error: Oops"), strings.Contains(line, "BUG: unable to handle"), strings.Contains(line, "kernel BUG at"):
		return "kernel oops"
	}
	return ""
}

// finish judges the run: what the guest said comes before how QEMU ended.
func (w *watch) finish(ctx context.Context, err error) (Result, error) {
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record(w.state)
	w.result.Total = time.Since(w.begin)
	return w.result, w.state.verdict(ctx, err)
}

func (s state) verdict(ctx context.Context, err error) error {
	var hang *HangError
	var timeout *vm.TimeoutError
	switch {
	case errors.As(context.Cause(ctx), &hang):
		return hang
	case ctx.Err() != nil:
		return fmt.Errorf("running the guest: %w", context.Cause(ctx))
	case s.failure != nil:
		return s.failure
	case errors.As(err, &timeout):
		return &HangError{Package: s.pkg, Script: s.script + " (the whole job)", Limit: timeout.Limit, Output: s.output}
	case s.crash != "" && !s.done:
		return &CrashError{Kind: s.crash, Package: s.pkg, Cause: err, Output: s.output}
	case err != nil:
		return &CrashError{Kind: "QEMU", Package: s.pkg, Cause: err, Output: s.output}
	case !s.done || !s.clean:
		return &CrashError{Kind: "guest", Package: s.pkg, Cause: errors.New("it powered off before its job was done and its disk released"), Output: s.output}
	}
	return nil
}
