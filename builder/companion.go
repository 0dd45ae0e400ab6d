package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/native"
	"github.com/edgebake/edgebake/builder/tree"
)

// companion does on this machine, beside the guest, what the guest's emulated processor would take long for. When the guest
// has ended, what it made is added to the system. Nil does nothing.
type companion struct {
	job    native.Job
	jobs   int
	out    *native.Files
	python native.Python
	// calls of py3compile that nobody makes in the guest; later are those that packages make there.
	calls, later []string
	// kernels whose modules are listed.
	kernels []string

	inPlace, maybe []native.Module
	lists          []tree.Entry
}

// companionError says that the companion failed after it had begun.
type companionError struct{ err error }

func (e *companionError) Error() string {
	return "running programs of the image on this machine: " + e.err.Error()
}
func (e *companionError) Unwrap() error { return e.err }

// programs unpacks what the lock has for this machine.
func (c Config) programs(ctx context.Context, src *tree.Reader) (tree.Tree, error) {
	list := c.Lock.Host[runtime.GOARCH]
	if len(list) == 0 || c.Plain {
		return tree.Tree{}, nil
	}
	extracted, err := c.extract(ctx, list)
	if err != nil {
		return tree.Tree{}, err
	}
	in, err := deb.Install(extracted, src, runtime.GOARCH, tree.Time{Sec: c.Lock.Epoch})
	return in.Tree, err
}

// companion looks at what it could do of w, and whether this machine allows it. It returns what is left to the guest.
func (c Config) companion(ctx context.Context, dir string, w work, src *tree.Reader) (work, *companion, error) {
	if w.programs.Len() == 0 {
		return w, nil, nil
	}
	k := &companion{jobs: c.Jobs, job: native.Job{Programs: w.programs, System: w.before, Reader: src, Dir: filepath.Join(dir, "native"), Epoch: c.Lock.Epoch},
		python: native.Python{Version: pythonVersion(w.programs), Program: initramfs.ByteCompile()}}
	if err := os.Mkdir(k.job.Dir, 0o755); err != nil {
		return w, nil, err
	}
	if err := native.Probe(ctx, k.job); err != nil {
		c.Report.Detail("the guest does all, because this machine can't: %v", err)
		return w, nil, ctx.Err()
	}
	var err error
	if k.kernels, err = kernels(k.job); err != nil {
		return w, nil, err
	}
	if k.out, err = native.NewFiles(k.job.Dir, src, c.Lock.Epoch); err != nil {
		return w, nil, err
	}
	w, err = k.relieve(w)
	return w, k, err
}

// relieve takes from the guest's job what the companion does.
func (k *companion) relieve(w work) (work, error) {
	for _, version := range k.kernels {
		w.job.Made = append(w.job.Made, guest.Call{Program: "depmod", Arguments: version})
	}
	if k.python.Version == "" {
		return w, nil
	}
	k.calls, k.later = callLines(w.short.compile), callLines(w.short.later)
	w.job.HostPython, w.job.Compile = k.python.Version, nil
	short := *w.short
	disk, err := tree.With(short.disk, tree.Time{Sec: k.job.Epoch}, tree.Entry{Path: forGuest, Type: tree.Dir, Mode: 0o755})
	short.disk, w.short = disk, &short
	return w, err
}

// pythonVersion is that of the program, as in "3.11".
func pythonVersion(programs tree.Tree) string {
	for i := range programs.Len() {
		name, ok := strings.CutPrefix(programs.At(i).Path, "usr/bin/python")
		if ok && strings.HasPrefix(name, "3.") && strings.Trim(name[2:], "0123456789") == "" {
			return name
		}
	}
	return ""
}

// kernels are those whose package has just depmod called for their modules, when depmod's configuration is that of packages.
func kernels(j native.Job) ([]string, error) {
	if _, ok := j.Programs.Lookup("usr/sbin/depmod"); !ok || len(tree.Sub(j.System, "etc/depmod.d").Entries()) > 1 {
		return nil, nil
	}
	var out []string
	for i := range j.System.Len() {
		e := j.System.At(i)
		version, image := strings.CutPrefix(e.Path, infoDir+"/linux-image-")
		version, postinst := strings.CutSuffix(version, ".postinst")
		if !image || !postinst {
			continue
		}
		script, err := readScript(e, j.Reader)
		if err != nil {
			return nil, err
		}
		if strings.Contains(script, "\nversion="+version+"\n") && strings.Contains(script, "\ndepmod $version\n") {
			out = append(out, version)
		}
	}
	return out, nil
}

// blobs are what the entries that add adds refer to.
func (k *companion) blobs() []cas.Digest {
	if k == nil {
		return nil
	}
	return []cas.Digest{k.out.Name()}
}

func (k *companion) close() {
	if k != nil {
		_ = k.out.Close() // it was only read
	}
}

// work makes what the guest leaves out, and compiles what it will ask for.
func (k *companion) work(ctx context.Context) error {
	if k == nil {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, k.jobs))
	var own, later []native.Module
	if k.python.Version != "" {
		g.Go(func() (err error) { k.inPlace, err = k.python.Calls(ctx, k.job, "calls", k.calls, k.out); return err })
		g.Go(func() (err error) { own, err = k.python.Own(ctx, k.job, k.out); return err })
		g.Go(func() (err error) {
			if later, err = k.python.Calls(ctx, k.job, "later", k.later, k.out); err != nil {
				later = nil // what packages really ask for is compiled when they have
			}
			return ctx.Err()
		})
	}
	g.Go(func() error {
		for _, version := range k.kernels {
			list, err := native.Depmod(ctx, k.job, version, k.out)
			if err != nil {
				return err
			}
			k.lists = append(k.lists, list...)
		}
		return nil
	})
	err := g.Wait()
	k.maybe = slices.Concat(own, later)
	if err != nil {
		return &companionError{err}
	}
	return nil
}

// forGuest is a directory of the scratch disk that is no part of the system; asked is what bytecompile.py writes into it: lines of
// how Python's compiler is called, and for what.
const (
	forGuest = ".edgebake"
	asked    = forGuest + "/asked"
)

// add completes the system that the guest left.
func (k *companion) add(ctx context.Context, after tree.Tree, src *tree.Reader) (tree.Tree, error) {
	if k == nil {
		return after, nil
	}
	want, err := k.asked(after, src)
	if err != nil {
		return tree.Tree{}, err
	}
	made, missing := k.found(after, want)
	rest, err := k.python.Compile(ctx, native.Job{Programs: k.job.Programs, System: after, Reader: src, Dir: k.job.Dir, Epoch: k.job.Epoch}, missing, k.out)
	if err != nil {
		return tree.Tree{}, &companionError{err}
	}
	added := slices.Clone(k.lists)
	for _, m := range slices.Concat(made, rest) {
		added = append(added, m.Entry)
	}
	return with(tree.Without(after, forGuest), added, tree.Time{Sec: k.job.Epoch})
}

// maxAsked is far above the modules that a system has.
const maxAsked = 64 << 20

// asked are the modules that somebody wants compiled, and how, each once.
func (k *companion) asked(after tree.Tree, src *tree.Reader) ([]native.Ask, error) {
	e, ok := after.Lookup(asked)
	if !ok {
		return nil, nil
	}
	if e.Type != tree.File || e.Content.Size > maxAsked {
		return nil, fmt.Errorf("reading what the guest asks for: /%s is no file of at most %d bytes", asked, maxAsked)
	}
	in, err := src.Open(e.Content)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("reading what the guest asks for: %w", err)
	}
	return native.ParseAsks(string(text)), nil
}

// found are the modules that are compiled already, from the sources as they are, and what is missing.
func (k *companion) found(after tree.Tree, want []native.Ask) (made []native.Module, missing []native.Ask) {
	by := map[native.Ask]native.Module{}
	for _, m := range k.maybe {
		by[m.Ask] = m
	}
	for _, m := range k.inPlace {
		if m.Of(after) {
			made = append(made, m)
		} else {
			missing = append(missing, m.Ask)
		}
	}
	for _, a := range want {
		if m, ok := by[a]; ok && m.Of(after) {
			made = append(made, m)
		} else {
			missing = append(missing, a)
		}
	}
	return made, missing
}

// with adds files as a program in the guest would have: the directories in which something is new have the time of now.
func with(t tree.Tree, added []tree.Entry, now tree.Time) (tree.Tree, error) {
	touched := map[string]bool{}
	for _, e := range added {
		for dir := path.Dir(e.Path); !touched[dir]; dir = path.Dir(dir) {
			at, ok := t.Lookup(dir)
			if !ok {
				continue // it is new, too
			}
			touched[dir], at.MTime = true, now
			added = append(added, at)
			break
		}
	}
	return tree.With(t, now, added...)
}

// beside runs the guest, and its companion.
func (k *companion) beside(ctx context.Context, run func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return run(ctx) })
	g.Go(func() error { return k.work(ctx) })
	return g.Wait()
}

func failedBeside(err error) bool {
	var beside *companionError
	return errors.As(err, &beside)
}
