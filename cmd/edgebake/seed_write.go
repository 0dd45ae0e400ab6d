package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/cloudinit/token"
)

// seedTarget is a node and the directory of its seed.
type seedTarget struct {
	node cloudinit.Node
	dir  string
}

// writeSeeds renders every node into a directory of its own, and moves all of them to their places when every one is
// there. What could keep one from being written is looked for first.
func writeSeeds(ctx context.Context, env *environment, o seedOptions, nodes []cloudinit.Node, tok token.Token) (err error) {
	targets, err := o.targets(nodes)
	if err != nil {
		return err
	}
	s := staging{kind: cloudinit.Kind(o.kind)}
	if !o.dryRun {
		if err := mayWriteSeeds(targets, o.force); err != nil {
			return err
		}
		if err := s.open(filepath.Dir(targets[0].dir)); err != nil {
			return fmt.Errorf("preparing to write seeds: %w", err)
		}
		defer func() { err = errors.Join(err, s.close()) }()
	}
	report := seedReport{Token: infoOf(tok), DryRun: o.dryRun}
	if report.Seeds, err = s.make(ctx, targets); err != nil {
		return err
	}
	for _, t := range targets {
		if o.dryRun {
			break
		}
		if err := replaceDir(filepath.Join(s.dir, t.node.Name), t.dir); err != nil {
			return fmt.Errorf("writing the seed of %s: %w", t.node.Name, err)
		}
	}
	return o.printSeeds(env, report, tok)
}

func (o seedOptions) targets(nodes []cloudinit.Node) ([]seedTarget, error) {
	if o.out == "" { // a dry run
		o.out = "."
	}
	out, err := filepath.Abs(o.out)
	if err != nil {
		return nil, fmt.Errorf("naming the directory of the seeds: %w", err)
	}
	targets := make([]seedTarget, len(nodes))
	for i, n := range nodes {
		targets[i] = seedTarget{n, out}
		if o.inventory != "" {
			targets[i].dir = filepath.Join(out, n.Name)
		}
	}
	return targets, nil
}

// seedNames are the files that seeds have. A directory with any other is not replaced.
func seedNames() []string {
	return []string{"user-data", "meta-data", "network-config", "vendor-data", cloudinit.TokenFile, "cidata.iso", "config-2.iso"}
}

// mayWriteSeeds refuses to write over what is there.
func mayWriteSeeds(targets []seedTarget, force bool) error {
	for _, t := range targets {
		info, err := os.Lstat(t.dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for earlier seeds: %w", err)
		}
		if !info.IsDir() {
			return &refusedError{fmt.Sprintf("preparing to write the seed of %s: %s is a %s and not a directory", t.node.Name, t.dir, kindOf(info.Mode())), otherOutput}
		}
		if err := t.mayReplace(force); err != nil {
			return err
		}
	}
	return nil
}

func (t seedTarget) mayReplace(force bool) error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("looking for earlier seeds: %w", err)
	}
	for _, e := range entries {
		if !slices.Contains(seedNames(), e.Name()) || !e.Type().IsRegular() {
			return &refusedError{fmt.Sprintf("preparing to write the seed of %s: in %s is %s, which no seed has", t.node.Name, t.dir, e.Name()), otherOutput}
		}
	}
	if len(entries) > 0 && !force {
		return &refusedError{fmt.Sprintf("preparing to write the seed of %s: %s has one already", t.node.Name, t.dir), otherOutput + ", or replace the seeds with --force"}
	}
	return nil
}

// staging is the directory in which seeds are made, beside their places. It is the owner's alone, as every file in
// it is: secrets are in several of them.
type staging struct {
	kind cloudinit.Kind
	dir  string // "" is a dry run
	lock *os.File
	made string // the first directory that had to be made for it
}

func (s *staging) open(parent string) error {
	for dir := parent; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		s.made = dir
	}
	err := os.MkdirAll(parent, 0o700)
	if err == nil {
		s.dir, s.lock, err = newStaging(parent)
	}
	return err
}

// close removes what is left: earlier seeds, or those that did not come to their places.
func (s *staging) close() error {
	err := os.RemoveAll(s.dir)
	_ = s.lock.Close() // only read; nil without locks
	if s.made != "" {
		_ = removeEmpty(filepath.Dir(s.dir), s.made) // with seeds in it, it stays
	}
	return err
}

// removeEmpty removes a directory and those above it up to top, as far as they are empty.
func removeEmpty(dir, top string) error {
	for ; len(dir) >= len(top); dir = filepath.Dir(dir) {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}

// maxSeedFaults bounds what is listed: a kind that cannot say something says so of every node.
const maxSeedFaults = 20

// make makes the seeds of all targets. All faults come at once.
func (s *staging) make(ctx context.Context, targets []seedTarget) ([]seeded, error) {
	seeds, faults := make([]seeded, len(targets)), make([]error, len(targets))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for i, t := range targets {
		g.Go(func() error {
			if faults[i] = ctx.Err(); faults[i] == nil {
				seeds[i], faults[i] = s.one(t)
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	if more := len(faults) - maxSeedFaults; more > 0 {
		faults = append(faults[:maxSeedFaults], fmt.Errorf("and %d more", more))
	}
	return seeds, errors.Join(faults...)
}

func (s *staging) one(t seedTarget) (seeded, error) {
	out := seeded{Node: t.node.Name, Kind: string(s.kind), InstanceID: t.node.InstanceID()}
	files, err := cloudinit.Render(t.node, s.kind)
	if err != nil {
		return out, usagef("making the seed of %s: %w", t.node.Name, err)
	}
	for _, f := range files {
		out.Files = append(out.Files, f.Name)
	}
	if s.dir == "" {
		return out, nil
	}
	out.Path = t.dir
	if err := s.write(filepath.Join(s.dir, t.node.Name), files); err != nil {
		return out, fmt.Errorf("writing the seed of %s: %w", t.node.Name, err)
	}
	return out, nil
}

func (s *staging) write(dir string, files []cloudinit.File) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// replaceDir moves a directory to a place where nothing, an empty directory or an earlier seed is; the earlier one is
// then at the old place. os.Rename refuses empty directories.
func replaceDir(from, to string) error {
	err := unix.Rename(from, to)
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return renameError(err, to)
	}
	err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return renameError(err, to)
	}
	// A file system without exchange: for a moment there is no seed.
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return renameError(unix.Rename(from, to), to)
}

func renameError(err error, path string) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: "rename", Path: path, Err: err}
}

func (o seedOptions) printSeeds(env *environment, r seedReport, tok token.Token) error {
	if env.settings.json {
		return env.printJSON(r)
	}
	verb := "wrote"
	if o.dryRun {
		verb = "would write"
	}
	if len(r.Seeds) == 1 {
		s := r.Seeds[0]
		fmt.Fprintf(env.stdout, "%s the seed of %s (%s, %s)%s%s\n", verb, s.Node, s.Kind, s.InstanceID, into(s.Path), tokenLine(tok))
		return nil
	}
	for _, s := range r.Seeds {
		env.reporter.Detail("%s: %s", s.Node, s.InstanceID)
	}
	fmt.Fprintf(env.stdout, "%s %d seeds (%s)%s%s\n", verb, len(r.Seeds), o.kind, into(o.out), tokenLine(tok))
	return nil
}

func into(path string) string {
	if path == "" {
		return ""
	}
	return " into " + path
}
