package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/tree"
)

// runScripts boots the guest on the scratch disk; the result says where its time went.
func (c Config) runScripts(ctx context.Context, dir, scratch string, p packages, src *tree.Reader, log io.Writer) (guest.Result, error) {
	all, err := tree.Merge(tree.Layer{Name: "tools", Tree: p.guest}, tree.Layer{Name: "packages", Tree: p.installation.Tree})
	if err != nil {
		return guest.Result{}, err
	}
	kernel, initrd, err := guest.Payload(ctx, initramfs.Source{Arch: c.Lock.Arch, Tree: all, Reader: src})
	if err != nil {
		return guest.Result{}, err
	}
	return guest.Configure(ctx, guest.Job{
		Arch: c.Lock.Arch, Kernel: kernel, Initrd: initrd, Scratch: scratch, Epoch: c.Lock.Epoch,
		Preinst: preinsts(p.installation.Preinsts), TempDir: dir, Report: c.Report, Log: log,
	})
}

func preinsts(list []deb.Preinst) []guest.Script {
	var out []guest.Script
	for _, p := range list {
		out = append(out, guest.Script{Package: p.Package, Arch: p.Arch, Version: p.Version,
			Path: "var/lib/dpkg/info/" + p.Qualified + ".preinst", Before: p.PreDepends})
	}
	return out
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

// normalLog makes a console log readable: serial lines end in carriage return and line feed.
func normalLog(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
