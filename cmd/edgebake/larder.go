package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/bundle"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/component"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
)

// ingredients are the flags that say which inputs are meant and where they come from.
type ingredients struct {
	set    setFlag
	lock   string
	vendor string
}

func (o *ingredients) add(cmd *cobra.Command) {
	o.set.add(cmd)
	cmd.Flags().StringVar(&o.lock, "lock", "", "lock file (default: beside the profile, or that of --vendor)")
	cmd.Flags().StringVar(&o.vendor, "vendor", "", "take inputs from this directory or archive, which edgebake vendor made")
}

// larder is a profile with its lock, and a store that gets the inputs.
type larder struct {
	profile profile.Loaded
	lock    lock.Lock
	store   *cas.Store
	client  *fetch.Client
	offline bool
	// bundle is nil without --vendor.
	bundle *bundle.Bundle
}

// openLarder finds everything; it downloads nothing. The caller closes it.
func (env *environment) openLarder(ctx context.Context, o ingredients, name string, jobs int) (larder, error) {
	l := larder{offline: env.settings.offline}
	err := func() (err error) {
		if l.profile, err = o.set.load(ctx, name); err != nil {
			return env.faults(err)
		}
		if err := concrete(l.profile); err != nil {
			return err
		}
		if l.lock, err = l.findLock(&o, name); err != nil {
			return err
		}
		now, err := profile.Digest(l.profile)
		if err != nil {
			return err
		}
		if err := l.lock.CheckProfile(now); err != nil {
			return err
		}
		if l.store, err = env.openStore(); err != nil {
			return err
		}
		l.client, err = env.newClient(l.store, jobs)
		return err
	}()
	if err != nil {
		l.close()
	}
	return l, err
}

// concrete refuses a profile that is only meant to be extended.
func concrete(l profile.Loaded) error {
	if l.Profile.Abstract {
		return usagef("reading profile %s: it is abstract, a part for others: write a profile that extends it, or take another one (edgebake profiles)", l.Profile.Name)
	}
	return nil
}

func (l *larder) findLock(o *ingredients, name string) (pinned lock.Lock, err error) {
	if o.vendor != "" {
		if l.bundle, err = bundle.Open(o.vendor); err != nil {
			return lock.Lock{}, err
		}
	}
	if o.lock != "" || l.bundle == nil {
		return findLock(l.profile, name, o.lock)
	}
	path, text, err := l.bundle.Lock()
	if err != nil {
		return lock.Lock{}, err
	}
	return parseLock(path, text)
}

func (l *larder) close() {
	if l.bundle != nil {
		_ = l.bundle.Close() // opened for reading only
	}
}

func (l *larder) kit() component.Kit {
	return component.Kit{Store: l.store, Client: l.client, Profile: l.profile, Go: component.Go{Offline: l.offline}}
}

// unpackBundle brings what --vendor has into the store and into Go's module cache.
func (l *larder) unpackBundle(ctx context.Context, report progress.Reporter) error {
	if l.bundle == nil {
		return nil
	}
	n, err := l.bundle.Import(ctx, l.store, l.lock.Requests(), report)
	if err != nil {
		return err
	}
	report.Note("%d inputs were taken from the vendored ones", n)
	if !l.bundle.HasGo() {
		return nil
	}
	work, release, err := l.store.TempDir("bundle")
	if err != nil {
		return err
	}
	defer release()
	if err := l.bundle.ExtractGo(ctx, work); err != nil {
		return err
	}
	err = l.kit().ImportModules(ctx, l.lock, work, filepath.Join(work, "gopath"))
	var noGo *component.MissingGoError
	if errors.As(err, &noGo) {
		return nil // what was built before needs no go; otherwise the build says that it is missing
	}
	return err
}

// fetch brings every input into the store.
func (l *larder) fetch(ctx context.Context, report progress.Reporter) (requests []fetch.Request, err error) {
	if err := l.unpackBundle(ctx, report); err != nil {
		return nil, err
	}
	if err := l.kit().Fetch(ctx, l.lock.Components); err != nil {
		return nil, err
	}
	requests = l.lock.Requests()
	return requests, l.client.All(ctx, requests)
}
