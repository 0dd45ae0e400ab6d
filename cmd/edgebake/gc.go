package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
)

type gcOptions struct {
	maxAge, maxSize string
	keep            []string
	dryRun, verify  bool
}

func newGC(env *environment) *cobra.Command {
	var o gcOptions
	cmd := &cobra.Command{
		Use: "gc", Short: "remove from the store what was long unused", Args: exactly(0, ""),
		Long: long("gc removes blobs and results of stages that were not used for longer than --max-age, then the\n"+
			"longest unused until the store is no larger than --max-size, and what killed processes left.\n"+
			"With --verify it also hashes what stays and removes what a failing disk damaged; what a bake needs of that\n"+
			"is fetched or made again. It refuses to run while another edgebake uses the store.",
			"edgebake gc --max-age 14d --max-size 20GiB --keep edge.lock.json"),
		RunE: func(cmd *cobra.Command, _ []string) error { return runGC(cmd.Context(), env, o) },
	}
	cmd.Flags().StringVar(&o.maxAge, "max-age", "30d", "keep what was used within this time: 36h, 30d, or 0 for all")
	cmd.Flags().StringVar(&o.maxSize, "max-size", "0", "keep at most so much: 20GiB, or 0 for any size")
	cmd.Flags().StringArrayVar(&o.keep, "keep", nil, "keep all inputs of this lock file (repeatable)")
	cmd.Flags().BoolVar(&o.verify, "verify", false, "hash what stays, and remove what is damaged")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "report without removing")
	return cmd
}

func runGC(ctx context.Context, env *environment, o gcOptions) error {
	policy, err := o.policy()
	if err != nil {
		return err
	}
	store, err := env.openStore()
	if err != nil {
		return err
	}
	report, err := store.GC(ctx, policy)
	if err != nil {
		return err
	}
	if env.settings.json {
		return env.printJSON(report)
	}
	verb := "removed"
	if o.dryRun {
		verb = "would remove"
	}
	fmt.Fprintf(env.stdout, "%s %d blobs and results (%s), kept %d (%s) in %s\n", verb, report.Removed,
		profile.Size(report.RemovedBytes), report.Kept, profile.Size(report.KeptBytes), store.Dir())
	return nil
}

func (o gcOptions) policy() (cas.Policy, error) {
	age, err := parseAge(o.maxAge)
	if err != nil {
		return cas.Policy{}, usagef("reading --max-age: %w", err)
	}
	var size profile.Size
	if o.maxSize != "0" {
		if size, err = profile.ParseSize(o.maxSize); err != nil {
			return cas.Policy{}, usagef("reading --max-size: %w", err)
		}
	}
	p := cas.Policy{MaxAge: age, MaxSize: int64(size), DryRun: o.dryRun, Verify: o.verify}
	for _, path := range o.keep {
		roots, err := lockRoots(path)
		if err != nil {
			return cas.Policy{}, err
		}
		p.Roots = append(p.Roots, roots...)
	}
	return p, nil
}

// parseAge is time.ParseDuration with days.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return d, err
}

// lockRoots returns the digests of everything that a lock file pins.
func lockRoots(path string) ([]cas.Digest, error) {
	text, err := lock.ReadFile(path)
	if err != nil {
		return nil, usagef("reading lock to keep: %w", err)
	}
	l, err := lock.Parse(path, text)
	if err != nil {
		return nil, usagef("reading lock to keep: %w", err)
	}
	var roots []cas.Digest
	for _, r := range l.Requests() {
		roots = append(roots, r.Digest)
	}
	return roots, nil
}
