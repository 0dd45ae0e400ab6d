package native

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/edgebake/edgebake/builder/tree"
)

// A module is a file *.py; compiled, it is a .pyc, which is the same on every processor.
//
// What else is loaded shows in a .pyc: a string that something else uses, too, is marked (marshal.c, FLAG_REF). So
// Python is started here as the packages start it, and compiles with its own py_compile.

// Python is an interpreter.
type Python struct {
	Version string // "3.11"
	// Program is bytecompile.py, which makes calls of py3compile.
	Program []byte
}

// How is a way in which packages start the compiler.
type How string

const (
	// ByModule is py3compile's: python -B -m py_compile.
	ByModule How = "module"
	// ByScript is that of Python's own packages: python -E -S py_compile.py.
	ByScript How = "script"
)

// Ask names a module that shall be compiled.
type Ask struct {
	How
	Path string
}

// Module is a compiled module, and what its source was.
type Module struct {
	Ask
	source tree.Entry
	Entry  tree.Entry
}

// Of reports whether the source is the same in the system.
func (m Module) Of(system tree.Tree) bool {
	now, ok := sourceIn(system, m.Path)
	return ok && bytes.Equal(sourceHeader(now), sourceHeader(m.source))
}

// maxLinks is the most symbolic links that Linux follows.
const maxLinks = 40

// sourceIn is the file of that path, or to which a symbolic link leads; a configuration file's name may end in .dpkg-new.
func sourceIn(system tree.Tree, name string) (tree.Entry, bool) {
	for range maxLinks {
		e, ok := system.Lookup(name)
		if !ok {
			e, ok = system.Lookup(name + ".dpkg-new")
		}
		switch {
		case !ok:
			return tree.Entry{}, false
		case e.Type == tree.Symlink:
			name = tree.LinkTarget(name, e.Link)
		case e.Type == tree.Hardlink:
			name = e.Link
		default:
			return e, e.Type == tree.File
		}
	}
	return tree.Entry{}, false
}

// box has Python and all that it could read.
func (p Python) box(ctx context.Context, j Job, name string) (Box, error) {
	b, err := NewBox(ctx, j, filepath.Join(j.Dir, name))
	if err != nil {
		return Box{}, err
	}
	if err := b.Put(ctx, j.System, j.Reader, p.reads); err != nil {
		return Box{}, errors.Join(err, b.Close())
	}
	return b, nil
}

// reads are all modules, what runs when Python starts (site.py), and what py3compile looks at.
func (p Python) reads(e tree.Entry) bool {
	if e.Type == tree.Dir {
		return false
	}
	switch path.Ext(e.Path) {
	case ".py", ".pth":
		return true
	case ".list":
		return path.Dir(e.Path) == "var/lib/dpkg/info"
	}
	return strings.HasPrefix(e.Path, "usr/share/python3/") ||
		slices.Contains([]string{"usr/bin/py3compile", "usr/bin/python3", "var/lib/dpkg/diversions"}, e.Path)
}

// chunk is how many modules a process compiles: some 300 ms of work, its start is a tenth of that.
const chunk = 256

// Own compiles Python's own modules, as its packages do. One that can't be compiled is left out.
func (p Python) Own(ctx context.Context, j Job, out *Files) ([]Module, error) {
	names, err := p.ownModules(j)
	if err != nil {
		return nil, err
	}
	b, err := p.box(ctx, j, "own")
	if err != nil {
		return nil, err
	}
	defer b.Close()
	for part := range slices.Chunk(names, chunk) {
		if err := p.compile(ctx, b, ByScript, part); err != nil {
			return nil, err
		}
	}
	var made []Module
	for _, name := range names {
		if !b.has(p.cache(name)) {
			continue // who asks for it learns what is wrong
		}
		m, err := p.take(b, j, Ask{ByScript, name}, p.cache(name), out)
		if err != nil {
			return nil, err
		}
		made = append(made, m)
	}
	return made, nil
}

// Compile compiles modules that are asked for. One that can't be compiled is an error.
func (p Python) Compile(ctx context.Context, j Job, list []Ask, out *Files) ([]Module, error) {
	if len(list) == 0 {
		return nil, nil
	}
	b, err := p.box(ctx, j, "asked")
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return p.inBox(ctx, b, j, list, out)
}

// take copies a compiled module out of the box.
func (p Python) take(b Box, j Job, a Ask, name string, out *Files) (Module, error) {
	source, ok := sourceIn(j.System, a.Path)
	if !ok {
		return Module{}, fmt.Errorf("taking %s: it is of no module", name)
	}
	e, err := out.take(b, name, compiledMode(source))
	return Module{a, source, e}, err
}

// ownModules are the modules in the lists of pythonX.Y, pythonX.Y-minimal, libpythonX.Y-minimal and libpythonX.Y-stdlib.
func (p Python) ownModules(j Job) ([]string, error) {
	var out []string
	for i := range j.System.Len() {
		list := j.System.At(i)
		name, _, _ := strings.Cut(strings.TrimSuffix(path.Base(list.Path), ".list"), ":")
		name = strings.TrimPrefix(name, "lib")
		if path.Dir(list.Path) != "var/lib/dpkg/info" || path.Ext(list.Path) != ".list" || strings.TrimSuffix(strings.TrimSuffix(name, "-minimal"), "-stdlib") != "python"+p.Version {
			continue
		}
		in, err := j.Reader.Open(list.Content)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", list.Path, err)
		}
		out = append(out, p.listed(j, string(text))...)
	}
	return out, nil
}

// listed are the modules of the library in a list of files. They are written to the compiler line by line, so none may have an odd name.
func (p Python) listed(j Job, list string) (out []string) {
	for line := range strings.Lines(list) {
		name := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/")
		_, ok := sourceIn(j.System, name)
		if ok && path.Ext(name) == ".py" && strings.HasPrefix(name, "usr/lib/python"+p.Version+"/") && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl) {
			out = append(out, name)
		}
	}
	return out
}

// maxFailures is how many modules of a chunk may not compile, each of which ends the compiler.
const maxFailures = 16

// compile starts the compiler, and again behind a module that it does not compile.
func (p Python) compile(ctx context.Context, b Box, how How, modules []string) error {
	var last error
	for range maxFailures {
		if last = p.start(ctx, b, how, modules); last == nil {
			return nil
		}
		var exit *exec.ExitError
		if ctx.Err() != nil || !errors.As(last, &exit) {
			return last
		}
		done := slices.IndexFunc(modules, func(name string) bool { return !b.has(p.cache(name)) })
		if done < 0 || done+1 == len(modules) {
			return nil
		}
		modules = modules[done+1:]
	}
	return last
}

func (p Python) program() string { return "/usr/bin/python" + p.Version }

func (p Python) start(ctx context.Context, b Box, how How, modules []string) error {
	args := []string{"-B", "-m", "py_compile", "-"}
	if how == ByScript {
		args = []string{"-B", "-E", "-S", "/usr/lib/python" + p.Version + "/py_compile.py", "-"}
	}
	return b.Run(ctx, strings.NewReader("/"+strings.Join(modules, "\n/")+"\n"), p.program(), args...)
}

// Calls has bytecompile.py make calls of py3compile (lines as it reads them), as it would in the guest, and returns all that was compiled. The box has
// that name, which no other box of the job has. When a call fails all does.
func (p Python) Calls(ctx context.Context, j Job, name string, calls []string, out *Files) ([]Module, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	b, err := p.box(ctx, j, name)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	files := map[string][]byte{"run/bytecompile.py": p.Program, "run/calls": []byte(strings.Join(calls, "\n") + "\nend\n")}
	for name, data := range files {
		e := tree.Entry{Path: name, Type: tree.File, Mode: 0o644, MTime: tree.Time{Sec: j.Epoch}, Content: tree.InlineContent(data)}
		if err := b.put(e, j.Reader); err != nil {
			return nil, err
		}
	}
	// What it calls is compiled here: Python's own modules, which are compiled when they are loaded, nobody asked for.
	if err := b.Run(ctx, nil, p.program(), "-B", "/run/bytecompile.py", p.Version, "/run/asked", strconv.Itoa(chunk), "/usr/bin/py3compile", "/run/calls"); err != nil {
		return nil, err
	}
	asked, err := b.root.ReadFile("run/asked")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	made, err := p.inBox(ctx, b, j, ParseAsks(string(asked)), out)
	if err != nil {
		return nil, err
	}
	optimized, err := p.optimized(b, j, out)
	return append(made, optimized...), err
}

// ParseAsks reads what bytecompile.py writes.
func ParseAsks(text string) []Ask {
	var out []Ask
	for line := range strings.Lines(text) {
		how, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x1f")
		out = append(out, Ask{How(how), strings.TrimPrefix(name, "/")})
	}
	return out
}

// inBox compiles all that is asked for.
func (p Python) inBox(ctx context.Context, b Box, j Job, asks []Ask, out *Files) ([]Module, error) {
	names := map[How][]string{}
	for _, a := range asks {
		names[a.How] = append(names[a.How], a.Path)
	}
	for how, list := range names {
		for part := range slices.Chunk(list, chunk) {
			if err := p.start(ctx, b, how, part); err != nil {
				return nil, err
			}
		}
	}
	var made []Module
	for _, a := range asks {
		m, err := p.take(b, j, a, p.cache(a.Path), out)
		if err != nil {
			return nil, err
		}
		made = append(made, m)
	}
	return made, nil
}

// optimized are modules that were compiled with -O, which is bytecompile.py's own work.
func (p Python) optimized(b Box, j Job, out *Files) ([]Module, error) {
	var made []Module
	err := fs.WalkDir(b.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		compiled := path.Base(name)
		if err != nil || d.IsDir() || path.Ext(name) != ".pyc" || !strings.Contains(compiled, ".opt-") {
			return err
		}
		module, _, _ := strings.Cut(compiled, ".cpython-")
		m, err := p.take(b, j, Ask{ByModule, path.Join(path.Dir(path.Dir(name)), module+".py")}, name, out)
		made = append(made, m)
		return err
	})
	return made, err
}

// compiledMode is py_compile's (importlib's _calc_mode and _write_atomic) under the umask of a maintainer script.
func compiledMode(source tree.Entry) uint32 { return (source.Mode | 0o200) & 0o644 }

// cache is where Python keeps the compiled form of a module (PEP 3147).
func (p Python) cache(module string) string {
	name := strings.TrimSuffix(path.Base(module), ".py")
	return path.Join(path.Dir(module), "__pycache__", name+".cpython-"+strings.ReplaceAll(p.Version, ".", "")+".pyc")
}

// sourceHeader is what a .pyc says of its source: no flags (its time is compared), time and size (PEP 552).
func sourceHeader(e tree.Entry) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 0)
	out = binary.LittleEndian.AppendUint32(out, uint32(e.MTime.Sec))
	return binary.LittleEndian.AppendUint32(out, uint32(e.Content.Size))
}
