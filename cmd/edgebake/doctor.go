package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/profile"
)

// finding is one thing that doctor looked at.
type finding struct {
	Topic string `json:"topic"`
	// State is ok, warning (something that edgebake can do without) or missing.
	State string `json:"state"`
	Text  string `json:"text"`
	// Remedy says what to do.
	Remedy string `json:"remedy,omitempty"`
}

const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateMissing = "missing"
)

func newDoctor(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "say whether this machine can bake and boot", Args: exactly(0, ""),
		Long: long(doctorLong, "edgebake doctor --json"),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), env) },
	}
}

func runDoctor(ctx context.Context, env *environment) error {
	var all []finding
	for _, look := range doctorChecks() {
		found := look(ctx, env)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		all = append(all, found...)
	}
	if err := env.printFindings(all); err != nil {
		return err
	}
	for _, f := range all {
		if f.State == stateMissing {
			return silentError{}
		}
	}
	return nil
}

func (env *environment) printFindings(all []finding) error {
	if env.settings.json {
		return env.printJSON(all)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.State, f.Topic, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", f.Remedy)
		}
	}
	return w.Flush()
}

// boards lists the machines that boots use, by architecture.
func boards() map[string][]string {
	return map[string][]string{"arm64": {"virt", "raspi3b", "raspi4b"}, "amd64": {"q35"}}
}

func checkQEMU(ctx context.Context, _ *environment) []finding {
	var all []finding
	for _, arch := range []string{"arm64", "amd64"} {
		topic := "QEMU for " + arch
		path, version, err := vm.Find(arch)
		var missing *vm.MissingQEMUError
		switch {
		case errors.As(err, &missing):
			all = append(all, finding{topic, stateMissing, missing.Binary + " is not in PATH",
				"apt-get install " + strings.Join(missing.Packages, " ")})
			continue
		case err != nil:
			all = append(all, finding{topic, stateMissing, err.Error(), "reinstall QEMU"})
			continue
		}
		all = append(all, finding{Topic: topic, State: stateOK, Text: "version " + version + ", " + path})
		all = append(all, checkBoards(ctx, arch, path)...)
	}
	return all
}

func checkBoards(ctx context.Context, arch, path string) []finding {
	var have, lack []string
	for _, board := range boards()[arch] {
		ok, err := vm.HasBoard(ctx, path, board)
		if err != nil {
			return []finding{{"machines for " + arch, stateWarning, err.Error(), ""}}
		}
		if ok {
			have = append(have, board)
		} else {
			lack = append(lack, board)
		}
	}
	f := finding{Topic: "machines for " + arch, State: stateOK, Text: strings.Join(have, ", ")}
	if len(lack) > 0 {
		f.Text += "; this QEMU has no " + strings.Join(lack, ", ")
		f.State, f.Remedy = stateWarning, "only boots with --machine "+strings.Join(lack, ", ")+" need it (raspi4b came with QEMU 9.0)"
	}
	return []finding{f}
}

// firmwareFiles are the places of UEFI firmware for amd64 in Debian and Ubuntu.
func firmwareFiles() []string {
	return []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"}
}

func checkFirmware(context.Context, *environment) []finding {
	for _, path := range firmwareFiles() {
		if _, err := os.Stat(path); err == nil {
			return []finding{{Topic: "UEFI firmware", State: stateOK, Text: path}}
		}
	}
	return []finding{{"UEFI firmware", stateWarning, "none of " + strings.Join(firmwareFiles(), ", "),
		"apt-get install ovmf, to boot amd64 images"}}
}

// checkAccelerator times KVM against TCG: a /dev/kvm can exist and be slower.
func checkAccelerator(ctx context.Context, _ *environment) []finding {
	result, err := vm.Probe(ctx, "amd64")
	if err != nil {
		return []finding{{"accelerator", stateWarning, err.Error(), ""}}
	}
	text := result.Accel + ": " + result.Why
	if result.TCG > 0 || result.KVM > 0 {
		text += fmt.Sprintf(" (TCG %s, KVM %s)", result.TCG.Round(time.Millisecond), result.KVM.Round(time.Millisecond))
	}
	return []finding{{Topic: "accelerator", State: stateOK, Text: text}}
}

// checkGo looks for go, which builds components that are Go modules.
func checkGo(_ context.Context, env *environment) []finding {
	for _, dir := range filepath.SplitList(env.getenv("PATH")) {
		path := filepath.Join(dir, "go")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return []finding{{Topic: "Go", State: stateOK, Text: path}}
		}
	}
	return []finding{{"Go", stateWarning, "go is not in PATH", "install it to bake profiles with components that are Go modules"}}
}

// wantFree is what a cold bake needs at its peak: downloads, packages repacked without
// compression, the scratch disk and the image.
const wantFree = 8 << 30

func checkDisk(_ context.Context, env *environment) []finding {
	dir := env.settings.store
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return []finding{{"disk", stateWarning, fmt.Sprintf("asking for free space at %s: %v", dir, err), ""}}
	}
	free := int64(s.Bavail) * s.Bsize
	f := finding{Topic: "disk", State: stateOK, Text: fmt.Sprintf("%.1f GiB free at the store %s", float64(free)/(1<<30), env.settings.store)}
	if free < wantFree {
		f.State = stateWarning
		f.Remedy = fmt.Sprintf("a cold bake wants %s: edgebake gc, or --store DIR on another disk", profile.Size(wantFree))
	}
	return []finding{f}
}

const doctorLong = `doctor looks at what baking and booting need: QEMU with its machines, UEFI firmware, KVM timed
against TCG, Go, free disk at the store, the archives that the built-in profiles name (at the
addresses where a bake would look), and the clock. It exits with 1 when something is missing that
a bake can't do without.`

func doctorChecks() []func(context.Context, *environment) []finding {
	return []func(context.Context, *environment) []finding{checkQEMU, checkFirmware, checkAccelerator, checkGo, checkDisk, checkNetwork}
}
