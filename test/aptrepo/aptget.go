package aptrepo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

// Suite is a suite of an archive in a directory.
type Suite struct {
	Dir, Name  string
	Components []string
	Keyring    []byte
}

// AptGet runs the real apt-get over suites, with configuration and state of its own. It may be used
// by several goroutines: the state does not change after NewAptGet.
type AptGet struct{ dir string }

// Simulation is what apt-get would do.
type Simulation struct {
	Changes []string // sorted: "name=version" for a new package, "name=version<old" for an upgrade
	Removes []string
}

// NewAptGet has apt-get verify and index the suites for arch.
func NewAptGet(t testing.TB, arch string, suites ...Suite) *AptGet {
	t.Helper()
	oracle.Need(t, "apt-get")
	a := &AptGet{dir: t.TempDir()}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var list strings.Builder
	for i, s := range suites {
		ring := fmt.Sprintf("keyring%d.gpg", i)
		a.put(t, ring, string(s.Keyring))
		fmt.Fprintf(&list, "deb [check-valid-until=no signed-by=%s/%s] file:%s %s %s\n", a.dir, ring, s.Dir, s.Name, strings.Join(s.Components, " "))
	}
	a.put(t, "etc/sources.list", list.String())
	a.put(t, "state/status", "")
	// Read before the host's configuration, whose directories it replaces.
	a.put(t, "apt.conf", strings.NewReplacer("DIR", a.dir, "ARCH", arch).Replace(`Dir::Etc "DIR/etc";
Dir::Etc::Parts "apt.conf.d";
Dir::Etc::Main "none";
Dir::State "DIR/state";
Dir::State::status "DIR/state/status";
Dir::Cache "DIR/cache";
APT::Architecture "ARCH";
APT::Architectures { "ARCH"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
`))
	if out, err := a.command("update").CombinedOutput(); err != nil {
		t.Fatalf("apt-get update: %v\n%s", err, out)
	}
	// The first run writes the cache that the others map.
	if out, err := a.command("-s", "install").CombinedOutput(); err != nil {
		t.Fatalf("apt-get -s install: %v\n%s", err, out)
	}
	return a
}

func (a *AptGet) put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a *AptGet) command(args ...string) *exec.Cmd {
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	return cmd
}

// Install is "apt-get -s install" on a system with that dpkg status file, or none. What is
// installed and named stays at its version.
func (a *AptGet) Install(status string, args ...string) (Simulation, error) {
	run := []string{"-s", "-qq", "--no-upgrade"}
	if status != "" {
		// A cache of its own: the other goes with the empty status.
		// What comes from the same source as an upgraded package need not be upgraded with it.
		run = append(run, "-o", "Dir::State::status="+status, "-o", "Dir::Cache::pkgcache=base.bin", "-o", "APT::Get::Upgrade-By-Source-Package=false")
	}
	out, err := a.command(append(append(run, "install"), args...)...).CombinedOutput()
	if err != nil {
		return Simulation{}, fmt.Errorf("apt-get -s install %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	var s Simulation
	for _, m := range regexp.MustCompile(`(?m)^(Inst|Remv) (\S+) (?:\[(\S+)\] ?)?(?:\((\S+) )?`).FindAllSubmatch(out, -1) {
		name, old, version := string(m[2]), string(m[3]), string(m[4])
		switch {
		case string(m[1]) == "Remv":
			s.Removes = append(s.Removes, name)
		case old != "":
			s.Changes = append(s.Changes, name+"="+version+"<"+old)
		default:
			s.Changes = append(s.Changes, name+"="+version)
		}
	}
	slices.Sort(s.Changes)
	return s, nil
}

// Fetched is what "apt-get install" would download for an empty system, as Install reports it.
// It decides as the simulation does, but does not go through the steps of dpkg, whose time grows
// with the square of the number of packages.
func (a *AptGet) Fetched(args ...string) ([]string, error) {
	var stderr bytes.Buffer
	cmd := a.command(append([]string{"-qq", "-y", "--print-uris", "install"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get --print-uris install %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^'\S+' ([^_]+)_(\S+)_[^_]+\.deb `).FindAllSubmatch(out, -1) {
		list = append(list, string(m[1])+"="+strings.ReplaceAll(string(m[2]), "%3a", ":"))
	}
	slices.Sort(list)
	return list, nil
}
