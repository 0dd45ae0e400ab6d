// Command crio is a stand-in for CRI-O 1.20 in tests. It reads the configuration that CRI-O reads,
// refuses to start for the reasons for which CRI-O refuses, and answers CRI v1alpha2 calls that ask
// for its version, its status and its images. It runs no containers.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// version is set when it is linked.
var version = "1.20.0"

func main() {
	if len(os.Args) > 1 && slices.Contains([]string{"--version", "version", "wipe"}, os.Args[1]) {
		fmt.Printf("crio version %s (stand-in for tests)\n", version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	root := os.Getenv(kubeedge.Root) // for tests without a machine of their own
	if root == "" {
		root = "/"
	}
	if err := run(ctx, root); err != nil {
		fmt.Fprintln(os.Stderr, "crio (stand-in): "+err.Error())
		os.Exit(1)
	}
}

// run serves until ctx ends. root is where the file system begins.
func run(ctx context.Context, root string) error {
	c, err := load(root)
	if err != nil {
		return err
	}
	if err := c.check(kernelRelease()); err != nil {
		return err
	}
	for _, file := range []string{"var/run/crio/version", "var/lib/crio/version"} {
		if err := writeFile(filepath.Join(root, file), `"`+version+`"`); err != nil {
			return err
		}
	}
	return c.serve(ctx)
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return string(b)
}
