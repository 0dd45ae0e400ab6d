package standin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Programs are the stand-in programs for one architecture, static ELF files.
type Programs struct {
	Arch string
	// CRIO by version answers on CRI-O's socket.
	CRIO map[string][]byte
	// Keadm and EdgeCore join a node to a CloudCore.
	Keadm, EdgeCore []byte
	// Named only says that it is a stand-in for what it is named after.
	Named []byte
}

// The versions of CRI-O: the guide's, and the first one with a bundle for arm64.
const (
	crioGuide = "1.20.0"
	crioARM   = "1.20.3"
)

// BuildPrograms compiles them with the go command into dir. source is the directory of this package.
func BuildPrograms(ctx context.Context, source, dir, arch string) (Programs, error) {
	p := Programs{Arch: arch, CRIO: map[string][]byte{}}
	var err error
	for name, out := range map[string]*[]byte{"program": &p.Named, "keadm": &p.Keadm, "edgecore": &p.EdgeCore} {
		if *out, err = build(ctx, source, dir, arch, name, ""); err != nil {
			return p, err
		}
	}
	for _, version := range []string{crioGuide, crioARM} {
		if p.CRIO[version], err = build(ctx, source, dir, arch, "crio", version); err != nil {
			return p, err
		}
	}
	return p, nil
}

func build(ctx context.Context, source, dir, arch, name, version string) ([]byte, error) {
	out := filepath.Join(dir, name+"-"+version+"-"+arch)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", out, "./"+name)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the stand-in of %s for %s: %w\n%s", name, arch, err, text)
	}
	return os.ReadFile(out)
}
