// Command fuzz runs every fuzz test of packages, each for a time, several packages at once.
//
// `go test -fuzz` takes one test of one package at a time and links it anew for each. Fuzz builds one
// instrumented program for each package and runs its tests in turn, each with one worker. What it finds is
// written to the package's testdata/fuzz by the test itself, and is run by every `go test` from then on.
//
// A fuzz test fails here as well when it needs more than maxMemory, or when nothing more happens for
// maxStuck: Go's fuzzer notices neither. With -json it prints events as `go test -json` does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxMemory bounds the data of one process: parsers of small inputs need a hundredth of it, and the
	// linker half of it.
	maxMemory = 4 << 30
	// maxStuck is for how long the number of executions may stay as it is. One takes milliseconds.
	maxStuck = time.Minute
	// grace is what a test gets besides its time: for its seeds, on a machine that has much else to do.
	grace = 3 * time.Minute
)

// options are the command line.
type options struct {
	time     time.Duration
	cache    string
	json     bool
	packages []string
}

func main() {
	var o options
	flag.DurationVar(&o.time, "time", 20*time.Second, "for how long each fuzz test runs")
	flag.StringVar(&o.cache, "cache", "", "directory in which inputs of interest are kept for the next run; none are kept without it")
	flag.BoolVar(&o.json, "json", false, "print events as go test -json does")
	flag.Parse()
	o.packages = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
	}
	if err != nil || failed > 0 {
		os.Exit(1)
	}
}

// run returns how many fuzz tests failed; a package that does not build is one.
func run(ctx context.Context, o options, w io.Writer) (failed int, err error) {
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: maxMemory, Max: maxMemory}); err != nil {
		return 0, fmt.Errorf("limiting memory: %w", err)
	}
	packages, err := find(ctx, o.packages)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "edgebake-fuzz-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if o.cache == "" {
		o.cache = filepath.Join(dir, "cache")
	}
	out := &printer{w: w, json: o.json}
	queue := make(chan fuzzed)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for p := range queue {
				p.run(ctx, o, dir, out)
			}
		})
	}
	for _, p := range packages {
		queue <- p
	}
	close(queue)
	wg.Wait()
	return out.failed, ctx.Err()
}

// fuzzed is a package with fuzz tests.
type fuzzed struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
	tests                     []string
}

// find lists the packages that have fuzz tests, without building any.
func find(ctx context.Context, patterns []string) ([]fuzzed, error) {
	text, err := goTool(ctx, "", append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	declared := regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)
	var out []fuzzed
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var p fuzzed
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("reading go list: %w", err)
		}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			for _, m := range declared.FindAllSubmatch(source, -1) {
				p.tests = append(p.tests, string(m[1]))
			}
		}
		if len(p.tests) > 0 {
			out = append(out, p)
		}
	}
	return out, nil
}

// run builds the package's program and runs its fuzz tests in turn.
func (p fuzzed) run(ctx context.Context, o options, dir string, out *printer) {
	program := filepath.Join(dir, strings.ReplaceAll(p.ImportPath, "/", "_")+".test")
	if text, err := goTool(ctx, "", "test", "-c", "-fuzz=.", "-ldflags=-s -w", "-o", program, p.ImportPath); err != nil {
		out.result(p.ImportPath, "build", fmt.Sprintf("%s%v\n", text, err), 0, false)
		return
	}
	for _, name := range p.tests {
		if ctx.Err() != nil {
			return
		}
		start := time.Now()
		text, ok := p.fuzz(ctx, o, program, name)
		out.result(p.ImportPath, name, text, time.Since(start), ok)
	}
	_ = os.Remove(program) // disk may be short, and the directory goes anyway
}

// printer prints one result at a time.
type printer struct {
	mu     sync.Mutex
	w      io.Writer
	json   bool
	failed int
}

func (o *printer) result(pkg, name, text string, took time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	verdict := "pass"
	if !ok {
		o.failed++
		verdict = "fail"
	}
	if !o.json {
		if ok {
			text = lastLine(text)
		}
		fmt.Fprintf(o.w, "%s %s %s %.1fs: %s\n", verdict, pkg, name, took.Seconds(), strings.TrimSpace(text))
		return
	}
	pkg += " (fuzzing)" // the same test's seeds have run under the package's own name
	e := json.NewEncoder(o.w)
	event := func(action, output string) {
		// A fault of writing shows in what reads the events: the test has no end.
		_ = e.Encode(map[string]any{"Action": action, "Package": pkg, "Test": name, "Output": output, "Elapsed": took.Seconds()})
	}
	event("run", "")
	for line := range strings.Lines(text) {
		event("output", line)
	}
	event(verdict, "")
}

// lastLine is the last one that tells of executions.
func lastLine(text string) string {
	i := strings.LastIndex(text, "execs: ")
	if i < 0 {
		return "its seeds alone"
	}
	line, _, _ := strings.Cut(text[i:], "\n")
	return line
}
