package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

type inspectOptions struct {
	partition int
	out       string
}

func newInspect(env *environment) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use: "inspect IMAGE [ls|cat|stat|extract PATH]", Short: "look into an image without mounting it",
		Args: between(1, 3, "an IMAGE, or an IMAGE, one of ls, cat, stat and extract, and a PATH"),
		Long: long("inspect lists the partitions and file systems of an image, or reads inside: ls, cat, stat and extract take\n"+
			"a path as the running system would see it, with all partitions mounted as its /etc/fstab says, or a path\n"+
			"of one file system with --partition. extract writes a file or a directory into -o DIR.",
			"edgebake inspect edge.img\nedgebake inspect edge.img ls /boot/firmware\nedgebake inspect edge.img extract /etc -o out"),
		RunE: func(cmd *cobra.Command, args []string) error { return runInspect(cmd.Context(), env, o, args) },
	}
	cmd.Flags().IntVar(&o.partition, "partition", 0, "number of the one partition to read")
	cmd.Flags().StringVarP(&o.out, "output", "o", ".", "directory that extract writes into")
	return cmd
}

func runInspect(ctx context.Context, env *environment, o inspectOptions, args []string) error {
	img, err := image.Open(args[0])
	if err != nil {
		return err
	}
	defer img.Close()
	if len(args) == 1 {
		return env.printPartitions(img)
	}
	name := "/"
	if len(args) == 3 {
		name = args[2]
	}
	t, err := o.tree(ctx, img)
	if err != nil {
		return err
	}
	follow := args[1] == "cat" || args[1] == "ls"
	e, err := image.Resolve(t, name, follow)
	if err != nil {
		return err
	}
	in := inspected{env, t, img.Reader()}
	switch args[1] {
	case "ls":
		return in.list(e)
	case "cat":
		return in.cat(e)
	case "stat":
		return in.stat(e)
	case "extract":
		return in.extract(ctx, e, o.out)
	}
	return usagef("%q is none of ls, cat, stat and extract", args[1])
}

func (o inspectOptions) tree(ctx context.Context, img *image.Image) (tree.Tree, error) {
	if o.partition != 0 {
		return img.Tree(ctx, o.partition)
	}
	root, err := img.Root(ctx)
	return root.Tree, err
}

func (env *environment) printPartitions(img *image.Image) error {
	if env.settings.json {
		return env.printJSON(map[string]any{"size": img.Size(), "table": img.Table(), "id": img.ID(), "partitions": img.Partitions()})
	}
	fmt.Fprintf(env.stdout, "%s table %s, %.1f MiB\n", img.Table(), img.ID(), mebi(img.Size()))
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tSTART\tMIB\tTYPE\tFS\tLABEL\tUUID\tPARTUUID")
	for _, p := range img.Partitions() {
		fmt.Fprintf(w, "%d\t%d\t%.1f\t%s\t%s\t%s\t%s\t%s\n", p.Number, p.Start, mebi(p.Size), p.Type, p.FS, p.Label, p.UUID, p.PartUUID)
	}
	return w.Flush()
}

func mebi(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// inspected is an open file system of an image.
type inspected struct {
	env    *environment
	tree   tree.Tree
	reader *tree.Reader
}

// children are the entries directly in a directory, or the entry itself.
func (in inspected) children(e tree.Entry) []tree.Entry {
	if e.Type != tree.Dir {
		return []tree.Entry{e}
	}
	var out []tree.Entry
	for i := range in.tree.Len() {
		if c := in.tree.At(i); c.Path != "." && path.Dir(c.Path) == e.Path {
			out = append(out, c)
		}
	}
	return out
}

func (in inspected) list(e tree.Entry) error {
	entries := in.children(e)
	if in.env.settings.json {
		return in.env.printJSON(entries)
	}
	w := tabwriter.NewWriter(in.env.stdout, 0, 0, 1, ' ', 0)
	for _, c := range entries {
		name := path.Base(c.Path)
		if c.Type == tree.Symlink {
			name += " -> " + c.Link
		}
		inode := in.inode(c)
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\n", modeString(inode), inode.UID, inode.GID, inode.Content.Size, timeString(inode.MTime), name)
	}
	return w.Flush()
}

// inode is the entry that holds the attributes and the content of e.
func (in inspected) inode(e tree.Entry) tree.Entry {
	if e.Type == tree.Hardlink {
		if target, ok := in.tree.Lookup(e.Link); ok {
			return target
		}
	}
	return e
}

func (in inspected) cat(e tree.Entry) error {
	if e = in.inode(e); e.Type != tree.File {
		return fmt.Errorf("reading /%s: it is a %s, not a file", e.Path, e.Type)
	}
	r, err := in.reader.Open(e.Content)
	if err != nil {
		return err
	}
	if _, err := io.Copy(in.env.stdout, r); err != nil {
		return fmt.Errorf("reading /%s: %w", e.Path, err)
	}
	return nil
}

func (in inspected) stat(e tree.Entry) error {
	if in.env.settings.json {
		return in.env.printJSON(e)
	}
	w, inode := in.env.stdout, in.inode(e)
	fmt.Fprintf(w, "path: /%s\ntype: %s\nmode: %04o (%s)\nowner: %d:%d\nsize: %d\nmtime: %s\n", e.Path, e.Type, inode.Mode,
		modeString(inode), inode.UID, inode.GID, inode.Content.Size, timeString(inode.MTime))
	if e.Link != "" {
		fmt.Fprintf(w, "link: %s\n", e.Link)
	}
	if e.Type == tree.CharDevice || e.Type == tree.BlockDevice {
		fmt.Fprintf(w, "device: %d:%d\n", e.Major, e.Minor)
	}
	for _, x := range inode.Xattrs {
		fmt.Fprintf(w, "xattr: %s=%q\n", x.Name, x.Value)
	}
	return nil
}

// extract writes an entry and what is below it into dir, with permissions but without owners,
// devices and special bits: it needs no privileges. An os.Root keeps every write inside of dir.
func (in inspected) extract(ctx context.Context, top tree.Entry, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("extracting: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("extracting: %w", err)
	}
	defer root.Close()
	count, base := 0, path.Dir(top.Path)
	for i := range in.tree.Len() {
		e := in.tree.At(i)
		if !inside(top.Path, e.Path) || e.Path == "." {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, _ := filepath.Rel(base, e.Path) // both are relative and clean
		err := in.extractEntry(root, e, name)
		if errors.Is(err, fs.ErrExist) {
			return &refusedError{fmt.Sprintf("extracting /%s: %s is there already", e.Path, filepath.Join(dir, name)), "extract into an empty directory: -o DIR"}
		}
		if err != nil {
			return fmt.Errorf("extracting /%s: %w", e.Path, err)
		}
		count++
	}
	fmt.Fprintf(in.env.stdout, "%d entries extracted into %s\n", count, dir)
	return nil
}

func inside(top, p string) bool {
	return top == "." || p == top || len(p) > len(top) && p[:len(top)] == top && p[len(top)] == '/'
}

func (in inspected) extractEntry(root *os.Root, e tree.Entry, name string) error {
	switch inode := in.inode(e); {
	case e.Type == tree.Dir:
		// The owner keeps the right to write: what is inside comes next.
		if err := root.Mkdir(name, fs.FileMode(e.Mode&0o777)|0o700); err != nil && !os.IsExist(err) {
			return err
		}
		return nil
	case e.Type == tree.Symlink:
		return root.Symlink(e.Link, name)
	case inode.Type == tree.File:
		return in.extractFile(root, inode, name)
	}
	fmt.Fprintf(in.env.stderr, "edgebake: left out /%s: it is a %s\n", e.Path, e.Type)
	return nil
}

func (in inspected) extractFile(root *os.Root, e tree.Entry, name string) error {
	r, err := in.reader.Open(e.Content)
	if err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(e.Mode&0o777))
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// modeString is the mode as ls -l shows it.
func modeString(e tree.Entry) string {
	mode := fs.FileMode(e.Mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if e.Mode&bit != 0 {
			mode |= flag
		}
	}
	types := map[tree.Type]fs.FileMode{tree.Dir: fs.ModeDir, tree.Symlink: fs.ModeSymlink, tree.CharDevice: fs.ModeDevice | fs.ModeCharDevice,
		tree.BlockDevice: fs.ModeDevice, tree.Fifo: fs.ModeNamedPipe, tree.Socket: fs.ModeSocket}
	return (mode | types[e.Type]).String()
}

func timeString(t tree.Time) string {
	return time.Unix(t.Sec, int64(t.Nsec)).UTC().Format("2006-01-02 15:04:05")
}
