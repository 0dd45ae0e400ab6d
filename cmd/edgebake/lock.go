package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/component"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/profiles"
)

type lockOptions struct {
	set    setFlag
	check  bool
	keep   bool
	update []string
	onTop  bool
	out    string
}

func newLock(env *environment) *cobra.Command {
	var o lockOptions
	cmd := &cobra.Command{
		Use: "lock PROFILE", Short: "pin every input of a profile", Args: exactly(1, "a PROFILE"),
		Long: long("lock asks the archives what the profile's packages are now and writes NAME.lock.json with the size and\n"+
			"SHA-256 of every input: beside the profile's file, or into the current directory for a built-in one.\n"+
			"With --check it only says whether the lock still belongs to the profile. With --update it takes new\n"+
			"versions of the named packages and keeps all others where the archives still have them.\n\n"+
			"The next bake then configures all packages of the profile's parents anew. With --on-top it does not: what\n"+
			"changes is installed over them as they were configured, by the image's own dpkg. The lock then has both\n"+
			"versions, and a bake from an empty store installs one over the other as well.",
			"edgebake lock my-node.yaml\nedgebake lock my-node.yaml --check\nedgebake lock my-node.yaml --update openssh-server\n"+
				"edgebake lock my-node.yaml --update openssl --on-top"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runLock(cmd.Context(), env, o, args[0]) },
	}
	o.set.add(cmd)
	cmd.Flags().BoolVar(&o.check, "check", false, "exit with 4 when the lock is stale or missing; change nothing")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "keep every version; for a changed overlay or setting this needs no network")
	cmd.Flags().StringArrayVar(&o.update, "update", nil, "take the new version of this package alone (repeatable)")
	cmd.Flags().BoolVar(&o.onTop, "on-top", false, "with --update or --keep: install what changes over the parents' packages as they are configured")
	cmd.Flags().StringVarP(&o.out, "output", "o", "", "directory of the lock")
	cmd.MarkFlagsMutuallyExclusive("check", "update", "keep")
	return cmd
}

func runLock(ctx context.Context, env *environment, o lockOptions, name string) error {
	if o.onTop && !o.keep && len(o.update) == 0 {
		return usagef("--on-top goes with --update PACKAGE or --keep: without them all packages get new versions")
	}
	l, err := o.set.load(ctx, name)
	if err != nil {
		return env.faults(err)
	}
	if err := concrete(l); err != nil {
		return err
	}
	dir := o.out
	if dir == "" {
		dir = lockDir(name)
	}
	path := filepath.Join(dir, l.Profile.Name+lock.Extension)
	if o.check {
		return runLockCheck(env, l, path)
	}
	pinned, err := o.pin(ctx, env, l, path)
	if err != nil {
		return err
	}
	if path, err = pinned.Write(dir); err != nil {
		return err
	}
	return env.tellLock(path, pinned)
}

// tellLock says what was pinned, and what of it deserves a look.
func (env *environment) tellLock(path string, pinned lock.Lock) error {
	firstUse := pinned.FirstUse()
	for _, name := range firstUse {
		env.reporter.Warn("nobody publishes a hash of %s: it is pinned as it came", name)
	}
	if len(firstUse) > 0 {
		env.reporter.Note("who knows a hash writes it into the profile: sha256 or sha512 of a file, NAME@sha256:DIGEST of a container image")
	}
	below := "lower layer"
	if pinned.Base != nil {
		below = "base image"
	}
	upgraded, packages := pinned.Upgraded(), len(pinned.Installed())
	for _, p := range upgraded {
		env.reporter.Note("%s %s of the %s is replaced by %s (%s)", p.Name, p.Upgrades, below, p.Version, p.Reason)
	}
	if env.settings.json {
		return env.printJSON(map[string]any{"path": path, "packages": packages, "upgrades": len(upgraded), "components": len(pinned.Components), "firstUse": firstUse})
	}
	fmt.Fprintf(env.stdout, "%s: %d packages, %d components\n", path, packages, len(pinned.Components))
	return nil
}

func runLockCheck(env *environment, l profile.Loaded, path string) error {
	pinned, err := readLock(l, path)
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
	if env.settings.json {
		return env.printJSON(map[string]any{"path": path, "fresh": true})
	}
	fmt.Fprintf(env.stdout, "%s belongs to the profile as it is\n", path)
	return nil
}

// pin makes a new lock; with --keep it takes all it can of the lock at path.
func (o lockOptions) pin(ctx context.Context, env *environment, l profile.Loaded, path string) (lock.Lock, error) {
	if !o.keep {
		return o.resolve(ctx, env, l, path)
	}
	old, err := readLock(l, path)
	if err != nil {
		return lock.Lock{}, err
	}
	digest, err := profile.Digest(l)
	if err != nil {
		return lock.Lock{}, err
	}
	if kept, ok, err := o.keepAll(env, l, old, digest); ok || err != nil {
		return kept, err
	}
	return o.resolve(ctx, env, l, path)
}

// keepAll keeps every version, and takes files of the machine as they are now.
func (o lockOptions) keepAll(env *environment, l profile.Loaded, old lock.Lock, digest cas.Digest) (lock.Lock, bool, error) {
	kept, ok, err := old.Keep(l.Profile, digest)
	if err != nil || !ok || len(kept.Components) == 0 {
		return kept, ok, err
	}
	store, err := env.openStore()
	if err != nil {
		return lock.Lock{}, false, err
	}
	kept.Components, ok, err = component.Kit{Store: store, Profile: l}.Refresh(kept.Components)
	return kept, ok, err
}

// resolve asks the archives. With --keep and --update, versions of the lock at path stay.
func (o lockOptions) resolve(ctx context.Context, env *environment, l profile.Loaded, path string) (lock.Lock, error) {
	in, err := o.inputs(l, path)
	if err != nil {
		return lock.Lock{}, err
	}
	if in.Store, err = env.openStore(); err != nil {
		return lock.Lock{}, err
	}
	release, err := in.Store.Hold(ctx)
	if err != nil {
		return lock.Lock{}, err
	}
	defer release()
	if in.Client, err = env.newClient(in.Store, 0); err != nil {
		return lock.Lock{}, err
	}
	trusted, err := env.trust(l)
	if err != nil {
		return lock.Lock{}, err
	}
	in.Profile, in.Asked, in.Keyrings = trusted.Profile, &l.Profile, trusted.Keyrings
	base := builder.Resolver{Profile: trusted, Store: in.Store, Client: in.Client, Report: env.reporter, Now: in.Now}
	if in.Base, err = base.Base(ctx); err != nil {
		return lock.Lock{}, supply(err, supplyBase)
	}
	kit := component.Kit{Store: in.Store, Client: in.Client, Profile: l, Go: component.Go{Offline: env.settings.offline}}
	if in.Components, err = kit.Resolve(ctx, before(l, path).Components); err != nil {
		return lock.Lock{}, supply(err, supplyComponent)
	}
	pinned, err := lock.Resolve(ctx, in)
	return pinned, supply(err, supplyArchive)
}

// inputs are what needs neither store nor network.
func (o lockOptions) inputs(l profile.Loaded, path string) (in lock.Inputs, err error) {
	digest, err := profile.Digest(l)
	if err != nil {
		return in, err
	}
	in = lock.Inputs{Profile: l.Profile, ProfileDigest: digest, Own: l.OwnPackages(), Keyrings: l.Keyrings, Now: time.Now(), Update: o.update, Before: before(l, path).Archives}
	if !o.keep && len(o.update) == 0 {
		return in, nil
	}
	old, err := readLock(l, path)
	if err != nil {
		return in, err
	}
	in.Keep, in.KeepGuest, in.KeepHost = old.Installed(), old.Guest, old.Host
	if err := checkUpdate(old, o.update); err != nil || !o.onTop {
		return in, err
	}
	in.OnTop = &old
	return in, old.CheckOnTop(l.Profile, o.update)
}

// before is the lock at path, if there is a readable one.
func before(l profile.Loaded, path string) lock.Lock {
	old, err := readLock(l, path)
	if err != nil {
		return lock.Lock{}
	}
	return old
}

// checkUpdate refuses packages to update that are not in the lock.
func checkUpdate(old lock.Lock, update []string) error {
	for _, name := range update {
		is := func(p lock.Package) bool { return p.Name == name }
		if !slices.ContainsFunc(old.Packages, is) && !slices.ContainsFunc(old.Guest, is) {
			return usagef("updating %s: it is not in the lock of %s", name, old.Profile)
		}
	}
	return nil
}

// isPath tells a profile's path from a built-in name, as profile.Options does.
func isPath(name string) bool {
	return strings.ContainsRune(name, '/') || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// lockDir is where the lock of a profile is by default: beside the profile's file, which for a
// built-in one is there in a checkout of edgebake alone.
func lockDir(name string) string {
	if isPath(name) {
		return filepath.Dir(name)
	}
	if _, err := os.Stat(filepath.Join("profiles", name+".yaml")); err == nil {
		return "profiles"
	}
	return "."
}

// findLock reads the lock of a profile: the file that was named, otherwise the one in lockDir,
// otherwise for a built-in profile the one that is compiled in.
func findLock(l profile.Loaded, name, file string) (lock.Lock, error) {
	if file != "" {
		return readLock(l, file)
	}
	path := filepath.Join(lockDir(name), l.Profile.Name+lock.Extension)
	pinned, err := readLock(l, path)
	var missing *lock.MissingError
	if !errors.As(err, &missing) || isPath(name) {
		return pinned, err
	}
	text, builtinErr := fs.ReadFile(profiles.Builtin(), l.Profile.Name+lock.Extension)
	if builtinErr != nil {
		return lock.Lock{}, err
	}
	return parseLock("built-in "+l.Profile.Name, text)
}

func readLock(l profile.Loaded, path string) (lock.Lock, error) {
	text, err := lock.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lock.Lock{}, &lock.MissingError{Profile: l.Profile.Name, Path: path}
	}
	if err != nil {
		return lock.Lock{}, fmt.Errorf("reading lock of %s: %w", l.Profile.Name, err)
	}
	return parseLock(path, text)
}

func parseLock(name string, text []byte) (lock.Lock, error) {
	l, err := lock.Parse(name, text)
	if err != nil {
		return l, &lockError{err}
	}
	return l, nil
}
