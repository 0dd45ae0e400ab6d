package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const goModuleVersion = "component.gomodule/2"

// Go runs the go command; the zero value is the one on the PATH, online.
type Go struct {
	// Offline forbids the command the network.
	Offline bool
}

// Resolve pins a Go module: it is downloaded and its sum compared with the profile's.
func (g Go) Resolve(ctx context.Context, m profile.GoModule) (lock.Component, error) {
	toolchain, err := g.version(ctx)
	if err != nil {
		return lock.Component{}, err
	}
	if err := g.verify(ctx, m.Module, m.Version, m.Sum, toolchain); err != nil {
		return lock.Component{}, err
	}
	return lock.Component{Module: m.Module, Version: m.Version, Sum: m.Sum, Go: toolchain}, nil
}

// Build compiles the module's programs for arch and returns them as a tree.
// The same pinned module, toolchain and profile give the same bytes.
func (g Go) Build(ctx context.Context, store *cas.Store, m profile.GoModule, pin lock.Component, arch string, epoch int64) (tree.Tree, bool, error) {
	key, err := goModuleKey(m, pin, arch, epoch)
	if err != nil {
		return tree.Tree{}, false, err
	}
	if t, ok := tree.Saved(store, key); ok {
		return t, true, nil
	}
	if err := g.verify(ctx, pin.Module, pin.Version, pin.Sum, pin.Go); err != nil {
		return tree.Tree{}, false, err
	}
	dir, release, err := store.TempDir("gomodule")
	if err != nil {
		return tree.Tree{}, false, err
	}
	defer release()
	if err := g.install(ctx, dir, m, pin, arch); err != nil {
		return tree.Tree{}, false, err
	}
	t, err := programs(store, filepath.Join(dir, "bin"), m, epoch)
	if err != nil {
		return tree.Tree{}, false, err
	}
	return t, false, tree.Save(store, key, t)
}

func goModuleKey(m profile.GoModule, pin lock.Component, arch string, epoch int64) (cas.Digest, error) {
	b, err := json.Marshal([]any{goModuleVersion, m, pin.Go, arch, epoch})
	return cas.Of(b), err
}

func (g Go) version(ctx context.Context) (string, error) {
	out, err := g.run(ctx, nil, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

func (g Go) verify(ctx context.Context, module, version, sum, toolchain string) error {
	out, err := g.run(ctx, []string{"GOTOOLCHAIN=" + toolchain}, "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return fmt.Errorf("downloading Go module %s@%s: %w", module, version, err)
	}
	var got struct{ Sum string }
	if err := json.Unmarshal(out, &got); err != nil {
		return fmt.Errorf("reading what go mod download says of %s@%s: %w", module, version, err)
	}
	if got.Sum != sum {
		return &cas.MismatchError{Name: "Go module " + module + "@" + version, Want: cas.Digest(sum), Got: cas.Digest(got.Sum)}
	}
	return nil
}

// install runs "go install" with a GOPATH of its own below dir, because a cross build refuses
// GOBIN, and with the user's module cache.
func (g Go) install(ctx context.Context, dir string, m profile.GoModule, pin lock.Component, arch string) error {
	cache, err := g.moduleCache(ctx)
	if err != nil {
		return err
	}
	env := append(installEnv(dir, pin, arch), "GOMODCACHE="+cache)
	if _, err := g.run(ctx, env, append([]string{"install"}, installArgs(m, pin)...)...); err != nil {
		return fmt.Errorf("building Go module %s@%s for %s: %w", m.Module, pin.Version, arch, err)
	}
	return nil
}

// installEnv is the environment that decides what is built; what is built goes below gopath.
func installEnv(gopath string, pin lock.Component, arch string) []string {
	return []string{"GOTOOLCHAIN=" + pin.Go, "GOPATH=" + gopath, "GOBIN=", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=mod", "GOWORK=off", "GOEXPERIMENT="}
}

// installArgs are the flags of "go install" and the packages.
func installArgs(m profile.GoModule, pin lock.Component) []string {
	args := []string{"-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w -buildid= " + m.LDFlags)}
	for _, p := range m.Packages {
		args = append(args, path.Join(m.Module, p)+"@"+pin.Version)
	}
	return args
}

// goStops is how long an interrupted go may take to end: it waits for the compilers that it has started.
const goStops = 10 * time.Second

func (g Go) run(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), env...)
	if g.Offline && args[0] != "env" {
		cache, err := g.moduleCache(ctx)
		if err != nil {
			return nil, err
		}
		// What is there was verified when it came. GOPROXY=off would not do: it also forbids to ask
		// which versions there are, and so whether the module is deprecated.
		cmd.Env = append(cmd.Env, "GOPROXY="+fileURL(filepath.Join(cache, "cache", "download")), "GOSUMDB=off")
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Interrupted it removes its files; killed it would leave them.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, goStops
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("running go %s: %w", args[0], ctx.Err())
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &MissingGoError{}
	}
	if err != nil {
		return nil, fmt.Errorf("running go %s: %w: %s", args[0], err, lastLines(stderr.String(), 10))
	}
	return stdout.Bytes(), nil
}

// moduleCache is the user's GOMODCACHE.
func (g Go) moduleCache(ctx context.Context) (string, error) {
	out, err := g.run(ctx, nil, "env", "GOMODCACHE")
	return strings.TrimSpace(string(out)), err
}

func fileURL(dir string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String()
}

// MissingGoError says that there is no go command.
type MissingGoError struct{}

func (e *MissingGoError) Error() string {
	return "building Go modules: the go command is not on the PATH; install Go (https://go.dev/dl)"
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// programs puts the built files into the store. A cross build has them in bin/linux_ARCH.
func programs(store *cas.Store, bin string, m profile.GoModule, epoch int64) (tree.Tree, error) {
	b := tree.NewBuilder(tree.Time{Sec: epoch})
	err := filepath.WalkDir(bin, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(m.Exclude, d.Name()) {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		digest, size, err := store.Put(f)
		if err != nil {
			return err
		}
		b.Add(tree.Entry{Path: path.Join(strings.TrimPrefix(m.Destination, "/"), d.Name()), Type: tree.File, Mode: 0o755,
			MTime: tree.Time{Sec: epoch}, Content: tree.BlobContent(digest, 0, size)})
		return nil
	})
	if err != nil {
		return tree.Tree{}, fmt.Errorf("keeping the programs of %s: %w", m.Module, err)
	}
	return b.Tree()
}
