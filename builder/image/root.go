package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Mount says which partition appears in which directory, "." for the root.
type Mount struct {
	Dir       string `json:"dir"`
	Partition int    `json:"partition"`
}

// Root is the file system that the running system would see.
type Root struct {
	// Tree holds all mounted partitions.
	Tree tree.Tree
	// Mounts in the order in which they were made, the root first.
	Mounts []Mount
}

// Root finds the partition with the root file system (it has /etc/fstab, or else /sbin) and lays
// the others over it as its /etc/fstab says, by LABEL, UUID, PARTUUID, PARTLABEL or device.
// Lines for partitions that the image does not have are passed over.
func (img *Image) Root(ctx context.Context) (Root, error) {
	number, t, err := img.rootPartition(ctx)
	if err != nil {
		return Root{}, err
	}
	root := Root{Tree: t, Mounts: []Mount{{".", number}}}
	table, err := img.fstab(t)
	if err != nil {
		return Root{}, err
	}
	for _, m := range table {
		part, err := img.Tree(ctx, m.Partition)
		if err != nil {
			return Root{}, err
		}
		if root.Tree, err = mount(root.Tree, m.Dir, part); err != nil {
			return Root{}, fmt.Errorf("mounting partition %d at /%s: %w", m.Partition, m.Dir, err)
		}
		root.Mounts = append(root.Mounts, m)
	}
	return root, nil
}

func (img *Image) rootPartition(ctx context.Context) (int, tree.Tree, error) {
	for _, sign := range []string{"etc/fstab", "sbin"} {
		for _, p := range img.table.partitions {
			if p.FS == "" {
				continue
			}
			t, err := img.Tree(ctx, p.Number)
			if err != nil {
				return 0, t, err
			}
			if _, ok := t.Lookup(sign); ok {
				return p.Number, t, nil
			}
		}
	}
	return 0, tree.Tree{}, errors.New("finding the root file system: no partition has /etc/fstab or /sbin")
}

// maxFstab is far above any real one; the file is a stranger's.
const maxFstab = 1 << 20

func (img *Image) fstab(t tree.Tree) ([]Mount, error) {
	e, ok := t.Lookup("etc/fstab")
	if !ok || e.Type != tree.File {
		return nil, nil
	}
	r, err := img.reader.Open(e.Content)
	if err != nil {
		return nil, fmt.Errorf("reading /etc/fstab: %w", err)
	}
	var out []Mount
	lines := bufio.NewScanner(io.LimitReader(r, maxFstab))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		dir := tree.LinkTarget(".", fields[1])
		if p, ok := img.device(fields[0]); ok && dir != "." && p.FS != "" {
			out = append(out, Mount{dir, p.Number})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading /etc/fstab: %w", err)
	}
	slices.SortStableFunc(out, func(a, b Mount) int { return strings.Count(a.Dir, "/") - strings.Count(b.Dir, "/") })
	return out, nil
}

// device finds the partition that the first field of an fstab line means.
func (img *Image) device(spec string) (Partition, bool) {
	key, value, ok := strings.Cut(spec, "=")
	value = strings.Trim(value, `"'`)
	if !ok {
		devices := regexp.MustCompile(`^/dev/(?:[sv]d[a-z]|(?:mmcblk|nvme\d+n)\d+p)(\d+)$`)
		m := devices.FindStringSubmatch(spec)
		if m == nil {
			return Partition{}, false
		}
		key, value = "number", m[1]
	}
	return img.find(func(p Partition) bool {
		switch key {
		case "LABEL":
			return p.Label == value && value != ""
		case "UUID":
			return strings.EqualFold(p.UUID, value) && value != ""
		case "PARTUUID":
			return strings.EqualFold(p.PartUUID, value) && value != ""
		case "PARTLABEL":
			return p.Name == value && value != ""
		case "number":
			return strconv.Itoa(p.Number) == value
		}
		return false
	})
}

// mount puts part in place of the directory dir of t.
func mount(t tree.Tree, dir string, part tree.Tree) (tree.Tree, error) {
	added := part.Entries()
	for i, e := range added {
		added[i].Path = path.Join(dir, e.Path)
		if e.Type == tree.Hardlink {
			added[i].Link = path.Join(dir, e.Link)
		}
	}
	return tree.With(tree.Without(t, dir), tree.Time{}, added...)
}

// maxLinks is the kernel's limit of symbolic links in one path.
const maxLinks = 40

// NotFoundError says that a path is not there; At is the first missing part.
type NotFoundError struct{ Path, At string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("finding /%s: /%s does not exist", e.Path, e.At)
}

// Resolve finds a path, absolute or relative to the root, following all symbolic links. The
// entry of a hard link is that of its file; its Path is where the name really is.
func (r Root) Resolve(p string) (tree.Entry, error) { return Resolve(r.Tree, p, true) }

// Lookup is Resolve without following a link in the last place.
func (r Root) Lookup(p string) (tree.Entry, error) { return Resolve(r.Tree, p, false) }

// Resolve finds a path in t; follow says whether a symbolic link in the last place is followed.
func Resolve(t tree.Tree, p string, follow bool) (tree.Entry, error) {
	want := tree.LinkTarget(".", p)
	rest := strings.Split(want, "/")
	at, links := ".", 0
	for len(rest) > 0 {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		e, ok := t.Lookup(next)
		if !ok {
			return tree.Entry{}, &NotFoundError{want, next}
		}
		if e.Type != tree.Symlink || len(rest) == 0 && !follow {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return tree.Entry{}, fmt.Errorf("finding /%s: more than %d symbolic links", want, maxLinks)
		}
		rest = append(strings.Split(tree.LinkTarget(next, e.Link), "/"), rest...)
		at = "."
	}
	e, _ := t.Lookup(at)
	if e.Type == tree.Hardlink {
		file, _ := t.Lookup(e.Link)
		file.Path = e.Path
		e = file
	}
	return e, nil
}
