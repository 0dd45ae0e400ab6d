package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/component"
	"github.com/edgebake/edgebake/builder/profile"
)

type fetchOptions struct {
	set  setFlag
	lock string
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
	o.set.add(cmd)
	cmd.Flags().StringVar(&o.lock, "lock", "", "lock file (default: beside the profile)")
	cmd.Flags().IntVar(&o.jobs, "jobs", 0, "downloads at once (default 4)")
	return cmd
}

func runFetch(ctx context.Context, env *environment, o fetchOptions, name string) error {
	l, err := o.set.load(ctx, name)
	if err != nil {
		return env.faults(err)
	}
	pinned, err := findLock(l, name, o.lock)
	if err != nil {
		return err
	}
	now, err := profile.Digest(l)
	if err != nil {
		return err
	}
	if err := pinned.CheckProfile(now); err != nil {
		return err
	}
	store, err := env.openStore()
	if err != nil {
		return err
	}
	release, err := store.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	client, err := env.newClient(store, o.jobs)
	if err != nil {
		return err
	}
	kit := component.Kit{Store: store, Client: client, Profile: l}
	if err := kit.Fetch(ctx, pinned.Components); err != nil {
		return err
	}
	requests := pinned.Requests()
	if err := client.All(ctx, requests); err != nil {
		return err
	}
	var bytes int64
	for _, r := range requests {
		bytes += r.Size
	}
	if env.settings.json {
		return env.printJSON(map[string]any{"inputs": len(requests), "bytes": bytes, "store": store.Dir()})
	}
	fmt.Fprintf(env.stdout, "%d inputs (%.1f MiB) are in %s\n", len(requests), float64(bytes)/(1<<20), store.Dir())
	return nil
}
