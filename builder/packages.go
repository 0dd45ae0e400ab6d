package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	configureVersion = "builder.configure/4"
	// onBaseVersion is counted apart: it is of what configures over a base image alone; upperVersion of what
	// configures an upper layer.
	onBaseVersion = 3
	upperVersion  = 1
	// scratchRoom is the free space that maintainer scripts get. The file is sparse: it costs nothing.
	scratchRoom = 2 << 30
	mebibyte    = 1 << 20
)

// packages are all packages of the lock, unpacked.
type packages struct {
	// lower and upper are the packages themselves, by the lock's layers; installation is a file system made of the
	// lower ones alone, which a base image has no use for.
	lower, upper []deb.Extracted
	installation deb.Installation
	// guest has the packages that only the guest needs.
	guest tree.Tree
	// programs run on this machine.
	programs tree.Tree
}

// configured is the root file system after the packages' scripts.
type configured struct {
	root tree.Tree
	// kernelAndTools has the kernel package's files and busybox, for the initrd.
	tools tree.Tree
	ran
}

// ran is what is left of the guest.
type ran struct {
	// console is the digest of the guest's log.
	console cas.Digest
	// guest says where the time went when the guest ran now.
	guest guest.Result
}

func (c Config) fetch(ctx context.Context) (progress.Outcome, error) {
	if err := c.kit().Fetch(ctx, c.Lock.Components); err != nil {
		return progress.Outcome{}, err
	}
	requests := c.Lock.Requests()
	err := c.Client.All(ctx, requests)
	return progress.Outcome{Note: fmt.Sprintf("%d files", len(requests))}, err
}

func (c Config) unpack(ctx context.Context, src *tree.Reader) (packages, progress.Outcome, error) {
	lower, upper := c.Lock.Layers()
	all, err := c.extract(ctx, slices.Concat(lower, upper))
	if err != nil {
		return packages{}, progress.Outcome{}, err
	}
	tools, err := c.extract(ctx, c.Lock.Guest)
	if err != nil {
		return packages{}, progress.Outcome{}, err
	}
	epoch := tree.Time{Sec: c.Lock.Epoch}
	guestTree, err := deb.Install(tools, src, c.Lock.Arch, epoch)
	if err != nil {
		return packages{}, progress.Outcome{}, err
	}
	out := packages{lower: all[:len(lower)], upper: all[len(lower):], guest: guestTree.Tree}
	if out.programs, err = c.programs(ctx, src); err != nil {
		return packages{}, progress.Outcome{}, err
	}
	if c.Lock.Base != nil { // its own dpkg unpacks them, in the guest
		return out, progress.Outcome{Note: fmt.Sprintf("%d packages", len(all))}, nil
	}
	out.installation, err = deb.Install(out.lower, src, c.Lock.Arch, epoch)
	if err == nil {
		err = fits(out.installation.Tree, "the packages' file system")
	}
	return out, progress.Outcome{Note: fmt.Sprintf("%d packages, %d files", len(all), out.installation.Tree.Len())}, err
}

func (c Config) extract(ctx context.Context, list []lock.Package) ([]deb.Extracted, error) {
	blobs := make([]cas.Digest, len(list))
	for i, p := range list {
		blobs[i] = p.SHA256
	}
	task := c.Report.Task("unpacking", int64(len(blobs)), progress.Items)
	out, err := deb.ExtractAll(ctx, c.Store, blobs, c.Jobs, func() { task.Add(1) })
	task.Done(err)
	return out, err
}

// configure runs the packages' scripts, once for each set of packages. An upper layer is installed in the lower one,
// as it is configured and kept.
func (c Config) configure(ctx context.Context, b *base, p packages, src *tree.Reader) (configured, progress.Outcome, error) {
	key, err := c.ConfiguredKey()
	if err != nil {
		return configured{}, progress.Outcome{}, err
	}
	lowerKey, err := c.lowerKey()
	if err != nil {
		return configured{}, progress.Outcome{}, err
	}
	if root, ok := tree.Saved(c.Store, key); ok {
		c.use(lowerKey)
		return configured{root: root, tools: p.guest, ran: c.savedRun(key)}, progress.Outcome{Cached: true}, nil
	}
	out, outcome, err := c.configureLayer(ctx, lowerKey, p, src, func() (work, bool, error) { return c.work(b, p, src) })
	if err != nil || len(p.upper) == 0 {
		return out, outcome, err
	}
	if outcome.Cached {
		c.Report.Detail("the parents' packages are in the store, configured")
	}
	upper, outcome, err := c.configureLayer(ctx, key, p, src, func() (work, bool, error) { return c.workOnLower(out, p, src) })
	if err != nil {
		return configured{}, progress.Outcome{}, err
	}
	upper.guest = out.guest.Then(upper.guest)
	return upper, outcome, nil
}

// use tells gc that the tree under key is of use, as the one on which the next changed package will be installed. What its
// files hold is of use to the tree above.
func (c Config) use(key cas.Digest) {
	value, ok, err := c.Store.Result(key)
	if err != nil || !ok {
		return
	}
	if b, err := c.Store.Open(cas.Digest(value)); err == nil {
		_ = b.Close() // opening it was the use
	}
}

// configureLayer returns what is saved under key, or does the work and saves it.
func (c Config) configureLayer(ctx context.Context, key cas.Digest, p packages, src *tree.Reader, find func() (work, bool, error)) (configured, progress.Outcome, error) {
	unlock, err := c.Store.Lock(ctx, "configure-"+string(key)) // another process may be at it
	if err != nil {
		return configured{}, progress.Outcome{}, err
	}
	defer unlock()
	out := configured{tools: p.guest}
	w, needed, err := find()
	if err != nil || !needed {
		out.root = w.before
		return out, progress.Outcome{Note: "nothing to install", Cached: true}, err
	}
	if root, ok := tree.Saved(c.Store, key); ok {
		out.root, out.ran = root, c.savedRun(key)
		return out, progress.Outcome{Cached: true}, nil
	}
	out.console, out.guest, err = c.runGuest(ctx, w, src, func(scratch string, k *companion) (err error) {
		out.root, err = c.readScratch(ctx, scratch, w, k, src)
		return err
	})
	if err != nil {
		return configured{}, progress.Outcome{}, err
	}
	// The log first: a tree without one would never get it, because the guest does not run again.
	if err := c.Store.SaveResult(consoleKey(key), []byte(out.console)); err != nil {
		return configured{}, progress.Outcome{}, err
	}
	return out, progress.Outcome{Note: c.reportTimes(out.guest)}, tree.Save(c.Store, key, out.root)
}

// savedRun has the log of an earlier run, if it was kept.
func (c Config) savedRun(key cas.Digest) ran {
	log, ok, err := c.Store.Result(consoleKey(key))
	if err != nil || !ok {
		return ran{}
	}
	return ran{console: cas.Digest(log)}
}

// ConfiguredTree returns the packages' files as their scripts left them, without components,
// overlays and settings, when the store has them: then a bake runs no guest. Only Lock and Store of
// c are used.
func (c Config) ConfiguredTree() (tree.Tree, bool) {
	key, err := c.ConfiguredKey()
	if err != nil {
		return tree.Tree{}, false
	}
	return tree.Saved(c.Store, key)
}

// ConfiguredKey is the key of the result that ConfiguredTree returns. Only Lock of c is used.
func (c Config) ConfiguredKey() (cas.Digest, error) {
	key, err := c.lowerKey()
	_, upper := c.Lock.Layers()
	if err != nil || len(upper) == 0 {
		return key, err
	}
	b, err := json.Marshal([]any{key, upperVersion, pins(upper)})
	return cas.Of(b), err
}

// lowerKey is the key of the lower layer. It knows nothing of the profile: a lock of the profile's parent has the same.
func (c Config) lowerKey() (cas.Digest, error) {
	lower, _ := c.Lock.Layers()
	parts := []any{configureVersion, guest.Version, c.Lock.Arch, c.Lock.Epoch, pins(slices.Concat(lower, c.Lock.Guest))}
	if c.Lock.Base != nil {
		parts = append(parts, c.Lock.Base.Raw, onBaseVersion)
	}
	if c.Plain {
		parts = append(parts, "plain")
	}
	b, err := json.Marshal(parts)
	return cas.Of(b), err
}

// packagePin is what a key knows of a package.
type packagePin struct {
	Name, Version, Arch string
	SHA256              cas.Digest
}

func pins(list []lock.Package) []packagePin {
	var out []packagePin
	for _, p := range list {
		out = append(out, packagePin{p.Name, p.Version, p.Arch, p.SHA256})
	}
	return out
}

func consoleKey(key cas.Digest) cas.Digest { return cas.Of([]byte("console\n" + string(key))) }

// runGuest writes the file system to a scratch disk, lets the guest work in it, and hands the disk to read. When this machine
// can't do the part that it began, the guest does all.
func (c Config) runGuest(ctx context.Context, w work, src *tree.Reader, read func(scratch string, k *companion) error) (console cas.Digest, result guest.Result, err error) {
	console, result, err = c.runBoth(ctx, w, src, read)
	if !failedBeside(err) || ctx.Err() != nil {
		return console, result, err
	}
	c.Report.Detail("the guest does all, once more from the beginning: %v", err)
	w.programs = tree.Tree{}
	return c.runBoth(ctx, w, src, read)
}

func (c Config) runBoth(ctx context.Context, w work, src *tree.Reader, read func(scratch string, k *companion) error) (console cas.Digest, result guest.Result, err error) {
	dir, release, err := c.Store.TempDir("guest")
	if err != nil {
		return "", guest.Result{}, err
	}
	defer release()
	w, k, err := c.companion(ctx, dir, w, src)
	if err != nil {
		return "", guest.Result{}, err
	}
	defer k.close()
	scratch := filepath.Join(dir, "scratch.img")
	if err := c.writeScratch(ctx, scratch, w.onDisk(), src); err != nil {
		return "", guest.Result{}, fmt.Errorf("writing the guest's scratch disk: %w", err)
	}
	log, err := c.Store.Create()
	if err != nil {
		return "", guest.Result{}, err
	}
	defer log.Abort() // does nothing after Commit
	if err := c.copyLog(log, w.log); err != nil {
		return "", guest.Result{}, err
	}
	before := log.Size()
	err = k.beside(ctx, func(ctx context.Context) (err error) {
		result, err = c.runScripts(ctx, dir, scratch, w, log)
		return err
	})
	if failedBeside(err) || err != nil && log.Size() == before { // the guest never started
		return "", guest.Result{}, err
	}
	if err != nil {
		return "", guest.Result{}, c.keepLog(log, err)
	}
	if console, err = log.Commit(); err != nil {
		return "", guest.Result{}, err
	}
	return console, result, read(scratch, k)
}

func (c Config) writeScratch(ctx context.Context, path string, t tree.Tree, src *tree.Reader) error {
	o := ext4.Options{Label: "scratch", Time: tree.Time{Sec: c.Lock.Epoch}}
	need, err := ext4.MinSize(t, o)
	if err != nil {
		return err
	}
	o.Size = (need + scratchRoom) / mebibyte * mebibyte
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(o.Size); err != nil {
		return err
	}
	if err := ext4.Write(ctx, f, t, src, o); err != nil {
		return err
	}
	return f.Close()
}

// readScratch reads the configured file system and moves what the scripts changed into the store.
func (c Config) readScratch(ctx context.Context, path string, w work, k *companion, src *tree.Reader) (tree.Tree, error) {
	after, scratch, done, err := openScratch(ctx, path, src)
	if err != nil {
		return tree.Tree{}, err
	}
	defer done()
	if after, err = k.add(ctx, after, src); err != nil {
		return tree.Tree{}, err
	}
	if after, err = w.normalise(ctx, after); err != nil {
		return tree.Tree{}, err
	}
	layers, err := tree.Diff(ctx, src, w.before, after)
	if err != nil {
		return tree.Tree{}, fmt.Errorf("comparing the guest's scratch disk with what went in: %w", err)
	}
	all := []tree.Layer{{Name: "packages", Tree: w.before}}
	for _, l := range layers {
		for _, from := range append([]cas.Digest{scratch}, k.blobs()...) {
			if l.Tree, err = c.pack(ctx, l.Tree, from, src); err != nil {
				return tree.Tree{}, err
			}
		}
		all = append(all, l)
	}
	return tree.Merge(all...)
}

// openScratch returns what is on the disk, whose bytes src finds under the name scratch until done is called.
func openScratch(ctx context.Context, path string, src *tree.Reader) (t tree.Tree, scratch cas.Digest, done func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return tree.Tree{}, "", nil, err
	}
	scratch = cas.Of([]byte(path)) // a name for the Reader only: nothing in the store refers to it
	src.Add(scratch, f)
	t, err = readExt4(ctx, f, scratch)
	if err != nil {
		return tree.Tree{}, "", nil, errors.Join(fmt.Errorf("reading the guest's scratch disk: %w", err), f.Close())
	}
	return t, scratch, func() { _ = f.Close() }, nil // it was only read
}

func readExt4(ctx context.Context, f *os.File, blob cas.Digest) (tree.Tree, error) {
	info, err := f.Stat()
	if err != nil {
		return tree.Tree{}, err
	}
	fs, err := ext4.Open(f, info.Size())
	if err != nil {
		return tree.Tree{}, err
	}
	return fs.Tree(ctx, blob, 0)
}
