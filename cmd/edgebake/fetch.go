package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

type fetchOptions struct {
	ingredients
	jobs int
}

func newFetch(env *environment) *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use: "fetch PROFILE", Short: "download every locked input into the store", Args: exactly(1, "a PROFILE"),
		Long: long("fetch downloads and verifies what the lock names, so that a bake needs no network for it. Interrupted\n"+
			"downloads go on where they ended.", "edgebake fetch edge-rpi-debian-12"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runFetch(cmd.Context(), env, o, args[0]) },
	}
	o.add(cmd)
	cmd.Flags().IntVar(&o.jobs, "jobs", 0, "downloads at once (default 4)")
	return cmd
}

func runFetch(ctx context.Context, env *environment, o fetchOptions, name string) error {
	l, err := env.openLarder(ctx, o.ingredients, name, o.jobs)
	if err != nil {
		return err
	}
	defer l.close()
	release, err := l.store.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	requests, err := l.fetch(ctx, env.reporter)
	if err != nil {
		return err
	}
	var bytes int64
	for _, r := range requests {
		bytes += r.Size
	}
	if env.settings.json {
		return env.printJSON(map[string]any{"inputs": len(requests), "bytes": bytes, "store": l.store.Dir()})
	}
	fmt.Fprintf(env.stdout, "%d inputs (%.1f MiB) are in %s\n", len(requests), mebi(bytes), l.store.Dir())
	return nil
}
