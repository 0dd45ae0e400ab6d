package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/test/faulty"
)

// A crashSite is a workshop whose lock and bake are known, call by call and byte by byte, when all goes well.
type crashSite struct {
	*workshop
	seed  uint64
	calls int
	kinds map[string]int
	// files are the digests of what is left beside the store, by path; the report differs each time.
	files map[string]cas.Digest
	// results are those of the store that do not say how files stand.
	results map[string]cas.Digest
	digest  string
}

func newCrashSite(t *testing.T) *crashSite {
	s := &crashSite{workshop: newWorkshop(t, program(t)), seed: rand.Uint64(), kinds: map[string]int{}}
	s.size = 48 // what does not matter here should not take long
	s.want()
	s.qemu(goodGuest)
	return s
}

func (s *crashSite) prepare() {
	s.t.Helper()
	for _, note := range []bool{true, false} { // two, to see what differs from run to run
		c := s.newCase(s.t, "good")
		code, stderr, err := c.run(func(op faulty.Op) faulty.Answer {
			if note {
				s.calls++
				s.kinds[kindOf(op)]++
			}
			return faulty.Answer{}
		})
		if err != nil || code != 0 {
			s.t.Fatalf("exit code %d, %v\n%s", code, err, stderr)
		}
		files, results := c.left(), c.results()
		if note {
			s.digest, s.files, s.results = string(files["out/node.img"]), files, results
		}
		for path := range s.results {
			if results[path] != s.results[path] {
				delete(s.results, path)
			}
		}
		if !maps.Equal(files, s.files) || len(s.results) == 0 {
			s.t.Fatalf("one run leaves %v, the next one %v", s.files, files)
		}
		c.remove()
	}
}

// A crash is one run of lock and bake, in a directory and with a store of its own.
type crash struct {
	*crashSite
	t          testing.TB
	dir, store string
	all        string // has both
}

func (s *crashSite) newCase(t testing.TB, name string) *crash {
	t.Helper()
	dir := filepath.Join(s.dir, strings.ReplaceAll(t.Name(), "/", "_"), name)
	must(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{s.profile, s.keyring} {
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(name)), read(t, name), 0o644))
	}
	return &crash{crashSite: s, t: t, dir: dir, store: filepath.Join(dir, "store"), all: dir}
}

// shareStore gives several runs one store; it is named from the directory of the test's runs on.
func (c *crash) shareStore(name string) {
	c.all = filepath.Dir(c.dir)
	c.store = filepath.Join(filepath.Dir(c.all), name)
}

func (c *crash) remove() { must(c.t, errors.Join(os.RemoveAll(c.dir), os.RemoveAll(c.store))) }

func (c *crash) command(args ...string) *exec.Cmd {
	w := *c.workshop
	w.dir, w.store, w.profile = c.dir, c.store, "node.yaml"
	return w.command(w.files(), args...)
}

// run locks, and bakes if that went well; -1 is the exit code of a run that was killed.
func (c *crash) run(decide faulty.Decide) (code int, stderr string, err error) {
	for _, args := range [][]string{{"lock"}, {"bake", "--no-boot"}} {
		var said bytes.Buffer
		cmd := c.command(args...)
		cmd.Stderr = &said
		err := faulty.Run(cmd, c.all, decide)
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return 0, said.String(), err
		}
		stderr = said.String()
		if code = cmd.ProcessState.ExitCode(); code != 0 {
			return code, stderr, nil
		}
	}
	return 0, stderr, nil
}

// nothingPartial wants every file that has a final name to be the whole of what it should be.
func (c *crash) nothingPartial() error {
	var faults []error
	for path, digest := range c.results() {
		if want, known := c.crashSite.results[path]; known && want != digest {
			faults = append(faults, fmt.Errorf("result %s has other bytes", path))
		}
	}
	faults = append(faults, c.blobs())
	for path, digest := range c.left() {
		want, final := c.files[path]
		switch {
		case path == "out/"+artifact.SumsName:
			faults = append(faults, c.sums())
		case final && want != digest:
			faults = append(faults, fmt.Errorf("%s has other bytes", path))
		}
	}
	if report, err := os.ReadFile(filepath.Join(c.dir, "out", "report.json")); err == nil && !json.Valid(report) {
		faults = append(faults, fmt.Errorf("report.json is %q", report))
	}
	return errors.Join(faults...)
}

// blobs wants every blob to have the bytes that it is named after.
func (c *crash) blobs() error {
	return c.walk(filepath.Join(c.store, "blobs"), func(path string, digest cas.Digest) error {
		if name := filepath.Base(filepath.Dir(path)) + filepath.Base(path); name != string(digest) {
			return fmt.Errorf("blob %s has SHA-256 %s", name, digest)
		}
		return nil
	})
}

// sums wants every line of SHA256SUMS to be true: it is written several times in a bake, each time whole.
func (c *crash) sums() error {
	lines, err := artifact.ReadSums(filepath.Join(c.dir, "out"))
	for _, line := range lines {
		if want := c.files["out/"+line.Name]; line.Name != "report.json" && want != line.SHA256 {
			err = errors.Join(err, fmt.Errorf("%s says that %s has %s", artifact.SumsName, line.Name, line.SHA256))
		}
	}
	return err
}

// again wants the next run to succeed on what is there, to make the same bytes, and to leave nothing that does not
// belong there; gc then has the rest of the store.
func (c *crash) again() error {
	for _, args := range [][]string{{"lock"}, {"bake", "--no-boot"}} {
		if out, err := c.command(args...).CombinedOutput(); err != nil {
			return fmt.Errorf("the next %s: %w\n%s", args[0], err, out)
		}
	}
	if left := c.left(); !maps.Equal(left, c.files) {
		return fmt.Errorf("the next run leaves %v instead of %v", left, c.files)
	}
	store, err := cas.Open(c.store)
	if err != nil {
		return err
	}
	if _, err := store.GC(c.t.Context(), cas.Policy{}); err != nil {
		return err
	}
	rest, err := os.ReadDir(filepath.Join(c.store, "tmp"))
	if len(rest) > 0 {
		err = fmt.Errorf("gc leaves %v", rest)
	}
	return errors.Join(err, c.nothingPartial())
}

// left are the digests of all files but the store's and the report, by path.
func (c *crash) left() map[string]cas.Digest {
	c.t.Helper()
	files := map[string]cas.Digest{}
	must(c.t, c.walk(c.dir, func(path string, digest cas.Digest) error {
		if path != "out/report.json" && !strings.HasPrefix(path, "store/") {
			files[path] = digest
		}
		return nil
	}))
	return files
}

func (c *crash) results() map[string]cas.Digest {
	c.t.Helper()
	files := map[string]cas.Digest{}
	must(c.t, c.walk(filepath.Join(c.store, "results"), func(path string, digest cas.Digest) error {
		files[path] = digest
		return nil
	}))
	return files
}

// walk visits the files below a directory, if there is one.
func (c *crash) walk(dir string, visit func(path string, digest cas.Digest) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		a, err := artifact.HashFile(c.t.Context(), path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		return errors.Join(err, visit(name, a.SHA256))
	})
}

// kindOf leaves out of a call what differs from file to file and from run to run.
func kindOf(op faulty.Op) string {
	path := op.Path
	for _, r := range []struct{ pattern, by string }{
		{`(blobs|results)/[0-9a-f]{2}(/[0-9a-f]{62})?$`, "$1/#"}, {`[0-9a-f]{64}`, "#"}, {`[0-9]{4,}`, "#"},
	} {
		path = regexp.MustCompile(r.pattern).ReplaceAllString(path, r.by)
	}
	return op.Call + " " + path
}
