package image

import (
	"context"
	"fmt"

	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/tree"
)

// Usage says how full a file system is. Sizes are in bytes; a FAT has no inodes.
type Usage struct {
	Size, Free         int64
	Inodes, FreeInodes int64
	// State is what the file system says of itself: "clean", "not clean" or "errors".
	State string
}

// Usage reads how full the file system of a partition is. That of a FAT is counted from its files:
// the number that a FAT keeps of itself is only a hint.
func (img *Image) Usage(ctx context.Context, number int) (Usage, error) {
	p, ok := img.find(func(p Partition) bool { return p.Number == number })
	if !ok {
		return Usage{}, fmt.Errorf("measuring partition %d: the image has none of that number", number)
	}
	switch p.FS {
	case "ext4":
		f, err := ext4.Open(img.section(p), p.Size)
		if err != nil {
			return Usage{}, fmt.Errorf("measuring partition %d: %w", number, err)
		}
		i := f.Info()
		return Usage{Size: i.Blocks * i.BlockSize, Free: i.FreeBlocks * i.BlockSize, Inodes: i.Inodes, FreeInodes: i.FreeInodes, State: i.State}, nil
	case "vfat":
		return img.fatUsage(ctx, p)
	}
	return Usage{}, fmt.Errorf("measuring partition %d: it holds neither ext4 nor FAT", number)
}

func (img *Image) fatUsage(ctx context.Context, p Partition) (Usage, error) {
	f, err := fat.Open(img.section(p), p.Size)
	if err != nil {
		return Usage{}, fmt.Errorf("measuring partition %d: %w", p.Number, err)
	}
	t, err := img.Tree(ctx, p.Number)
	if err != nil {
		return Usage{}, err
	}
	info := f.Info()
	cluster := int64(info.ClusterSize)
	u := Usage{Size: info.Clusters * cluster, State: "clean"}
	u.Free = u.Size
	for i := range t.Len() {
		e := t.At(i)
		clusters := (e.Content.Size + cluster - 1) / cluster
		if e.Type == tree.Dir {
			clusters = 1 // more only with dozens of files in it
		}
		u.Free -= clusters * cluster
	}
	return u, nil
}

// Device finds the partition that the first field of an fstab line, or root= on a kernel's command
// line, means: LABEL=, UUID=, PARTUUID=, PARTLABEL= or a device name with a partition number.
func (img *Image) Device(spec string) (Partition, bool) { return img.device(spec) }
