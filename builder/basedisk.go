package builder

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// editBoot adds the profile's parameters to the boot configuration that the base image has.
func (c Config) editBoot(b *base, root tree.Tree, src *tree.Reader) (tree.Tree, progress.Outcome, error) {
	p := c.Profile.Profile.Boot
	edit := boot.Edit{Cmdline: p.Cmdline, ConfigTxt: p.ConfigTxt, Time: tree.Time{Sec: c.Lock.Epoch}}
	var changed []tree.Entry
	var err error
	switch p.Loader {
	case "raspberrypi":
		changed, err = b.editFAT(root, src, edit)
	case "grub":
		changed, err = boot.EditGrub(root, src, edit)
	}
	var missing *boot.MissingFileError
	if errors.As(err, &missing) {
		err = &BaseError{profile.FileName(c.Lock.Base.URLs[0]), err}
	}
	if err != nil || len(changed) == 0 {
		return root, progress.Outcome{Note: "nothing to add"}, err
	}
	top := tree.NewBuilder(edit.Time)
	for _, e := range changed {
		top.Add(e)
	}
	layer, err := top.Layer("boot files")
	if err != nil {
		return tree.Tree{}, progress.Outcome{}, err
	}
	out, err := tree.Merge(tree.Layer{Name: "root", Tree: root}, layer)
	return out, progress.Outcome{Note: fmt.Sprintf("%d files changed", len(changed))}, err
}

// editFAT edits the file system that the Raspberry Pi's firmware reads.
func (b *base) editFAT(root tree.Tree, src *tree.Reader, edit boot.Edit) ([]tree.Entry, error) {
	for _, m := range b.root.Mounts {
		fat := tree.Sub(root, m.Dir)
		if _, ok := fat.Lookup("config.txt"); !ok {
			continue
		}
		changed, err := boot.EditRaspberryPi(fat, src, edit)
		for i := range changed {
			changed[i].Path = m.Dir + "/" + changed[i].Path
		}
		return changed, err
	}
	return nil, fmt.Errorf("no partition that its fstab mounts is for a Raspberry Pi: %w", &boot.MissingFileError{Path: "config.txt"})
}

// BaseRoomError says that something does not fit into a partition whose size the base image decides.
type BaseRoomError struct{ Err error }

func (e *BaseRoomError) Error() string { return e.Err.Error() + "; its size is the base image's" }
func (e *BaseRoomError) Unwrap() error { return e.Err }

// room marks the fault that disk.size can't mend: only the last partition of a base grows, which is no FAT.
func (b *base) room(err error) error {
	var small *fat.TooSmallError
	if b != nil && errors.As(err, &small) {
		return &BaseRoomError{err}
	}
	return err
}

// plan lays out the disk, with what the profile says about its file systems.
func (c Config) plan(ctx context.Context, b *base, root tree.Tree, seed [32]byte) (disk.Plan, error) {
	plan, err := c.layout(ctx, b, root, seed)
	for i := range plan.Partitions {
		plan.Partitions[i].NoDelayedAllocation = c.Profile.Profile.Disk.NoDelayedAllocation
	}
	return plan, err
}

// layout is as the profile says, or as the base image has it.
func (c Config) layout(ctx context.Context, b *base, root tree.Tree, seed [32]byte) (disk.Plan, error) {
	if b == nil {
		return disk.NewPlan(c.Profile.Profile.Disk, root, seed, c.Lock.Epoch)
	}
	trees, err := b.split(ctx, root)
	if err != nil {
		return disk.Plan{}, err
	}
	plan, err := disk.Rebase(ctx, b.img, b.raw, trees, int64(c.Profile.Profile.Disk.Size), seed, c.Lock.Epoch)
	for i, p := range plan.Partitions {
		for _, m := range b.root.Mounts {
			if m.Partition == p.Number {
				plan.Partitions[i].Mount = path.Join("/", m.Dir)
			}
		}
	}
	return plan, err
}

// split gives each mounted partition its part of root, and leaves out those that stayed as they were.
func (b *base) split(ctx context.Context, root tree.Tree) (map[int]tree.Tree, error) {
	mounts := slices.Clone(b.root.Mounts)
	slices.SortStableFunc(mounts, func(x, y image.Mount) int {
		return strings.Count(y.Dir, "/") - strings.Count(x.Dir, "/") + rootLast(x, y)
	})
	trees := map[int]tree.Tree{}
	for _, m := range mounts {
		own, err := b.img.Tree(ctx, m.Partition)
		if err != nil {
			return nil, err
		}
		var part tree.Tree
		if m.Dir != "." {
			part, root = tree.Sub(root, m.Dir), tree.Without(root, m.Dir)
		} else if part, err = b.withMountPoints(own, root); err != nil {
			return nil, err
		}
		same, err := sameTree(part, own)
		if err != nil {
			return nil, err
		}
		if !same {
			trees[m.Partition] = part
		}
	}
	return trees, nil
}

func rootLast(x, y image.Mount) int {
	switch {
	case x.Dir == "." && y.Dir != ".":
		return 1
	case x.Dir != "." && y.Dir == ".":
		return -1
	}
	return 0
}

// withMountPoints puts back what the root partition itself has where others are mounted.
func (b *base) withMountPoints(own, root tree.Tree) (tree.Tree, error) {
	entries := root.Entries()
	for i := range own.Len() {
		e := own.At(i)
		if slices.ContainsFunc(b.root.Mounts, func(m image.Mount) bool {
			return e.Path == m.Dir && m.Dir != "." || strings.HasPrefix(e.Path, m.Dir+"/")
		}) {
			entries = append(entries, e)
		}
	}
	return tree.Take(entries)
}

func sameTree(a, b tree.Tree) (bool, error) {
	x, err := tree.Digest(a)
	if err != nil {
		return false, err
	}
	y, err := tree.Digest(b)
	return x == y, err
}
