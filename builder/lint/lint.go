// Package lint examines an image without starting it.
//
// A Rule looks at one thing that goes wrong in practice: parts of a system that are each in order
// but do not belong together, and traces of the machine that an image was made on. Run applies the
// rules to an image and returns a Report with the Findings. A Finding of severity Error means that
// the image will not work, or must not be given away; a Warning is for a person to decide. Rules
// read the image as the running system would see it, all partitions mounted.
//
// Subset: dpkg systems with systemd; Raspberry Pi firmware and GRUB; CRI-O and containerd; the boot
// files as data: whether a kernel comes up is for package verify to find out.
package lint

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/image"
)

// Severity of a Finding.
type Severity string

const (
	Error   Severity = "error"   // the image is not to be used
	Warning Severity = "warning" // worth a look
)

// Finding is one fault.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Path     string   `json:"path"` // in the running system, or what else it is about
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`
}

// Report is what Run found.
type Report struct {
	Version  int       `json:"version"` // of this format: 1
	OK       bool      `json:"ok"`      // no finding is an error
	Arch     string    `json:"arch,omitempty"`
	Rules    []string  `json:"rules"` // that were applied
	Findings []Finding `json:"findings"`
}

// Role is what a node is for.
type Role string

const (
	Any    Role = "any"    // take it from the image: edgecore's files make an edge
	Edge   Role = "edge"   // a KubeEdge node
	Master Role = "master" // a node of the Kubernetes control plane
)

// Roles lists all roles.
func Roles() []Role { return []Role{Any, Edge, Master} }

// Options says what to look at. The zero value applies all rules to an image of any role.
type Options struct {
	// Rules to apply, by their IDs; all when empty.
	Rules []string
	// Role is Any when empty.
	Role Role
	// Booted says that the image has run as a node: what every boot leaves there (identity, logs,
	// locks, keys and certificates in their places) is no finding, as long as only root can read the keys.
	Booted bool
	// Arch is the architecture that the image is for, as Debian names it. When empty it is the
	// one that dpkg's database says.
	Arch string
}

// Rule looks at one thing.
type Rule struct {
	ID      string
	Summary string
	check   func(*system) []Finding
}

// Rules lists all rules in the order in which they run.
func Rules() []Rule {
	return []Rule{
		{"elf-architecture", "programs and libraries are for the architecture of the image", checkELF},
		{"kernel", "kernel, initrd, modules and device tree belong together", checkKernels},
		{"cgroup-flags", "the memory cgroup is on in the command line that is really read", checkCgroupFlags},
		{"mounts", "fstab, root= and GRUB name file systems that the image has", checkMounts},
		{"units", "enabled units exist", checkUnits},
		{"cgroup-driver", "runtime, kubelet and edgecore use the same cgroup driver", checkCgroupDriver},
		{"cri", "the container runtime speaks the CRI version that its clients need", checkCRI},
		{"cni", "network plugins and their configuration are there and speak one version", checkCNI},
		{"pause-image", "the pause image that the runtime names is in the image", checkPauseImage},
		{"storage", "the kernel can do what containers' storage.conf asks for", checkStorage},
		{"cloud-init", "the list of datasources finds the seed", checkCloudInit},
		{"kubeedge", "what keadm needs is there, and what stops it is not", checkKubeEdge},
		{"swap", "nothing turns on swap where a kubelet runs", checkSwap},
		{"edge-kubelet", "no kubelet and no kube-proxy on an edge", checkEdgeKubelet},
		{"identity", "no host keys, machine id, random seed or traces of a first boot", checkIdentity},
		{"secrets", "no private keys and tokens", checkSecrets},
		{"tokens", "no token for joining KubeEdge in any file of any partition", checkTokens},
		{"passwords", "no password hashes and no empty passwords", checkPasswords},
		{"traces", "no shell history, logs and caches", checkTraces},
		{"packages", "all packages are configured, no locks and helpers are left over", checkPackages},
		{"package-files", "the files of packages are there, as their packages brought them", checkPackageFiles},
		{"permissions", "no world-writable files; setuid only from packages", checkPermissions},
		{"free-space", "room on all file systems", checkFreeSpace},
	}
}

// UnknownRuleError says that an Options.Rules names no rule.
type UnknownRuleError struct{ ID string }

func (e *UnknownRuleError) Error() string {
	return fmt.Sprintf("choosing rules: there is no rule %q; the rules are %s", e.ID, strings.Join(ruleIDs(Rules()), ", "))
}

func ruleIDs(rules []Rule) []string {
	var ids []string
	for _, r := range rules {
		ids = append(ids, r.ID)
	}
	return ids
}

// maxPerRule keeps a report readable: a disk of the wrong architecture would give thousands.
const maxPerRule = 12

// Run applies the rules to img. An image that breaks them is no error; what cannot be read is.
func Run(ctx context.Context, img *image.Image, o Options) (Report, error) {
	rules, err := o.chosen()
	if err != nil {
		return Report{}, err
	}
	s, err := newSystem(ctx, img, o)
	if err != nil {
		return Report{}, fmt.Errorf("examining image: %w", err)
	}
	report := Report{Version: 1, OK: true, Arch: s.arch, Rules: ruleIDs(rules), Findings: []Finding{}}
	for _, r := range rules {
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		found := limit(r.check(s))
		if s.err != nil {
			return Report{}, fmt.Errorf("examining image for %s: %w", r.ID, s.err)
		}
		for _, f := range found {
			f.Rule = r.ID
			report.OK = report.OK && f.Severity != Error
			report.Findings = append(report.Findings, f)
		}
	}
	return report, nil
}

func (o Options) chosen() ([]Rule, error) {
	all := Rules()
	for _, id := range o.Rules {
		if !slices.Contains(ruleIDs(all), id) {
			return nil, &UnknownRuleError{id}
		}
	}
	if len(o.Rules) > 0 {
		all = slices.DeleteFunc(all, func(r Rule) bool { return !slices.Contains(o.Rules, r.ID) })
	}
	return all, nil
}

// limit keeps the first findings, errors before warnings, and says how many more there are.
func limit(found []Finding) []Finding {
	slices.SortStableFunc(found, func(a, b Finding) int { return strings.Compare(string(a.Severity), string(b.Severity)) })
	if len(found) <= maxPerRule {
		return found
	}
	rest := found[maxPerRule-1:]
	return append(found[:maxPerRule-1:maxPerRule-1], Finding{
		Severity: rest[0].Severity, Path: rest[0].Path, Why: fmt.Sprintf("%s; and %d more of the kind", rest[0].Why, len(rest)-1), Fix: rest[0].Fix,
	})
}

// Errors counts the findings that are errors.
func (r Report) Errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == Error {
			n++
		}
	}
	return n
}

// JSON renders the report, indented, with a newline at its end.
func (r Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering report: %w", err)
	}
	return append(b, '\n'), nil
}

// String is the report for people: three lines for each finding, one for the whole.
func (r Report) String() string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s: %s\n  %s\n  fix: %s\n", f.Severity, f.Rule, f.Path, f.Why, f.Fix)
	}
	fmt.Fprintf(&b, "%d errors, %d warnings; %d rules\n", r.Errors(), len(r.Findings)-r.Errors(), len(r.Rules))
	return b.String()
}

// fault is a Finding of severity Error; caution is a Warning.
func fault(path, fix, why string, args ...any) Finding {
	return Finding{Severity: Error, Path: path, Why: fmt.Sprintf(why, args...), Fix: fix}
}

func caution(path, fix, why string, args ...any) Finding {
	f := fault(path, fix, why, args...)
	f.Severity = Warning
	return f
}
