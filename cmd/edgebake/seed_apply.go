package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/image/decode"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/cloudinit/token"
)

// seedLabel is the label of the FAT in which the images look for their seed (overlays/pi-boot).
const seedLabel = "system-boot"

// applySeed writes the files of a seed, or a fresh token alone, into the FAT of an image or card.
func applySeed(ctx context.Context, env *environment, o seedOptions, nodes []cloudinit.Node, tok token.Token) error {
	files, report, err := appliedFiles(nodes, tok)
	if err != nil {
		return err
	}
	report.Path = o.apply
	c, err := openCard(o.apply, o.force, !o.dryRun)
	if err != nil {
		return err
	}
	err = c.put(ctx, files, o.dryRun)
	if e := c.file.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("applying the seed to %s: %w", o.apply, err)
	}
	c.remark(env)
	return printApplied(env, report, seedReport{Seeds: []seeded{report}, Token: infoOf(tok), DryRun: o.dryRun}, tok)
}

// appliedFiles are the files by their names; nil takes away what an earlier seed left.
func appliedFiles(nodes []cloudinit.Node, tok token.Token) (map[string][]byte, seeded, error) {
	s := seeded{Kind: string(cloudinit.KindNoCloud), Files: []string{cloudinit.TokenFile}}
	if len(nodes) == 0 {
		return map[string][]byte{cloudinit.TokenFile: []byte(tok.Secret() + "\n")}, s, nil
	}
	n := nodes[0]
	list, err := cloudinit.Render(n, cloudinit.KindNoCloud)
	if err != nil {
		return nil, s, usagef("making the seed of %s: %w", n.Name, err)
	}
	files := map[string][]byte{"user-data": nil, "meta-data": nil, "network-config": nil, cloudinit.TokenFile: nil, "join-status.txt": nil}
	s.Node, s.InstanceID, s.Files = n.Name, n.InstanceID(), nil
	for _, f := range list {
		files[f.Name] = f.Content
		s.Files = append(s.Files, f.Name)
	}
	return files, s, nil
}

func printApplied(env *environment, s seeded, r seedReport, tok token.Token) error {
	if env.settings.json {
		return env.printJSON(r)
	}
	verb, what := "applied", "a fresh token"
	if r.DryRun {
		verb = "would apply"
	}
	if s.Node != "" {
		what = fmt.Sprintf("the seed of %s (%s)", s.Node, s.InstanceID)
	}
	fmt.Fprintf(env.stdout, "%s %s to %s%s\n", verb, what, s.Path, tokenLine(tok))
	return nil
}

// card is an image or a device that is open for writing, and the place of its seed.
type card struct {
	path   string
	file   *os.File
	region image.Partition
}

// openCard opens what a seed is to be written into. It refuses what is in use, and what is not a raw image with a
// FAT for the seed.
func openCard(path string, force, write bool) (*card, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usagef("applying a seed: %w", err)
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		err = thisMachine().fileInUse(path)
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		flags |= unix.O_EXCL // the kernel refuses when something on it is mounted
		err = thisMachine().mayWrite(path, info, force)
	default:
		err = &refusedError{fmt.Sprintf("applying a seed to %s: it is a %s, neither an image nor a card", path, kindOf(mode)), "name an image file, or the device of a card: /dev/sdX, /dev/mmcblkX"}
	}
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, inUse(path, "the kernel says that it is busy")
	case errors.Is(err, fs.ErrPermission) && flags&unix.O_EXCL != 0:
		return nil, &refusedError{fmt.Sprintf("applying a seed to %s: its owner and mode do not allow it", path), "a card's device usually belongs to root: run the same command with sudo"}
	}
	if err != nil {
		return nil, fmt.Errorf("applying a seed: %w", err)
	}
	c := &card{path: path, file: f}
	if err := c.find(info.Mode().IsRegular() && write); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return c, nil
}

// find locks an image, so that no virtual machine runs on it, and looks for the FAT.
func (c *card) find(lock bool) error {
	if lock {
		all := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		err := unix.FcntlFlock(c.file.Fd(), unix.F_OFD_SETLK, &all)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return inUse(c.path, "another program, a virtual machine perhaps, has locked it")
		} // a file system without locks has none that could be in the way
	}
	size, err := c.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("applying a seed to %s: %w", c.path, err)
	}
	if err := refusePacked(c.path, c.file, size); err != nil {
		return err
	}
	img, err := image.New(c.file, size, cas.Digest("card"))
	if err != nil {
		return &refusedError{fmt.Sprintf("applying a seed to %s: %s", c.path, err), notThis}
	}
	return c.choose(img)
}

const notThis = "name an image that edgebake baked for a card, or the device of such a card (lsblk -o NAME,SIZE,LABEL)"

func (c *card) choose(img *image.Image) error {
	var found []image.Partition
	labels := []string{}
	for _, p := range img.Partitions() {
		if p.FS == "vfat" && strings.EqualFold(p.Label, seedLabel) {
			found = append(found, p)
		}
		labels = append(labels, fmt.Sprintf("%q (%s)", p.Label, firstSet(p.FS, "unknown")))
	}
	if len(found) != 1 {
		return &refusedError{fmt.Sprintf("applying a seed to %s: it has %d FATs with the label %s; its partitions are %s", c.path, len(found), seedLabel, strings.Join(labels, ", ")), notThis}
	}
	c.region = found[0]
	return nil
}

// refusePacked refuses formats in which nothing can be changed in place.
func refusePacked(path string, r io.ReaderAt, size int64) error {
	format, err := decode.Detect(r, size)
	if err != nil {
		return fmt.Errorf("applying a seed to %s: %w", path, err)
	}
	advice := map[decode.Format]string{
		decode.XZ: "unpack it first: xz -dk %s", decode.Gzip: "unpack it first: gzip -dk %s", decode.Zstd: "unpack it first: zstd -dk %s",
		decode.QCOW2: "virtual machines take a seed of their own: --kind iso; for a card convert it first: qemu-img convert -O raw %s node.img",
	}[format]
	if advice == "" {
		return nil
	}
	return &refusedError{fmt.Sprintf("applying a seed to %s: it is packed (%s), and a seed is written in place", path, format), fmt.Sprintf(advice, path)}
}

// put changes the FAT. A dry run does everything but the writing.
func (c *card) put(ctx context.Context, files map[string][]byte, dryRun bool) error {
	var d fat.Device = c.file
	if dryRun {
		d = readOnly{c.file}
	}
	return fat.Change(ctx, d, c.region.Start, c.region.Size, files, tree.Time{Sec: time.Now().Unix()})
}

// readOnly is a device on which writing does nothing.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (readOnly) Sync() error                            { return nil }

// remark says that an image with a manifest is no longer what that describes.
func (c *card) remark(env *environment) {
	m, err := artifact.ReadManifest(filepath.Dir(c.path))
	if err != nil {
		return
	}
	if slices.ContainsFunc(m.Artifacts, func(a artifact.Artifact) bool { return a.Name == filepath.Base(c.path) }) {
		env.reporter.Note("%s is now one node's: its digest in the manifest does not hold any more", c.path)
	}
}
