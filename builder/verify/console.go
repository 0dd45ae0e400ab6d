package verify

import (
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Milestone is a step of the boot and when it was seen, in seconds after the machine's start.
type Milestone struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Result is what a check found.
type Result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Milestones in the order of a boot.
const (
	MilestoneKernel    = "kernel"
	MilestoneRoot      = "root mounted"
	MilestoneSystemd   = "systemd"
	MilestoneMultiUser = "multi-user"
	MilestoneCloudInit = "cloud-init"
	MilestoneJoined    = "joined"
	MilestoneChecks    = "checks"
)

// MilestoneSecondBoot lies between the boots of a check.
const MilestoneSecondBoot = "second boot"

// resultPrefix marks the lines of the check script.
const resultPrefix = "@@EB "

const (
	keptLines = 60   // of the console, for a verdict
	maxLine   = 4096 // bytes; a longer line is cut in pieces
)

type rule struct {
	name    string
	pattern *regexp.Regexp
}

func milestoneRules() []rule {
	return []rule{
		{MilestoneKernel, regexp.MustCompile(`Booting Linux on physical CPU|Linux version \d`)},
		{MilestoneRoot, regexp.MustCompile(`EXT4-fs \(\S+\): mounted filesystem`)},
		{MilestoneSystemd, regexp.MustCompile(`systemd\[1\]: systemd \d|systemd \S+ running in system mode`)},
		{MilestoneMultiUser, regexp.MustCompile(`Reached target (multi-user\.target|Multi-User System)`)},
		{MilestoneCloudInit, regexp.MustCompile(`Cloud-init v\. \S+ finished at`)},
	}
}

// fatalRules recognise the ends of boots; their names go into the verdict.
func fatalRules() []rule {
	return []rule{
		{"kernel panic", regexp.MustCompile(`Kernel panic - not syncing`)},
		{"emergency mode", regexp.MustCompile(`You are in (emergency|rescue) mode|Give root password for maintenance|Cannot open access to console, the root account is locked`)},
		{"initrd shell: root was not found", regexp.MustCompile(`^\(initramfs\)|Dropping to a shell!|Gave up waiting for (root|suspend)`)},
		{"GRUB prompt: its configuration was not found", regexp.MustCompile(`^grub( rescue)?> `)},
		{"firmware: nothing to boot", regexp.MustCompile(`UEFI Interactive Shell|BdsDxe: No bootable option|No bootable device|>>Start (PXE|HTTP Boot)`)},
	}
}

// escapes are terminal control sequences (ECMA-48) and the carriage returns around lines.
func escapes() *regexp.Regexp {
	return regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_78=>]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\r`)
}

// Console follows the console of a boot. It is a Writer; its methods may be called at any time.
type Console struct {
	mu         sync.Mutex
	log        io.Writer
	elapsed    func() time.Duration
	escapes    *regexp.Regexp
	rules      []rule
	fatal      []rule
	line       []byte
	lines      []string
	milestones []Milestone
	results    []Result
	failed     []string // units, by their descriptions
	until      string   // a milestone that ends the watch
	reason     string
	finished   bool
	done       chan struct{}
}

// NewConsole returns a Console that copies everything to log (which may be nil) and takes times
// from elapsed, the time since the machine's start.
func NewConsole(log io.Writer, elapsed func() time.Duration) *Console {
	return &Console{log: log, elapsed: elapsed, escapes: escapes(), rules: milestoneRules(), fatal: fatalRules(), done: make(chan struct{})}
}

// Until makes the named milestone the end of the watch, for images without the check script.
func (c *Console) Until(milestone string) { c.until = milestone }

// Done is closed when the script said its last word, the milestone of Until was
// reached, or the boot is known to have failed.
func (c *Console) Done() <-chan struct{} { return c.done }

// Write takes output of the machine. A fault of the log is returned, but never stops the reading.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p {
		if b != '\n' && len(c.line) < maxLine {
			c.line = append(c.line, b)
			continue
		}
		c.take()
		if b != '\n' {
			c.line = append(c.line, b)
		}
	}
	c.prompt(c.clean())
	if c.log != nil {
		if _, err := c.log.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *Console) clean() string {
	return strings.ToValidUTF8(c.escapes.ReplaceAllString(string(c.line), ""), "\uFFFD")
}

// prompt looks at a line that has no end yet: a boot that is lost ends in a prompt, and so does a
// good one, whose systemd need not say that it reached multi-user.target.
func (c *Console) prompt(line string) {
	if strings.HasSuffix(line, " login: ") {
		c.reach(MilestoneMultiUser)
	}
	if strings.HasPrefix(line, "[") || strings.Contains(line, "panic") {
		return // the kernel is still speaking: the end of the line says why
	}
	c.findFatal(line)
}

// take ends the current line.
func (c *Console) take() {
	line := c.clean()
	c.line = c.line[:0]
	c.lines = append(c.lines, line)
	if extra := len(c.lines) - keptLines; extra > 0 {
		c.lines = slices.Delete(c.lines, 0, extra)
	}
	if i := strings.Index(line, resultPrefix); i >= 0 {
		c.report(line[i+len(resultPrefix):])
		return
	}
	for _, r := range c.rules {
		if r.pattern.MatchString(line) {
			c.reach(r.name)
		}
	}
	if m := regexp.MustCompile(`^\[FAILED\] Failed to \w+ (.*)`).FindStringSubmatch(line); m != nil {
		c.failed = append(c.failed, m[1])
	}
	c.findFatal(line)
}

func (c *Console) reach(name string) {
	if !slices.ContainsFunc(c.milestones, func(m Milestone) bool { return m.Name == name }) {
		c.milestones = append(c.milestones, Milestone{Name: name, Seconds: c.elapsed().Round(100 * time.Millisecond).Seconds()})
	}
	if c.until == name {
		c.end()
	}
}

func (c *Console) findFatal(line string) {
	for _, r := range c.fatal {
		if c.reason == "" && r.pattern.MatchString(line) {
			c.reason = r.name
			c.end()
		}
	}
}

func (c *Console) end() {
	if !c.finished {
		c.finished = true
		close(c.done)
	}
}

// report takes one line of the script. What other output has torn apart is no JSON and is left
// out: the script prints all its results a second time at the end.
func (c *Console) report(text string) {
	var r struct {
		Check, Milestone, Detail string
		OK, End                  bool
	}
	if json.Unmarshal([]byte(text), &r) != nil {
		return
	}
	switch {
	case r.End:
		c.reach(MilestoneChecks)
		c.end()
	case r.Milestone != "":
		c.reach(r.Milestone)
	case r.Check != "":
		c.setResult(Result{Name: r.Check, OK: r.OK, Detail: r.Detail})
	}
}

func (c *Console) setResult(r Result) {
	i := slices.IndexFunc(c.results, func(old Result) bool { return old.Name == r.Name })
	if i < 0 {
		c.results = append(c.results, r)
		return
	}
	c.results[i] = r
}

// State is what a Console has found so far.
type State struct {
	Milestones  []Milestone
	Results     []Result
	FailedUnits []string // as systemd announced them: descriptions, not names
	LastLines   []string
	// Fatal says why the boot can't come up any more; empty otherwise.
	Fatal string
	// Finished is set when the script has said its last word, or the milestone of Until was seen.
	Finished bool
}

// State returns a copy of what was found.
func (c *Console) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Milestones: slices.Clone(c.milestones), Results: slices.Clone(c.results), FailedUnits: slices.Clone(c.failed), LastLines: slices.Clone(c.lines), Fatal: c.reason}
	if len(c.line) > 0 {
		s.LastLines = append(s.LastLines, c.clean())
	}
	s.Finished = c.finished && c.reason == ""
	return s
}
