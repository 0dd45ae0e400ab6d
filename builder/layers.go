package builder

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/durable"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lint"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/system"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/overlays"
)

// assembled is the disk that was written.
type assembled struct {
	path   string
	plan   disk.Plan
	digest *artifact.Following // of the image; it may still be reading
}

// merge lays components and overlays over the configured packages and applies the settings.
func (c Config) merge(root tree.Tree, components []tree.Layer, src *tree.Reader) (tree.Tree, progress.Outcome, error) {
	layers := append([]tree.Layer{{Name: "packages", Tree: root}}, components...)
	overlays, err := c.overlays()
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, err
	}
	merged, err := tree.Merge(append(layers, overlays...)...)
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, err
	}
	out, err := system.Settings(merged, src, c.Profile.Profile, c.Lock.Epoch)
	if err == nil {
		err = fits(out, "the image")
	}
	return out, progress.Outcome{Note: fmt.Sprintf("%d files", out.Len())}, err
}

// bootFiles adds the initrd and what the loader needs. What the packages' own hooks wrote to the
// boot partition is replaced: they run where no board is.
func (c Config) bootFiles(ctx context.Context, b *base, root tree.Tree, conf configured, src *tree.Reader) (tree.Tree, progress.Outcome, error) {
	p := c.Profile.Profile
	if b != nil {
		return c.editBoot(b, root, src)
	}
	if p.Boot.Loader == "none" {
		return root, progress.Outcome{Note: "no loader"}, nil
	}
	from, err := payload(p.Arch, src, conf.tools, root)
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, err
	}
	initrd, err := c.initrd(ctx, root, from)
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, fmt.Errorf("making the initrd: %w", err)
	}
	epoch := tree.Time{Sec: c.Lock.Epoch}
	cfg := boot.Config{Cmdline: p.Boot.Cmdline, RootLabel: rootLabel(p.Disk), ConfigTxt: p.Boot.ConfigTxt, Initrd: initrd, Time: epoch}
	mount, err := bootMount(p)
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, err
	}
	files, over, err := loaderFiles(root, src, p.Boot.Loader, cfg)
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, err
	}
	out, err := graft(root, files, over, mount, epoch)
	return out, progress.Outcome{Note: fmt.Sprintf("initrd %d KiB", len(initrd)/1024)}, err
}

func loaderFiles(root tree.Tree, src *tree.Reader, loader string, cfg boot.Config) (tree.Tree, []tree.Entry, error) {
	if loader == "raspberrypi" {
		files, err := boot.RaspberryPi(root, src, cfg)
		return files, nil, err
	}
	return boot.GrubEFI(root, src, cfg)
}

// overlays turns the profile's overlays into layers.
func (c Config) overlays() ([]tree.Layer, error) {
	var layers []tree.Layer
	epoch := tree.Time{Sec: c.Lock.Epoch}
	for _, o := range c.Profile.Overlays {
		b := tree.NewBuilder(epoch)
		for _, f := range o.Files {
			if e := overlayEntry(f, epoch); f.Default {
				b.AddDefault(e)
			} else {
				b.Add(e)
			}
		}
		layer, err := b.Layer("overlay " + o.Name)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

func overlayEntry(f overlays.File, epoch tree.Time) tree.Entry {
	e := tree.Entry{Path: strings.TrimPrefix(f.Path, "/"), Type: tree.File, Mode: f.Mode, UID: uint32(f.UID), GID: uint32(f.GID), MTime: epoch}
	switch {
	case f.Dir:
		e.Type = tree.Dir
	case f.Target != "":
		e.Type, e.Link = tree.Symlink, f.Target
	default:
		e.Content = tree.InlineContent(f.Content)
	}
	return e
}

func rootLabel(d profile.Disk) string {
	for _, part := range d.Partitions {
		if part.Mount == "/" {
			return part.Label
		}
	}
	return ""
}

// bootMount is where the file system that the firmware reads is mounted.
func bootMount(p profile.Profile) (string, error) {
	for _, part := range p.Disk.Partitions {
		if part.FS == "vfat" && len(part.Mount) > 1 {
			return part.Mount[1:], nil
		}
	}
	return "", fmt.Errorf("making boot files: loader %s needs a vfat partition with a mount point", p.Boot.Loader)
}

// graft puts files in place of what root has at mount, and lays over over it.
func graft(root, files tree.Tree, over []tree.Entry, mount string, epoch tree.Time) (tree.Tree, error) {
	added := files.Entries()
	for i, e := range added {
		added[i].Path = path.Join(mount, e.Path)
	}
	below, err := tree.With(tree.Without(root, mount), epoch, added...)
	if err != nil || len(over) == 0 {
		return below, err
	}
	top := tree.NewBuilder(epoch)
	for _, e := range over {
		top.Add(e)
	}
	layer, err := top.Layer("boot files")
	if err != nil {
		return tree.Tree{}, err
	}
	return tree.Merge(tree.Layer{Name: "root", Tree: below}, layer)
}

func (c Config) assemble(ctx context.Context, b *base, root tree.Tree, src *tree.Reader) (assembled, progress.Outcome, error) {
	id, err := c.Lock.Digest()
	if err != nil {
		return assembled{}, progress.Outcome{}, err
	}
	var seed [32]byte
	if _, err := hex.Decode(seed[:], []byte(id)); err != nil {
		return assembled{}, progress.Outcome{}, err
	}
	plan, err := c.plan(ctx, b, root, seed)
	if err != nil {
		return assembled{}, progress.Outcome{}, b.room(err)
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return assembled{}, progress.Outcome{}, err
	}
	out := assembled{path: c.imagePath(), plan: plan, digest: artifact.Follow(ctx, c.imagePath(), plan.Size, c.Report)}
	plan.Settled = out.digest.Settled
	if err = disk.Assemble(ctx, out.path, plan, src, c.Report); err != nil {
		out.digest.Stop()
	}
	return out, progress.Outcome{Note: fmt.Sprintf("%d MiB", plan.Size/mebibyte)}, b.room(err)
}

// lint examines the image.
func (c Config) lint(ctx context.Context, d assembled) (lint.Report, progress.Outcome, error) {
	img, err := image.Open(d.path)
	if err != nil {
		return lint.Report{}, progress.Outcome{}, err
	}
	defer img.Close()
	report, err := lint.Run(ctx, img, lint.Options{Arch: c.Profile.Profile.Arch})
	return report, progress.Outcome{Note: fmt.Sprintf("%d findings", len(report.Findings))}, err
}

func (c Config) artifacts(ctx context.Context, d assembled, src *tree.Reader) (artifact.Manifest, progress.Outcome, error) {
	id, err := c.Lock.Digest()
	if err != nil {
		return artifact.Manifest{}, progress.Outcome{}, err
	}
	kin, err := c.ConfiguredKey()
	if err != nil {
		return artifact.Manifest{}, progress.Outcome{}, err
	}
	m, err := artifact.Write(ctx, artifact.Set{
		Dir: c.Out, Artifacts: []string{filepath.Base(d.path)}, Following: []*artifact.Following{d.digest}, Plan: d.plan,
		Lock: c.Lock, LockDigest: id, Checks: c.Profile.Profile.Checks, Reader: src, Store: c.Store, Kin: kin, Report: c.Report,
	})
	return m, progress.Outcome{}, err
}

func (c Config) result(ctx context.Context, d assembled, conf ran, m artifact.Manifest, found lint.Report) (Result, error) {
	id, err := c.Lock.Digest()
	if err != nil {
		return Result{}, err
	}
	console, err := c.writeConsole(conf.console)
	if err != nil {
		return Result{}, err
	}
	return Result{Image: d.path, Digest: m.Artifacts[0].SHA256, Manifest: filepath.Join(c.Out, artifact.ManifestName),
		Sums: filepath.Join(c.Out, artifact.SumsName), Console: console, Lock: id, Lint: found, Guest: conf.guest,
	}, artifact.UpdateSums(ctx, c.Out, filepath.Base(c.consolePath()))
}

// consolePath is where the guest's log goes.
func (c Config) consolePath() string { return c.imagePath() + ".configure.log" }

func (c Config) writeConsole(log cas.Digest) (string, error) {
	if log == "" || !c.Store.Has(log) {
		return "", nil
	}
	b, err := c.Store.ReadAll(log, maxConsole)
	if err != nil {
		return "", err
	}
	path := c.consolePath()
	return path, durable.WriteFile(path, normalLog(b))
}

// maxConsole bounds a guest's log: a full configure prints about 200 KiB.
const maxConsole = 256 << 20
