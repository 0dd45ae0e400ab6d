package vm

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// MissingQEMUError says that QEMU for an architecture is not installed.
type MissingQEMUError struct {
	Binary   string   // "qemu-system-aarch64"
	Packages []string // Debian's and Ubuntu's names
}

func (e *MissingQEMUError) Error() string {
	return fmt.Sprintf("finding %s: it is not in PATH; install it with: apt-get install %s",
		e.Binary, strings.Join(e.Packages, " "))
}

func binaryOf(arch string) (name string, packages []string, err error) {
	switch arch {
	case "arm64":
		return "qemu-system-aarch64", []string{"qemu-system-arm"}, nil
	case "amd64":
		return "qemu-system-x86_64", []string{"qemu-system-x86"}, nil
	}
	return "", nil, fmt.Errorf("finding QEMU: architecture is %q, not arm64 or amd64", arch)
}

// askLimit is how long QEMU may take to print its version or list its machines.
const askLimit = 20 * time.Second

// Find returns the path of QEMU for arch (Debian's name) and its version ("7.2.22"). The error
// is a *MissingQEMUError when QEMU is not installed.
func Find(arch string) (path, version string, err error) {
	name, packages, err := binaryOf(arch)
	if err != nil {
		return "", "", err
	}
	path, err = exec.LookPath(name)
	if err != nil {
		return "", "", &MissingQEMUError{Binary: name, Packages: packages}
	}
	out, err := ask(context.Background(), path, "--version")
	if err != nil {
		return "", "", err
	}
	return path, parseVersion(out), nil
}

func parseVersion(out string) string {
	m := regexp.MustCompile(`version ([0-9][0-9.]*)`).FindStringSubmatch(out)
	if m == nil {
		return "unknown"
	}
	return m[1]
}

// HasBoard reports whether QEMU at path knows a machine by this name (raspi4b came with 9.0).
func HasBoard(ctx context.Context, path, name string) (bool, error) {
	out, err := ask(ctx, path, "-machine", "help")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
			return true, nil
		}
	}
	return false, nil
}

func ask(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w", path, strings.Join(args, " "), err)
	}
	return string(out), nil
}
