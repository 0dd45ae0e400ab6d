package verify_test

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/oracle"
)

// asked runs one function of the check script with programs that stand in for the booted system's, and returns what it reports.
func asked(t *testing.T, function string, programs map[string]string) verify.Result {
	t.Helper()
	script, err := os.ReadFile("check.sh")
	if err != nil {
		t.Fatal(err)
	}
	functions, _, ok := strings.Cut(string(script), "\n: >\"$dir/results\"\n")
	if !ok {
		t.Fatal("where the functions end was not found in check.sh")
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "env"), "")
	for name, text := range programs {
		put(t, filepath.Join(dir, "bin", name), "#!/bin/sh\n"+text+"\n")
	}
	put(t, filepath.Join(dir, "check"), functions+"\nPATH=$dir/bin:$PATH\nsay() { printf '%s\\n' \"$1\"; }\n"+function+"\n")
	out, err := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(dir, "check")).CombinedOutput()
	var said struct {
		Check, Detail string
		OK            bool
	}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return verify.Result{Name: said.Check, OK: said.OK, Detail: said.Detail}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// dpkgRoot is a system with one package of two files, one of them configuration, for the real dpkg and apt to look at.
func dpkgRoot(t *testing.T) (root string, programs map[string]string) {
	t.Helper()
	root = t.TempDir()
	arch := strings.TrimSpace(string(output(t, "dpkg", "--print-architecture")))
	put(t, root+"/usr/bin/x", "program")
	put(t, root+"/etc/x.conf", "configuration")
	put(t, root+"/var/lib/dpkg/status", fmt.Sprintf("Package: x\nStatus: install ok installed\nMaintainer: nobody <x@example.org>\nArchitecture: %s\nVersion: 1\nConffiles:\n /etc/x.conf %x\nDescription: x\n\n",
		arch, md5.Sum([]byte("configuration"))))
	put(t, root+"/var/lib/dpkg/info/x.list", "/.\n/etc\n/etc/x.conf\n/usr\n/usr/bin\n/usr/bin/x\n")
	put(t, root+"/var/lib/dpkg/info/x.md5sums", fmt.Sprintf("%x  usr/bin/x\n", md5.Sum([]byte("program"))))
	for _, name := range []string{"var/lib/apt/lists/partial/x", "etc/apt/sources.list", "etc/apt/sources.list.d/x", "etc/apt/preferences.d/x", "etc/apt/apt.conf.d/x", "var/cache/apt/archives/partial/x"} {
		put(t, root+"/"+name, "")
	}
	return root, map[string]string{
		"dpkg": "exec " + oracle.Need(t, "dpkg") + " --root=" + root + ` "$@"`,
		"apt-get": "exec " + oracle.Need(t, "apt-get") + ` "$@" -o Dir=` + root + " -o Dir::State::status=" + root + "/var/lib/dpkg/status -o Dir::Etc::parts=/dev/null " +
			"-o Dir::Bin::dpkg=" + oracle.Need(t, "dpkg") + " -o APT::Architecture=" + arch,
		"debsums": "exit 0",
	}
}

func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), oracle.Need(t, name), args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// TestCheckPackages lets the real dpkg and apt say what is wrong with a small system, and the script what that means.
func TestCheckPackages(t *testing.T) {
	replace := func(root, old, with string) {
		status := root + "/var/lib/dpkg/status"
		text, err := os.ReadFile(status)
		if err != nil || !strings.Contains(string(text), old) {
			t.Fatalf("no %q in %q (%v)", old, text, err)
		}
		put(t, status, strings.Replace(string(text), old, with, 1))
	}
	remove := func(name string) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		harm func(root string, programs map[string]string)
		ok   bool
		want string
	}{
		"clean":                 {func(string, map[string]string) {}, true, "changed: none"},
		"no debsums":            {func(_ string, p map[string]string) { delete(p, "debsums") }, true, "changed: none"},
		"configuration changed": {func(root string, _ map[string]string) { put(t, root+"/etc/x.conf", "ours") }, true, "/etc/x.conf"},
		"configuration gone":    {func(root string, _ map[string]string) { remove(root + "/etc/x.conf") }, false, "missing   c /etc/x.conf"},
		"program changed":       {func(root string, _ map[string]string) { put(t, root+"/usr/bin/x", "another") }, false, "??5??????   /usr/bin/x"},
		"program gone":          {func(root string, _ map[string]string) { remove(root + "/usr/bin/x") }, false, "missing     /usr/bin/x"},
		"half configured":       {func(root string, _ map[string]string) { replace(root, "ok installed", "ok half-configured") }, false, "half configured"},
		"no md5sums":            {func(root string, _ map[string]string) { remove(root + "/var/lib/dpkg/info/x.md5sums") }, false, "md5sums"},
		"dependency missing":    {func(root string, _ map[string]string) { replace(root, "Version: 1\n", "Version: 1\nDepends: absent\n") }, false, "absent"},
		"database unreadable":   {func(root string, _ map[string]string) { replace(root, "Package: x", "Package: ?") }, false, "code 2"},
		"dpkg fails silently":   {func(_ string, p map[string]string) { p["dpkg"] = "exit 3" }, false, "dpkg --verify: code 3"},
		"debsums finds one":     {func(_ string, p map[string]string) { p["debsums"] = "echo changed file /usr/bin/y >&2; exit 2" }, false, "changed file /usr/bin/y debsums: code 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, programs := dpkgRoot(t)
			tc.harm(root, programs)
			if got := asked(t, "check_packages", programs); got.Name != verify.CheckPackages || got.OK != tc.ok || !strings.Contains(got.Detail, tc.want) {
				t.Errorf("got %+v, want %v and %q", got, tc.ok, tc.want)
			}
		})
	}
}
