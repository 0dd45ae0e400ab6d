package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
)

// memory is what the collector keeps the heap below, so that the process stays below 512 MiB with the program's own
// pages. It costs nothing before a bake comes near it: that is one of some hundred thousand files.
const memory = 416 << 20

// version is set by the linker (see the Makefile).
var version = ""

func main() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // nobody has set GOMEMLIMIT
		debug.SetMemoryLimit(memory)
	}
	os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
