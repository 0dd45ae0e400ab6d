// Command schemagen writes the JSON schema of profiles: schemagen SOURCE-DIRECTORY OUTPUT.
//
// Descriptions are the comments of the Go types, which a binary does not carry; so the schema is
// made when the types change and compiled in.
package main

import (
	"fmt"
	"os"

	"github.com/edgebake/edgebake/builder/profile/schemagen/schema"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: schemagen SOURCE-DIRECTORY OUTPUT")
	}
	text, err := schema.Generate(args[0])
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], text, 0o644)
}
