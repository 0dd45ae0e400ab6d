package vm

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/oracle"
)

func TestProbePayloadEndsUnderTCG(t *testing.T) {
	oracle.Need(t, "qemu-system-x86_64")
	payload, cleanup, err := writePayload()
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	took, err := timePayload(context.Background(), payload, "tcg", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("TCG took %s", took)
}

func TestProbeChooses(t *testing.T) {
	second := time.Second
	cases := []struct {
		name     string
		tcg, kvm time.Duration
		err      error
		want     string
	}{
		{"KVM faster", second, second / 10, nil, "kvm"},
		{"KVM slower", second / 10, second, nil, "tcg"},
		{"KVM hangs", second / 10, probeLimit, &TimeoutError{Limit: probeLimit}, "tcg"},
		{"KVM refuses", second / 10, 0, errors.New("failed to set MSR 0x10a"), "tcg"},
	}
	for _, c := range cases {
		r, err := ProbeResult{TCG: c.tcg, KVM: c.kvm}.judge(context.Background(), c.err)
		if err != nil || r.Accel != c.want || r.Why == "" {
			t.Errorf("%s: got %+v, %v; want %s", c.name, r, err, c.want)
		}
	}
}

// TestStartEndsWithItsContext holds a machine that would never end by itself.
func TestStartEndsWithItsContext(t *testing.T) {
	oracle.Need(t, "qemu-system-x86_64")
	hang := t.TempDir() + "/hang.img"
	sector := make([]byte, 512)
	copy(sector, []byte{0xf4, 0xeb, 0xfd, 510: 0x55, 511: 0xaa})
	if err := os.WriteFile(hang, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	m := Machine{Arch: "amd64", Board: "pc", boot: hang}
	run, err := Start(context.Background(), m, Options{Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var timeout *TimeoutError
	if err := run.Wait(); !errors.As(err, &timeout) {
		t.Errorf("the time limit gave %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if run, err = Start(ctx, m, Options{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := run.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gave %v", err)
	}
}

func TestStartReportsBadArguments(t *testing.T) {
	oracle.Need(t, "qemu-system-x86_64")
	run, err := Start(context.Background(), Machine{Arch: "amd64", Kernel: "/nonexistent"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var exit *ExitError
	if err := run.Wait(); !errors.As(err, &exit) || exit.Stderr == "" {
		t.Errorf("a missing kernel gave %v", err)
	}
}
