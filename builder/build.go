// Package builder bakes images.
//
// Build is the whole way from a lock to a verified image, in numbered stages that pass values. A
// stage whose key (the digest of its name, version and inputs) is in the store is skipped and says so.
package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/lint"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// Config is what a bake works with.
type Config struct {
	Profile profile.Loaded
	Lock    lock.Lock
	Store   *cas.Store
	Client  *fetch.Client
	// Out is the directory of the artifacts.
	Out string
	// Jobs is the number of cores to use.
	Jobs    int
	Offline bool
	// Plain runs the packages' scripts as they are, without what makes it fast: see guest.Job. The image is the same.
	Plain  bool
	Report progress.Reporter
	// Version of edgebake, for the manifest.
	Version string
}

// Result is what a bake made.
type Result struct {
	// Image is the path of the raw image, Digest its SHA-256.
	Image  string     `json:"image"`
	Digest cas.Digest `json:"digest"`
	// Manifest, Sums and Console are paths beside it.
	Manifest string     `json:"manifest"`
	Sums     string     `json:"sums"`
	Console  string     `json:"console,omitempty"`
	Lock     cas.Digest `json:"lock"`
	// Lint is what the linter found in the image. Findings are no fault of Build.
	Lint lint.Report `json:"lint"`
	// Guest says where the guest's time went; it is zero when the stage came from the store.
	Guest guest.Result `json:"-"`
}

// Build bakes the image that the lock describes.
func Build(ctx context.Context, c Config) (Result, error) {
	// 1. The lock must belong to the profile as it is.
	if err := c.checkLock(); err != nil {
		return Result{}, err
	}
	release, err := c.Store.Hold(ctx) // gc of another process leaves our blobs alone
	if err != nil {
		return Result{}, err
	}
	defer release()
	src := tree.NewReader(c.Store)
	defer src.Close()

	// 2. Every input, verified, in the store.
	if err := stage(c, "fetch", func() (progress.Outcome, error) { return c.fetch(ctx) }); err != nil {
		return Result{}, err
	}
	// 3. The published image that it starts from, if any, decoded.
	base, err := stageIf(c.Lock.Base != nil, c, "base", func() (*base, progress.Outcome, error) { return c.base(ctx) })
	if err != nil {
		return Result{}, err
	}
	defer base.close()
	// 4. The packages, unpacked in process.
	packages, err := stageValue(c, "unpack", func() (packages, progress.Outcome, error) { return c.unpack(ctx, src) })
	if err != nil {
		return Result{}, err
	}
	// 5. Their own scripts, run in the guest, and 6. beside them what is not a package. What fails first ends the other.
	together, both := errgroup.WithContext(ctx)
	configured := stageBeside(both, together, c, "configure", func() (configured, progress.Outcome, error) { return c.configure(both, base, packages, src) })
	components := stageBeside(both, together, c, "components", func() ([]tree.Layer, progress.Outcome, error) { return c.components(both) })
	if err := together.Wait(); err != nil {
		return Result{}, err
	}
	ran := configured.ran // what is not needed any more is nobody's: trees are the memory of a bake
	// 7. One root file system: packages, components, overlays, settings.
	root, err := stageValue(c, "merge", func() (tree.Tree, progress.Outcome, error) { return c.merge(configured.root, *components, src) })
	if err != nil {
		return Result{}, err
	}
	// 8. The files that start it.
	bootable, err := stageValue(c, "boot files", func() (tree.Tree, progress.Outcome, error) { return c.bootFiles(ctx, base, root, *configured, src) })
	if err != nil {
		return Result{}, err
	}
	// 9. Partitions and file systems, hashed while they are written.
	disk, err := stageValue(c, "disk", func() (assembled, progress.Outcome, error) { return c.assemble(ctx, base, bootable, src) })
	if err != nil {
		return Result{}, err
	}
	defer disk.digest.Stop()
	base.close()
	// 10. The linter reads it, while it is hashed to its end.
	var reading errgroup.Group
	linted := stageBeside(ctx, &reading, c, "lint", func() (lint.Report, progress.Outcome, error) { return c.lint(ctx, disk) })
	// 11. What leaves: manifest and sums beside the image.
	manifest, err := stageValue(c, "artifacts", func() (artifact.Manifest, progress.Outcome, error) { return c.artifacts(ctx, disk, src) })
	if err := errors.Join(err, reading.Wait()); err != nil {
		return Result{}, err
	}
	return c.result(ctx, disk, ran, manifest, *linted)
}

func (c Config) checkLock() error {
	now, err := profile.Digest(c.Profile)
	if err != nil {
		return err
	}
	if c.Lock.Arch != c.Profile.Profile.Arch {
		return fmt.Errorf("checking lock of %s: it is for %s and the profile for %s", c.Lock.Profile, c.Lock.Arch, c.Profile.Profile.Arch)
	}
	return c.Lock.CheckProfile(now)
}

// imagePath is where the raw image goes.
func (c Config) imagePath() string { return filepath.Join(c.Out, c.Profile.Profile.Name+".img") }

// stage reports a step that only has an outcome.
func stage(c Config, name string, run func() (progress.Outcome, error)) error {
	_, err := stageValue(c, name, func() (struct{}, progress.Outcome, error) {
		o, err := run()
		return struct{}{}, o, err
	})
	return err
}

// stageValue reports a step and passes its value on.
func stageValue[T any](c Config, name string, run func() (T, progress.Outcome, error)) (T, error) {
	done := c.Report.Stage(name)
	value, outcome, err := run()
	outcome.Err = err
	done(outcome)
	return value, err
}

// stageBeside begins a step in g beside others; its value is there when g has been waited for. One that fails when its context
// has ended was stopped, whatever it says.
func stageBeside[T any](ctx context.Context, g *errgroup.Group, c Config, name string, run func() (T, progress.Outcome, error)) *T {
	done, value := c.Report.Stage(name), new(T)
	g.Go(func() (err error) {
		var outcome progress.Outcome
		*value, outcome, err = run()
		if outcome.Err = err; err != nil && ctx.Err() != nil {
			outcome.Err = ctx.Err()
		}
		done(outcome)
		return err
	})
	return value
}

// stageIf is a step that not every image has.
func stageIf[T any](needed bool, c Config, name string, run func() (T, progress.Outcome, error)) (value T, err error) {
	if !needed {
		return value, nil
	}
	return stageValue(c, name, run)
}
