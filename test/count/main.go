// Command count reads the events of one or more `go test -json` runs, prints the packages'
// results and the output of what failed, and ends with the last lines of each failure and
// "N passed, N failed, N skipped".
//
// It counts tests that have no subtests, and subtests that have none: each is one. The exit
// code is 1 when anything failed, or when nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// event is one line of `go test -json` (cmd/test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

type totals struct {
	passed, failed, skipped int
	endings                 string // of what failed: who reads only the end of a log finds the reasons there
}

func main() {
	t, err := count(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(t.endings)
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 || t.passed == 0 {
		os.Exit(1)
	}
}

// count reads events until the end of r. Lines that are no event are shown as they are.
func count(r io.Reader, w io.Writer) (totals, error) {
	c := counter{w: w, output: map[string][]string{}, parent: map[string]bool{}, failedIn: map[string]bool{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(w, lines.Text())
			continue
		}
		c.add(e)
	}
	if err := lines.Err(); err != nil {
		return totals{}, fmt.Errorf("reading test events: %w", err)
	}
	return c.totals, nil
}

type counter struct {
	w        io.Writer
	totals   totals
	output   map[string][]string // by package and test
	parent   map[string]bool     // tests that have subtests
	failedIn map[string]bool     // packages with a counted failure
}

func (c *counter) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(c.w, e.Output)
	case "run":
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
			c.parent[e.Package+" "+e.Test[:i]] = true
		}
	case "output":
		c.output[key] = append(c.output[key], e.Output)
	case "pass", "fail", "skip":
		c.end(e, key)
		delete(c.output, key)
	}
}

func (c *counter) end(e event, key string) {
	if e.Test == "" {
		c.endPackage(e, key)
		return
	}
	if e.Action != "pass" {
		fmt.Fprintf(c.w, "%s", strings.Join(c.output[key], ""))
	}
	if c.parent[key] {
		return
	}
	switch e.Action {
	case "pass":
		c.totals.passed++
	case "fail":
		c.totals.failed++
		c.failedIn[e.Package] = true
		c.totals.endings += ending(key, c.output[key])
	case "skip":
		c.totals.skipped++
	}
}

// endPackage also counts a package that failed outside of the counted tests: it did not build,
// panicked, or a test failed whose subtests all passed. A test that has no end, because the package ran out of
// time or crashed, is a failure of its own: its output says why.
func (c *counter) endPackage(e event, key string) {
	for _, test := range slices.Sorted(maps.Keys(c.output)) {
		if e.Action == "fail" && strings.HasPrefix(test, key) && test != key {
			c.unfinished(e.Package, test)
		}
	}
	if e.Action == "fail" && !c.failedIn[e.Package] {
		c.totals.failed++
		c.totals.endings += ending(key, c.output[key])
		fmt.Fprint(c.w, strings.Join(c.output[key], ""))
	}
	if e.Action != "skip" {
		fmt.Fprintf(c.w, "%-4s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
	}
}

func (c *counter) unfinished(pkg, key string) {
	fmt.Fprint(c.w, strings.Join(c.output[key], ""))
	if !c.parent[key] {
		c.totals.failed++
		c.failedIn[pkg] = true
	}
	said := c.output[key]
	if i := slices.IndexFunc(said, func(line string) bool { return strings.HasPrefix(line, "panic: ") }); i >= 0 {
		said = said[i:min(len(said), i+endingLines-1)] // what follows are the stacks of all goroutines
	}
	c.totals.endings += ending(key, append(slices.Clone(said), "(has not ended)\n"))
	delete(c.output, key)
}

const endingLines = 12

// ending is the end of what a failed test has said. Long lines, mostly commands, are cut.
func ending(key string, output []string) string {
	const width = 400
	var b strings.Builder
	fmt.Fprintf(&b, "\nFAILED: %s\n", strings.TrimSpace(key))
	for _, line := range output[max(0, len(output)-endingLines):] {
		line = strings.TrimSuffix(line, "\n")
		fmt.Fprintf(&b, "  %s\n", line[:min(len(line), width)])
	}
	return b.String()
}
