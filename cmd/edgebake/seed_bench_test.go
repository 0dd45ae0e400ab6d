package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fleet writes an inventory of n nodes in one wireless network.
func fleet(tb testing.TB, n int) (dir string) {
	tb.Helper()
	return fleetWith(tb, n, samePassword)
}

func samePassword(int) string { return "longenough" }

// fleetWith writes an inventory of n nodes, each with the password of its wireless network.
func fleetWith(tb testing.TB, n int, password func(int) string) (dir string) {
	tb.Helper()
	var b strings.Builder
	b.WriteString("name,cloudcore,mac,addresses,gateway,wifi-ssid,wifi-password\n")
	for i := range n {
		fmt.Fprintf(&b, "edge-%d,192.0.2.1:10000,dc:a6:32:00:%02x:%02x,10.0.%d.%d/16,10.0.255.254,Hall,%s\n", i, i>>8, i&255, i/250, i%250+1, password(i))
	}
	dir = tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fleet.csv"), []byte(b.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// TestThousandSeeds counts: a directory for each node, nothing else, and every node another instance.
func TestThousandSeeds(t *testing.T) {
	dir := fleet(t, 1000)
	out := filepath.Join(dir, "seeds")
	code, stdout, stderr := edgebake(t, "seed", "--inventory", filepath.Join(dir, "fleet.csv"), "--token-file", "-", "-o", out, "--json")
	var report seedReport
	if err := json.Unmarshal([]byte(stdout), &report); code != exitDone || err != nil {
		t.Fatalf("exit code %d, %v, %s", code, err, stderr)
	}
	instances := map[string]bool{}
	for i, s := range report.Seeds {
		instances[s.InstanceID] = true
		if want := fmt.Sprintf("edge-%d", i); s.Node != want || s.Path != filepath.Join(out, want) {
			t.Errorf("seed %d is of %s in %s", i, s.Node, s.Path)
		}
	}
	for _, pattern := range []string{"*", "*/user-data", "*/meta-data", "*/network-config", "*/edgebake-token"} {
		if found, err := filepath.Glob(filepath.Join(out, pattern)); err != nil || len(found) != 1000 {
			t.Errorf("%s: %d, %v", pattern, len(found), err)
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(instances) != 1000 || len(entries) != 1000 {
		t.Errorf("%d instances and %d directories, %v", len(instances), len(entries), err)
	}
}

// seedsLimit is for the processor time of 1,000 seeds with as many passwords: several times what they take, but less than
// if each key were derived again and again.
const seedsLimit = 12 * time.Second

// TestThousandPasswords makes the seeds that take longest: WPA's slow derivation for each node.
func TestThousandPasswords(t *testing.T) {
	dir := fleetWith(t, 1000, ownPassword)
	cmd := seedCommand(t, dir, filepath.Join(dir, "seeds"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if t.Logf("%s of processor time", took); took > seedsLimit {
		t.Errorf("1,000 seeds took %s of processor time; the limit is %s", took, seedsLimit)
	}
}

func ownPassword(i int) string { return fmt.Sprintf("longenough-%d", i) }

// BenchmarkSeeds makes 1,000 seeds; the requirement is 2 s. On a machine with other work only the processor time tells
// something. In "passwords" each node has a wireless network of its own.
func BenchmarkSeeds(b *testing.B) {
	for _, bb := range []struct {
		name, kind string
		password   func(int) string
	}{{"nocloud", "nocloud", samePassword}, {"iso", "iso", samePassword}, {"passwords", "nocloud", ownPassword}} {
		b.Run(bb.name, func(b *testing.B) {
			dir := fleetWith(b, 1000, bb.password)
			before := processorTime(b)
			for i := range b.N {
				args := []string{"seed", "--inventory", filepath.Join(dir, "fleet.csv"), "--kind", bb.kind, "-o", filepath.Join(dir, fmt.Sprint("seeds", i)), "--quiet"}
				var stdout, stderr bytes.Buffer
				if code := Main(b.Context(), args, nil, &stdout, &stderr); code != exitDone {
					b.Fatal(stderr.String())
				}
			}
			b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
