package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/bundle"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
)

type vendorOptions struct {
	ingredients
	out  string
	jobs int
}

func newVendor(env *environment) *cobra.Command {
	var o vendorOptions
	cmd := &cobra.Command{
		Use: "vendor PROFILE", Short: "put the lock and every input into one directory or archive", Args: exactly(1, "a PROFILE"),
		Long: long("vendor writes what a bake needs into a directory or, when the name ends in .tar, an uncompressed archive:\n"+
			"the lock, every locked input under a readable path, Go modules, and index.json with all digests. With\n"+
			"--vendor a machine without a network and with an empty store bakes the same bytes from it. The profile\n"+
			"itself, with its overlays, is not in it: it stays where its history is kept.",
			"edgebake vendor my-node.yaml -o my-node.tar\nedgebake bake my-node.yaml --offline --vendor my-node.tar"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runVendor(cmd.Context(), env, o, args[0]) },
	}
	o.add(cmd)
	cmd.Flags().StringVarP(&o.out, "output", "o", "", "directory, or archive NAME.tar (default: NAME.vendor)")
	cmd.Flags().IntVar(&o.jobs, "jobs", 0, "downloads at once (default 4)")
	return cmd
}

func runVendor(ctx context.Context, env *environment, o vendorOptions, name string) error {
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
	out := firstSet(o.out, l.profile.Profile.Name+".vendor")
	files, err := l.vendor(ctx, env, out, requests)
	if err != nil {
		return err
	}
	return env.printVendored(out, name, files)
}

// vendor writes the bundle and returns what is in it.
func (l *larder) vendor(ctx context.Context, env *environment, out string, requests []fetch.Request) ([]bundle.Content, error) {
	work, release, err := l.store.TempDir("vendor")
	if err != nil {
		return nil, err
	}
	defer release()
	modules := filepath.Join(work, "modules")
	if err := os.Mkdir(modules, 0o755); err != nil {
		return nil, fmt.Errorf("vendoring Go modules: %w", err)
	}
	if err := l.kit().VendorModules(ctx, l.lock, modules, filepath.Join(work, "gopath")); err != nil {
		return nil, err
	}
	files, err := bundle.Dir(ctx, modules, bundle.GoDir)
	if err != nil {
		return nil, err
	}
	lockFile, err := l.lockFile(work)
	if err != nil {
		return nil, err
	}
	files = append(append(files, lockFile), bundle.Inputs(l.store, requests)...)
	index := bundle.Index{Profile: l.lock.Profile, Lock: lockFile.Path}
	return files, bundle.Write(ctx, out, index, files, l.lock.Epoch, env.reporter)
}

// lockFile is the lock as lock.Write has it.
func (l *larder) lockFile(work string) (bundle.Content, error) {
	path, err := l.lock.Write(work)
	if err != nil {
		return bundle.Content{}, err
	}
	text, err := os.ReadFile(path)
	return bundle.Bytes(l.lock.Profile+lock.Extension, text), err
}

func (env *environment) printVendored(out, name string, files []bundle.Content) error {
	var bytes int64
	inputs, modules := 0, 0
	for _, f := range files {
		bytes += f.Size
		switch {
		case strings.HasPrefix(f.Path, bundle.GoDir+"/"):
			modules++
		case f.Name != "":
			inputs++
		}
	}
	if env.settings.json {
		return env.printJSON(map[string]any{"path": out, "inputs": inputs, "goFiles": modules, "bytes": bytes})
	}
	fmt.Fprintf(env.stdout, "%s: %d inputs, %d files of Go modules, %.1f MiB\n", out, inputs, modules, mebi(bytes))
	env.reporter.Note("next: edgebake bake %s --offline --vendor %s", name, out)
	return nil
}
