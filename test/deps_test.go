// Package test holds the rules that no single package can: imports, determinism, style, and the
// command line as a whole.
package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/edgebake/edgebake"

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,CgoFiles", module+"/...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		list = append(list, p)
	}
}

// ranks orders the packages: imports go from a higher number to a lower one. A package that is
// not here fails the test: whoever adds one decides where it stands.
var ranks = map[string]int{
	"profiles": 0, "overlays": 0, "builder/progress": 0, "builder/durable": 0,
	"builder/disk/sparse": 5, "builder/maintscript": 5, "builder/sha256mb": 5, "builder/cas": 10, "builder/image/decode": 25,
	"builder/profile": 20, "builder/tree": 20, "builder/guest/vm": 20, "cloudinit": 20,
	"cloudinit/token": 20, "cloudinit/inventory": 25,
	"builder/profile/schemagen/schema": 25, "builder/profile/schemagen": 26,
	"builder/fetch": 30, "builder/deb": 30, "builder/guest/initramfs": 30, "builder/native": 30,
	"builder/disk/ext4": 30, "builder/disk/fat": 30, "builder/system": 30,
	"builder/apt": 40, "builder/bundle": 40, "builder/disk": 40,
	"builder/lock":      50,
	"builder/component": 60, "builder/boot": 60,
	"builder/image": 35, "builder/image/sums": 45,
	"builder/guest": 70, "builder/artifact": 70, "builder/lint": 70,
	"builder/verify": 80,
	"builder":        90,
	"test/cloudcore": 95, // the one test package in the product: edgebake dev cloudcore
	"cmd/edgebake":   100, "test": 110,
}

func rankOf(name string) (int, bool) {
	r, ok := ranks[name]
	if !ok && strings.HasPrefix(name, "test/") {
		return ranks["test"], true
	}
	return r, ok
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range listPackages(t) {
		from, ok := rankOf(p.name())
		if !ok {
			t.Errorf("%s has no rank: add it to ranks in test/deps_test.go", p.name())
			continue
		}
		for _, path := range p.Imports {
			name, ours := strings.CutPrefix(path, module+"/")
			if !ours || from == ranks["test"] {
				continue
			}
			if to, ok := rankOf(name); ok && to >= from {
				t.Errorf("%s (rank %d) imports %s (rank %d): imports go down", p.name(), from, name, to)
			}
		}
	}
}

// allowedImports says who may import what reaches outside of the process.
var allowedImports = map[string][]string{
	"net/http": {"builder/fetch", "cloudinit/token", "test"},
	"net":      {"builder/fetch", "test"},
	"os/exec":  {"builder/guest/vm", "builder/native", "builder/component", "cloudinit/token", "test"},
	"unsafe":   {},
}

func TestOnlyAFewReachOutside(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, path := range p.Imports {
			allowed, ruled := allowedImports[path]
			isTest := strings.HasPrefix(p.name(), "test/")
			if ruled && !isTest && !slices.Contains(allowed, p.name()) {
				t.Errorf("%s imports %s; only %v may", p.name(), path, allowed)
			}
		}
	}
}

func TestNoCgo(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C") {
			t.Errorf("%s uses cgo", p.name())
		}
	}
}
