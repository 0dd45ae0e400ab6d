package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fleet writes an inventory of n nodes and a token that does not expire soon.
func fleet(tb testing.TB, n int) (dir string) {
	tb.Helper()
	var b strings.Builder
	b.WriteString("name,cloudcore,mac,addresses,gateway,wifi-ssid,wifi-password\n")
	for i := range n {
		fmt.Fprintf(&b, "edge-%d,192.0.2.1:10000,dc:a6:32:00:%02x:%02x,10.0.%d.%d/16,10.0.255.254,Hall,longenough\n", i, i>>8, i&255, i/250, i%250+1)
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

// BenchmarkSeeds makes 1,000 seeds; the requirement is 2 s.
func BenchmarkSeeds(b *testing.B) {
	for _, kind := range []string{"nocloud", "iso"} {
		b.Run(kind, func(b *testing.B) {
			dir := fleet(b, 1000)
			for i := range b.N {
				args := []string{"seed", "--inventory", filepath.Join(dir, "fleet.csv"), "--kind", kind, "-o", filepath.Join(dir, fmt.Sprint(kind, i)), "--quiet"}
				var stdout, stderr bytes.Buffer
				if code := Main(b.Context(), args, nil, &stdout, &stderr); code != exitDone {
					b.Fatal(stderr.String())
				}
			}
		})
	}
}
