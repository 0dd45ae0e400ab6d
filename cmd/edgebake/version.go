package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: exactly(0, ""),
		Long: long("version prints the program's version and the Go version that built it.", "edgebake version --json"),
		RunE: func(*cobra.Command, []string) error { return runVersion(env) },
	}
}

func runVersion(env *environment) error {
	v := programVersion()
	if env.settings.json {
		return env.printJSON(map[string]string{"version": v, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
	}
	fmt.Fprintf(env.stdout, "edgebake %s (%s, %s/%s)\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// programVersion is what the linker stamped, otherwise what the go command knows.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
