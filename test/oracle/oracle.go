// Package oracle finds the real tools that tests compare with.
//
// An oracle is a program that is not ours and knows better: e2fsck, sgdisk, qemu-img. A missing
// oracle skips the test on a person's machine and fails it where the environment says CI=true.
package oracle

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns the path of the tool. Directories that a plain user's PATH often lacks (/sbin,
// /usr/sbin) are searched too.
func Need(t testing.TB, tool string) string {
	t.Helper()
	if p, err := exec.LookPath(tool); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(dir + "/" + tool); err == nil {
			return p
		}
	}
	Missing(t, tool)
	return ""
}

// Missing ends a test whose oracle is not there: the one place that decides between skip and fail.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: `make setup` installs it (CI=true: not skipped)", what)
	}
	t.Skipf("%s is missing: `make setup` installs it", what)
}
