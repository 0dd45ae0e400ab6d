package initramfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"github.com/edgebake/edgebake/builder/tree"
)

// Module is a kernel module, decompressed.
type Module struct {
	Name string // with underscores, as the kernel lists it
	Path string // in the source tree
	Data []byte
}

// maxModuleSize is the most one module may decompress to; the largest in Debian have 12 MiB.
const maxModuleSize = 64 << 20

// Modules returns the wanted modules and all they depend on, each after what it needs. A name may
// be written with - or _; a trailing question mark makes it optional. What is built into the
// kernel (modules.builtin) is left out. Dependencies are the modules' own "depends" and the "pre"
// part of "softdep" in their .modinfo section, so no modules.dep (which depmod makes) is needed.
func Modules(ctx context.Context, s Source, wanted []string) ([]Module, error) {
	index, err := newModuleIndex(s)
	if err != nil {
		return nil, err
	}
	for _, name := range wanted {
		base, optional := strings.CutSuffix(name, "?")
		if err := index.add(ctx, normal(base), optional, nil); err != nil {
			return nil, err
		}
	}
	return index.loaded, nil
}

type moduleIndex struct {
	source  Source
	version string
	files   map[string]tree.Entry
	builtin map[string]bool
	done    map[string]bool
	loaded  []Module
}

func newModuleIndex(s Source) (*moduleIndex, error) {
	x := &moduleIndex{source: s, files: map[string]tree.Entry{}, builtin: map[string]bool{}, done: map[string]bool{}}
	dir, err := moduleDir(s)
	if err != nil {
		return nil, err
	}
	x.version = path.Base(dir)
	for i := range s.Tree.Len() {
		e := s.Tree.At(i)
		if name, ok := moduleName(e.Path); ok && strings.HasPrefix(e.Path, dir+"/") && e.Type != tree.Dir {
			x.files[name] = e
		}
	}
	e, ok := s.Tree.Lookup(dir + "/modules.builtin")
	if !ok {
		return nil, fmt.Errorf("reading modules of kernel %s: %s/modules.builtin is missing", x.version, dir)
	}
	list, err := readEntry(s, e)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			x.builtin[name] = true
		}
	}
	return x, nil
}

// moduleDir finds the one lib/modules/VERSION, on either side of a merged /usr.
func moduleDir(s Source) (string, error) {
	var found []string
	for i := range s.Tree.Len() {
		e := s.Tree.At(i)
		parent, base := path.Split(e.Path)
		if e.Type == tree.Dir && (parent == "lib/modules/" || parent == "usr/lib/modules/") && (s.Version == "" || s.Version == base) {
			found = append(found, e.Path)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("finding kernel modules: want exactly one lib/modules/%s, found %q", first(s.Version, "VERSION"), found)
	}
	return found[0], nil
}

// KernelVersion returns the version of the only kernel in the source's tree.
func KernelVersion(s Source) (string, error) {
	dir, err := moduleDir(s)
	return path.Base(dir), err
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// moduleName turns a path into the kernel's name of the module.
func moduleName(p string) (string, bool) {
	base := path.Base(p)
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if name, ok := strings.CutSuffix(base, suffix); ok {
			return normal(name), true
		}
	}
	return "", false
}

func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// add appends the module and, before it, what it needs; chain shows who asked, and ends cycles.
func (x *moduleIndex) add(ctx context.Context, name string, optional bool, chain []string) error {
	if x.done[name] || x.builtin[name] || slices.Contains(chain, name) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading kernel modules: %w", err)
	}
	e, ok := x.files[name]
	switch {
	case !ok && optional:
		return nil
	case !ok:
		return fmt.Errorf("finding module %s of kernel %s: it is neither a file nor built in%s", name, x.version, wantedBy(chain))
	}
	data, err := x.read(e)
	if err != nil {
		return err
	}
	info, err := readModinfo(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if err := x.addAll(ctx, info, append(chain, name)); err != nil {
		return err
	}
	x.done[name] = true
	x.loaded = append(x.loaded, Module{Name: name, Path: e.Path, Data: data})
	return nil
}

func (x *moduleIndex) addAll(ctx context.Context, info modinfo, chain []string) error {
	for _, name := range info.softPre {
		if err := x.add(ctx, x.resolveSoft(name), true, chain); err != nil {
			return err
		}
	}
	for _, name := range info.depends {
		if err := x.add(ctx, name, false, chain); err != nil {
			return err
		}
	}
	return nil
}

// resolveSoft turns a softdep's name into a module's: crypto algorithms are asked for by their
// own name ("crc32c"), which is an alias of the portable module "crc32c_generic".
func (x *moduleIndex) resolveSoft(name string) string {
	if _, ok := x.files[name]; !ok && !x.builtin[name] {
		return name + "_generic"
	}
	return name
}

func wantedBy(chain []string) string {
	if len(chain) == 0 {
		return ""
	}
	return " (needed by " + strings.Join(chain, " > ") + ")"
}

func (x *moduleIndex) read(e tree.Entry) ([]byte, error) {
	raw, err := readEntry(x.source, e)
	if err != nil {
		return nil, err
	}
	data, err := decompress(path.Ext(e.Path), raw)
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", e.Path, err)
	}
	return data, nil
}

func decompress(ext string, raw []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch ext {
	case ".ko":
		return raw, nil
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(raw))
	case ".xz":
		r, err = xz.NewReader(bytes.NewReader(raw), xz.DefaultDictMax)
	case ".zst":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxModuleSize+1))
	if err == nil && len(data) > maxModuleSize {
		err = fmt.Errorf("it has more than %d bytes", maxModuleSize)
	}
	return data, err
}

// modinfo is what matters of a module's .modinfo section.
type modinfo struct{ depends, softPre []string }

func readModinfo(module []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return modinfo{}, fmt.Errorf("parsing ELF: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return modinfo{}, fmt.Errorf("parsing ELF: no .modinfo section: not a kernel module")
	}
	data, err := section.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("parsing ELF: %w", err)
	}
	return parseModinfo(data), nil
}

// parseModinfo reads NUL-ended "key=value" strings.
func parseModinfo(data []byte) modinfo {
	var info modinfo
	for field := range bytes.SplitSeq(data, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name = strings.TrimSpace(name); name != "" {
					info.depends = append(info.depends, normal(name))
				}
			}
		case "softdep":
			info.softPre = append(info.softPre, softPre(value)...)
		}
	}
	return info
}

// softPre returns the names after "pre:" of "pre: a b post: c".
func softPre(value string) []string {
	var names []string
	pre := false
	for word := range strings.FieldsSeq(value) {
		switch {
		case strings.HasSuffix(word, ":"):
			pre = word == "pre:"
		case pre:
			names = append(names, normal(word))
		}
	}
	return names
}
