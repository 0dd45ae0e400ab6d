package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
)

// ProbeResult says which accelerator runs amd64 guests faster here.
type ProbeResult struct {
	Accel    string        // "kvm" or "tcg"
	TCG, KVM time.Duration // time of the same small payload; 0 when it was not run or did not end
	Why      string        // one sentence for a person
}

// probeLimit ends one run of the payload. A machine where KVM needs longer than this for what
// takes TCG a fraction of a second has a /dev/kvm that is there and useless.
const probeLimit = 2 * time.Second

// Probe runs the same small guest under TCG and under KVM and returns the faster: a /dev/kvm can
// exist and run ring-0 code a hundred times slower than TCG does. Only amd64 on amd64 has a
// choice here; everything else is TCG at once.
func Probe(ctx context.Context, arch string) (ProbeResult, error) {
	if arch != "amd64" || runtime.GOARCH != "amd64" {
		return ProbeResult{Accel: "tcg", Why: "only TCG runs " + arch + " guests here"}, nil
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return ProbeResult{Accel: "tcg", Why: "KVM cannot be used: " + err.Error()}, nil
	}
	_ = f.Close() // opened to see whether it may be
	payload, cleanup, err := writePayload()
	if err != nil {
		return ProbeResult{}, err
	}
	defer cleanup()
	var r ProbeResult
	if r.TCG, err = timePayload(ctx, payload, "tcg", probeLimit); err != nil {
		// A busy machine: what always works is the choice that cannot be wrong.
		return ProbeResult{Accel: "tcg", Why: "TCG did not finish the probe: " + err.Error()}, ctx.Err()
	}
	r.KVM, err = timePayload(ctx, payload, "kvm", probeLimit)
	return r.judge(ctx, err)
}

func (r ProbeResult) judge(ctx context.Context, err error) (ProbeResult, error) {
	r.Accel = "tcg"
	var timeout *TimeoutError
	switch {
	case ctx.Err() != nil:
		return r, fmt.Errorf("timing KVM: %w", ctx.Err())
	case errors.As(err, &timeout):
		r.KVM, r.Why = 0, fmt.Sprintf("KVM did not end in %s what TCG did in %s", probeLimit, r.TCG.Round(time.Millisecond))
	case err != nil:
		r.KVM, r.Why = 0, "KVM does not work: "+err.Error()
	case r.KVM < r.TCG:
		r.Accel, r.Why = "kvm", fmt.Sprintf("KVM took %s, TCG %s", r.KVM.Round(time.Millisecond), r.TCG.Round(time.Millisecond))
	default:
		r.Why = fmt.Sprintf("TCG took %s, KVM %s", r.TCG.Round(time.Millisecond), r.KVM.Round(time.Millisecond))
	}
	return r, nil
}

// timePayload runs a boot sector until it resets the machine, which -no-reboot makes the end.
func timePayload(ctx context.Context, payload, accel string, limit time.Duration) (time.Duration, error) {
	m := Machine{Arch: "amd64", Board: "pc", Accel: accel, MemoryMiB: 64, NoReboot: true, TBSizeMiB: 32, boot: payload}
	begin := time.Now()
	run, err := Start(ctx, m, Options{Timeout: limit})
	if err != nil {
		return 0, err
	}
	err = run.Wait()
	return time.Since(begin), err
}

// bootSector counts down from 10 million in real mode and resets through the keyboard controller:
// enough work that an accelerator's speed shows, little enough for TCG to end in half a second.
func bootSector() []byte {
	code := []byte{
		0x66, 0xb9, 0, 0, 0, 0, // mov ecx, count
		0x66, 0x49, // dec ecx
		0x75, 0xfc, // jnz -4
		0xb0, 0xfe, // mov al, 0xfe
		0xe6, 0x64, // out 0x64, al
		0xf4,       // hlt
		0xeb, 0xfd, // jmp -3
	}
	binary.LittleEndian.PutUint32(code[2:], 10_000_000)
	sector := make([]byte, 512)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

func writePayload() (path string, cleanup func(), err error) {
	f, err := os.CreateTemp("", "edgebake-probe-*.img")
	if err != nil {
		return "", nil, fmt.Errorf("writing the probe's boot sector: %w", err)
	}
	cleanup = func() { _ = os.Remove(f.Name()) } // a left-over temporary file harms nobody
	_, err = f.Write(bootSector())
	if err := errors.Join(err, f.Close()); err != nil {
		cleanup()
		return "", nil, fmt.Errorf("writing the probe's boot sector: %w", err)
	}
	return f.Name(), cleanup, nil
}
