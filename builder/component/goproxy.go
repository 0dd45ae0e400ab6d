package component

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
)

// VendorModules writes what the go command downloads to build the lock's Go modules into dir, as a
// file tree that a GOPROXY serves (go.dev/ref/mod#goproxy-protocol). work is an empty directory for
// the downloads. The tree is verified as ImportModules does it.
func (k Kit) VendorModules(ctx context.Context, l lock.Lock, dir, work string) error {
	modules, err := k.modules(l)
	if err != nil || len(modules) == 0 {
		return err
	}
	proxies, err := k.proxies(ctx)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := load(ctx, m, l.Arch, work, filepath.Join(work, "modcache"), proxies); err != nil {
			return fmt.Errorf("vendoring Go module %s@%s: %w", m.pin.Module, m.pin.Version, err)
		}
	}
	from := filepath.Join(work, "modcache", "cache", "download")
	sums, err := goSums(from, pinsOf(modules))
	if err != nil {
		return err
	}
	if err := copyModules(from, dir, sums); err != nil {
		return fmt.Errorf("vendoring Go modules: %w", err)
	}
	return verifyModules(dir, pinsOf(modules))
}

// proxies are the user's module cache and, unless offline, the user's GOPROXY.
func (k Kit) proxies(ctx context.Context) (string, error) {
	cache, err := k.Go.moduleCache(ctx)
	if err != nil {
		return "", err
	}
	have := fileURL(filepath.Join(cache, "cache", "download"))
	if k.Go.Offline {
		return have, nil
	}
	proxy, err := k.Go.run(ctx, nil, "env", "GOPROXY")
	return have + "," + strings.TrimSpace(string(proxy)), err
}

// ImportModules brings the Go modules that the lock's components are built from out of the file tree
// dir, which VendorModules made, into the user's module cache. Nothing else is asked: a module must
// have the sum in the lock, and its dependencies those in its go.sum.
func (k Kit) ImportModules(ctx context.Context, l lock.Lock, dir, work string) error {
	modules, err := k.modules(l)
	if err != nil || len(modules) == 0 {
		return err
	}
	if err := verifyModules(dir, pinsOf(modules)); err != nil {
		return err
	}
	cache, err := k.Go.moduleCache(ctx)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := load(ctx, m, l.Arch, work, cache, fileURL(dir)); err != nil {
			return fmt.Errorf("taking Go module %s@%s from the vendored inputs: %w", m.pin.Module, m.pin.Version, err)
		}
	}
	return nil
}

// pinned is a Go module of the profile with its pin.
type pinned struct {
	module profile.GoModule
	pin    lock.Component
}

func (k Kit) modules(l lock.Lock) ([]pinned, error) {
	var out []pinned
	for i, c := range k.Profile.Profile.Components {
		r, err := k.recipe(i)
		if err != nil {
			return nil, err
		}
		if r.module == nil {
			continue
		}
		pin, ok := find(l.Components, c.Name)
		if !ok {
			return nil, fmt.Errorf("reading component %s: the lock has no such component; lock again", c.Name)
		}
		out = append(out, pinned{*r.module, pin})
	}
	return out, nil
}

func pinsOf(modules []pinned) []lock.Component {
	var out []lock.Component
	for _, m := range modules {
		out = append(out, m.pin)
	}
	return out
}

// load lets the go command find and download all packages of a build, without building them. It
// asks no checksum database: verifyModules has the sums.
func load(ctx context.Context, m pinned, arch, gopath, modcache, proxy string) error {
	// What is in the cache can be removed again, by its owner, without a chmod.
	env := append(installEnv(gopath, m.pin, arch), "GOFLAGS=-mod=mod -modcacherw", "GOMODCACHE="+modcache, "GOPROXY="+proxy, "GOSUMDB=off")
	_, err := Go{}.run(ctx, env, append([]string{"install", "-n"}, installArgs(m.module, m.pin)...)...)
	return err
}

// copyModules copies what a GOPROXY serves and sums vouches for out of a module cache. What else is
// there is of newer versions, which the go command asks for warnings. What a server says of a version
// besides its name (when it was made, where it is from) does not matter, and may change.
func copyModules(from, to string, sums map[string]string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "sumdb" && filepath.Dir(name) == from {
				return fs.SkipDir
			}
			return nil
		}
		below, err := filepath.Rel(from, name)
		if err != nil || sums[sumKey(from, name)] == "" {
			return err
		}
		target := filepath.Join(to, below)
		switch filepath.Ext(name) {
		case ".info":
			return writeInfo(name, target)
		case ".mod", ".zip":
			return copyFile(name, target)
		}
		return nil
	})
}

func writeInfo(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var info struct{ Version string }
	if err := json.Unmarshal(data, &info); err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	if data, err = json.Marshal(info); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return err
	}
	return list(filepath.Join(filepath.Dir(to), "list"), info.Version)
}

// list adds a version to those that a GOPROXY has of a module. The go command asks for the latest
// to see whether the module is deprecated.
func list(name, version string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(version + "\n"); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
