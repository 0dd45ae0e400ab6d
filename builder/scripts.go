package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/system"
	"github.com/edgebake/edgebake/builder/tree"
)

// work is what the guest has to do.
type work struct {
	// before is the file system at first.
	before tree.Tree
	// short is what the scratch disk holds of it, with fewer scripts; nil is all of it.
	short *shortened
	// programs do a part of it on this machine; none when it is empty.
	programs tree.Tree
	// payload is where the guest's kernel and busybox come from.
	payload initramfs.Source
	// job says what to run, without the kernel and the disks.
	job guest.Job
	// debs are packages that the system's own dpkg installs.
	debs []deb.Extracted
	// log is what the guest printed that made before; it comes first in the log of this one. Empty when none is kept.
	log cas.Digest
	// normalise takes out of the file system what must not differ or leak.
	normalise func(ctx context.Context, after tree.Tree) (tree.Tree, error)
}

func (w work) onDisk() tree.Tree {
	if w.short != nil {
		return w.short.disk
	}
	return w.before
}

// work describes the guest's job; needed is false when there is nothing to do.
func (c Config) work(b *base, p packages, src *tree.Reader) (w work, needed bool, err error) {
	if b != nil {
		return c.workOnBase(b, p, src)
	}
	w.before = p.installation.Tree
	w.payload, err = payload(c.Lock.Arch, src, p.guest, w.before)
	if err != nil {
		return w, true, err
	}
	var short shortened
	if !c.Plain {
		if short, err = shorten(w.before, src); err != nil {
			return w, true, err
		}
		w.short, w.programs = &short, p.programs
	}
	w.job.Preinst, w.job.Compile = short.preinsts(p.installation.Preinsts), callLines(short.compile)
	w.normalise = func(ctx context.Context, after tree.Tree) (tree.Tree, error) {
		after, err := short.restore(after)
		if err != nil {
			return tree.Tree{}, err
		}
		return system.Normalise(ctx, w.before, after, src, c.Lock.Epoch)
	}
	return w, true, err
}

// workOnLower lets the dpkg of the lower layer, which is configured, install the upper one.
func (c Config) workOnLower(below configured, p packages, src *tree.Reader) (w work, needed bool, err error) {
	lower := below.root
	w.before, w.debs, w.log = lower, p.upper, below.console
	if c.Lock.Base != nil {
		w.payload, err = kernelSource(c.Lock.Arch, src, p.guest, lower)
	} else {
		w.payload, err = payload(c.Lock.Arch, src, p.guest, lower)
	}
	w.normalise = func(ctx context.Context, after tree.Tree) (tree.Tree, error) {
		return system.NormaliseChanges(ctx, lower, after, c.Lock.Epoch)
	}
	return w, true, err
}

// payload is where the kernel in root and the tools' busybox are. Only that one file is laid over root: the tools have
// a merged /usr, which need not fit over a root that has none, and a busybox of the root's own may not be static.
func payload(arch string, src *tree.Reader, tools, root tree.Tree) (initramfs.Source, error) {
	busybox, err := initramfs.Busybox(tools)
	if err != nil {
		return initramfs.Source{}, err
	}
	b := tree.NewBuilder(busybox.MTime)
	b.Add(busybox)
	layer, err := b.Layer("tools")
	if err != nil {
		return initramfs.Source{}, err
	}
	all, err := tree.Merge(tree.Layer{Name: "root", Tree: root}, layer)
	return initramfs.Source{Arch: arch, Tree: all, Reader: src}, err
}

// runScripts boots the guest on the scratch disk; the result says where its time went.
func (c Config) runScripts(ctx context.Context, dir, scratch string, w work, log io.Writer) (guest.Result, error) {
	kernel, initrd, err := guest.Payload(ctx, w.payload)
	if err != nil {
		return guest.Result{}, err
	}
	job := w.job
	job.Arch, job.Kernel, job.Initrd, job.Scratch, job.Epoch = c.Lock.Arch, kernel, initrd, scratch, c.Lock.Epoch
	job.TempDir, job.Report, job.Log, job.Plain = dir, c.Report, log, c.Plain
	if len(w.debs) > 0 {
		job.DebsDisk = filepath.Join(dir, "debs.img")
		if job.Debs, err = guest.WriteDebs(ctx, job.DebsDisk, c.Store, w.debs, c.Lock.Epoch); err != nil {
			return guest.Result{}, err
		}
	}
	return guest.Configure(ctx, job)
}

// slowest is how many packages the report names.
const slowest = 10

// reportTimes returns a note, and tells the slowest scripts who wants details.
func (c Config) reportTimes(r guest.Result) string {
	times := slices.Clone(r.Packages)
	slices.SortStableFunc(times, func(a, b guest.PackageTime) int { return int(b.Duration - a.Duration) })
	for _, t := range times[:min(slowest, len(times))] {
		c.Report.Detail("%s of %s took %s", t.Script, t.Package, t.Duration.Round(100*time.Millisecond))
	}
	return fmt.Sprintf("guest ran %s, boot %s of it", r.Total.Round(time.Second), r.Boot.Round(time.Second))
}

// keepLog saves what the guest printed before it failed, and says where.
func (c Config) keepLog(log *cas.Writer, cause error) error {
	blob, err := log.Commit()
	if err != nil {
		return errors.Join(cause, err)
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return errors.Join(cause, err)
	}
	path, err := c.writeConsole(blob)
	if err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w (the guest's whole log is %s)", cause, path)
}

// copyLog writes an earlier log, if it is still there.
func (c Config) copyLog(to io.Writer, earlier cas.Digest) error {
	if earlier == "" || !c.Store.Has(earlier) {
		return nil
	}
	b, err := c.Store.ReadAll(earlier, maxConsole)
	if err != nil {
		return err
	}
	_, err = to.Write(b)
	return err
}

// normalLog makes a console log readable: serial lines end in carriage return and line feed.
func normalLog(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
