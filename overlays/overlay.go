package overlays

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxFile bounds one file: an overlay is configuration; big inputs are components.
const maxFile = 16 << 20

// Overlay is a set of files that is laid over an image.
type Overlay struct {
	// Name is the built-in name or the path that was asked for.
	Name string
	// Summary is one line for lists.
	Summary string
	// Files are sorted by path; a directory comes before what it holds.
	Files []File
	// Variables are the paths of files in which ${name} stands for a variable of the profile.
	Variables []string
}

// File is one file, directory or symbolic link of an overlay.
type File struct {
	// Path is absolute in the image: /etc/hostname.
	Path string
	// Dir marks a directory. Default says that no rule names it: one that is in the image already keeps
	// its mode and owner, so that a file below /root or /tmp does not open them.
	Dir, Default bool
	// Target makes the file a symbolic link to it.
	Target string
	// Mode are the permission bits, with set-id and sticky bits as in chmod(1).
	Mode uint32
	// UID and GID own the file.
	UID, GID int
	// Content of a regular file.
	Content []byte
}

// description is the content of NAME.yaml.
type description struct {
	Summary string `yaml:"summary"`
	Rules   []rule `yaml:"rules"`
	// Links are symbolic links by path: a file tree in a Go program can't hold any.
	Links map[string]string `yaml:"links"`
	// Variables are files in which ${name} stands for a variable of the profile, by path.
	Variables []string `yaml:"variables"`
}

// rule says mode and owner of the files whose path matches Path (path.Match); later rules win.
type rule struct {
	Path  string `yaml:"path"`
	Mode  string `yaml:"mode"`
	Owner string `yaml:"owner"`
}

// Load reads the overlay called name from fsys: the directory name and name.yaml beside it.
// A name that is not there gives an error that errors.Is fs.ErrNotExist.
func Load(fsys fs.FS, name string) (Overlay, error) {
	o := Overlay{Name: name}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return o, fmt.Errorf("opening overlay %s: %w", name, err)
	}
	if !info.IsDir() {
		return o, fmt.Errorf("opening overlay %s: it is a file; an overlay is a directory with %s.yaml beside it", name, name)
	}
	about, err := describe(fsys, name)
	if err != nil {
		return o, err
	}
	o.Summary = about.Summary
	if o.Files, err = readFiles(fsys, name); err != nil {
		return o, fmt.Errorf("reading overlay %s: %w", name, err)
	}
	if err := about.apply(&o); err != nil {
		return o, fmt.Errorf("reading overlay description %s.yaml: %w", name, err)
	}
	return o, nil
}

// Names lists the overlays in fsys, sorted.
func Names(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("listing overlays: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func describe(fsys fs.FS, name string) (description, error) {
	var about description
	content, err := fs.ReadFile(fsys, name+".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return about, nil // all files have the default mode and owner
	}
	if err == nil {
		err = yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(&about)
	}
	if err != nil {
		return about, fmt.Errorf("reading overlay description %s.yaml: %w", name, err)
	}
	return about, nil
}

func readFiles(fsys fs.FS, name string) ([]File, error) {
	var files []File
	err := fs.WalkDir(fsys, name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == name {
			return err
		}
		f := File{Path: strings.TrimPrefix(p, name), Mode: 0o644}
		switch {
		case d.IsDir():
			f.Dir, f.Default, f.Mode = true, true, 0o755
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory; name symbolic links in %s.yaml under links", p, path.Base(name))
		default:
			f.Content, err = readFile(fsys, p, d)
		}
		files = append(files, f)
		return err
	})
	return files, err
}

func readFile(fsys fs.FS, p string, d fs.DirEntry) ([]byte, error) {
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, an overlay's file may have %d; make it a component", p, info.Size(), maxFile)
	}
	return fs.ReadFile(fsys, p)
}

func (about description) apply(o *Overlay) error {
	for _, r := range about.Rules {
		if err := r.apply(o.Files); err != nil {
			return err
		}
	}
	for _, at := range about.Variables {
		if !slices.ContainsFunc(o.Files, func(f File) bool { return f.Path == at && !f.Dir }) {
			return fmt.Errorf("variables of %q: the overlay has no file of that path; paths start with /", at)
		}
	}
	o.Variables = about.Variables
	for at, target := range about.Links {
		if !path.IsAbs(at) || path.Clean(at) != at || target == "" {
			return fmt.Errorf("link %q to %q: write an absolute path and what it points to", at, target)
		}
		if slices.ContainsFunc(o.Files, func(f File) bool { return f.Path == at }) {
			return fmt.Errorf("link %s: the overlay has a file of that path", at)
		}
		o.Files = append(withParents(o.Files, at), File{Path: at, Target: target, Mode: 0o777})
	}
	slices.SortFunc(o.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// withParents adds the directories of at that files lacks.
func withParents(files []File, at string) []File {
	for dir := path.Dir(at); dir != "/"; dir = path.Dir(dir) {
		if !slices.ContainsFunc(files, func(f File) bool { return f.Path == dir }) {
			files = append(files, File{Path: dir, Dir: true, Default: true, Mode: 0o755})
		}
	}
	return files
}

func (r rule) apply(files []File) error {
	hits := 0
	for i := range files {
		ok, err := path.Match(r.Path, files[i].Path)
		if err != nil {
			return fmt.Errorf("rule %q: %w", r.Path, err)
		}
		if !ok {
			continue
		}
		hits++
		if err := r.set(&files[i]); err != nil {
			return fmt.Errorf("rule %q: %w", r.Path, err)
		}
	}
	if hits == 0 {
		return fmt.Errorf("rule %q matches no file of the overlay; paths start with /", r.Path)
	}
	return nil
}

func (r rule) set(f *File) error {
	f.Default = false
	if r.Mode != "" {
		mode, err := strconv.ParseUint(r.Mode, 8, 32)
		if err != nil || mode > 0o7777 {
			return fmt.Errorf("mode %q is not octal between 0 and 7777", r.Mode)
		}
		f.Mode = uint32(mode)
	}
	if r.Owner == "" {
		return nil
	}
	user, group, ok := strings.Cut(r.Owner, ":")
	uid, err := number(user)
	gid, err2 := number(group)
	if !ok || errors.Join(err, err2) != nil {
		return fmt.Errorf("owner %q is not USER:GROUP as numbers or root", r.Owner)
	}
	f.UID, f.GID = uid, gid
	return nil
}

func number(name string) (int, error) {
	if name == "root" {
		return 0, nil
	}
	n, err := strconv.ParseUint(name, 10, 31)
	return int(n), err
}
