package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/verify"
)

type bakeOptions struct {
	set    setFlag
	lock   string
	out    string
	noBoot bool
	jobs   int
}

func newBake(env *environment) *cobra.Command {
	var o bakeOptions
	cmd := &cobra.Command{
		Use: "bake PROFILE", Short: "bake an image and prove that it boots", Args: exactly(1, "a PROFILE"),
		Long: long("bake makes the image that the profile's lock describes, boots it in QEMU on a throw-away overlay and\n"+
			"checks it inside. Stages whose inputs have not changed come from the store. Into -o DIR go NAME.img,\n"+
			"manifest.json, SHA256SUMS, the verdict and the console logs.",
			"edgebake bake edge-rpi-debian-12 -o out\nedgebake bake my-node.yaml --set hostname=porch --no-boot"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runBake(cmd.Context(), env, o, args[0]) },
	}
	o.set.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.lock, "lock", "", "lock file (default: beside the profile)")
	f.StringVarP(&o.out, "output", "o", "out", "directory of the artifacts")
	f.BoolVar(&o.noBoot, "no-boot", false, "do not boot the image")
	f.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "processors to use")
	return cmd
}

func runBake(ctx context.Context, env *environment, o bakeOptions, name string) error {
	l, err := o.set.load(ctx, name)
	if err != nil {
		return env.faults(err)
	}
	pinned, err := findLock(l, name, o.lock)
	if err != nil {
		return err
	}
	if _, _, err := vm.Find(l.Profile.Arch); err != nil {
		return err // before anything is downloaded for it
	}
	result, err := build(ctx, env, o, l, pinned)
	if err != nil {
		return err
	}
	if err := env.printResult(result); err != nil {
		return err
	}
	if !o.noBoot && len(l.Profile.Checks) > 0 {
		if err := prove(ctx, env, l, pinned, result.Image); err != nil {
			return err
		}
	}
	env.reporter.Note("next: edgebake boot %s --ssh, or write it to a card", result.Image)
	return nil
}

func build(ctx context.Context, env *environment, o bakeOptions, l profile.Loaded, pinned lock.Lock) (builder.Result, error) {
	store, err := env.openStore()
	if err != nil {
		return builder.Result{}, err
	}
	client, err := env.newClient(store, 0)
	if err != nil {
		return builder.Result{}, err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return builder.Result{}, fmt.Errorf("making output directory: %w", err)
	}
	return builder.Build(ctx, builder.Config{
		Profile: l, Lock: pinned, Store: store, Client: client, Out: o.out, Jobs: o.jobs,
		Offline: env.settings.offline, Report: env.reporter, Version: programVersion(),
	})
}

func (env *environment) printResult(r builder.Result) error {
	if env.settings.json {
		return env.printJSON(r)
	}
	_, err := fmt.Fprintf(env.stdout, "%s  %s\n", r.Digest, r.Image)
	return err
}

// prove boots the image with the profile's checks.
func prove(ctx context.Context, env *environment, l profile.Loaded, pinned lock.Lock, path string) error {
	work, err := os.MkdirTemp("", "edgebake-boot-")
	if err != nil {
		return fmt.Errorf("making work directory: %w", err)
	}
	defer os.RemoveAll(work)
	probe, err := vm.Probe(ctx, l.Profile.Arch)
	if err != nil {
		return err
	}
	return env.judge(ctx, path, filepath.Dir(path), verify.CheckOptions{
		Options: verify.Options{Arch: l.Profile.Arch, WorkDir: work, Accel: probe.Accel}, Checks: l.Profile.Checks, Epoch: pinned.Epoch,
	})
}
