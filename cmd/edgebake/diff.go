package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/image"
)

func newDiff(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "diff IMAGE IMAGE", Short: "name the first difference of two images", Args: exactly(2, "two images"),
		Long: long("diff compares two images and names the first difference: partition, file, attribute and byte. As diff(1)\n"+
			"it exits with 0 when they are the same and with 1 when they differ.", "edgebake diff a/edge.img b/edge.img"),
		RunE: func(cmd *cobra.Command, args []string) error { return runDiff(cmd.Context(), env, args[0], args[1]) },
	}
}

func runDiff(ctx context.Context, env *environment, a, b string) error {
	difference, differs, err := image.Diff(ctx, a, b)
	if err != nil {
		return err
	}
	switch {
	case env.settings.json && differs:
		err = env.printJSON(map[string]any{"same": false, "first": difference})
	case env.settings.json:
		err = env.printJSON(map[string]any{"same": true})
	case differs:
		fmt.Fprintln(env.stdout, difference)
	default:
		fmt.Fprintln(env.stdout, "the same")
	}
	if err == nil && differs {
		return silentError{}
	}
	return err
}
