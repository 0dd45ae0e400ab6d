package test

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/fetch"
)

// BenchmarkResolve reads Debian 12's indexes for arm64, which are in the store, and chooses the
// packages of the Raspberry Pi's profile. Beside the time it reports the highest heap in MiB.
func BenchmarkResolve(b *testing.B) {
	c := newComparison(b, "edge-rpi-debian-12", make(chan struct{}, 1))
	client := fetch.New(fetch.Config{Store: c.inputs.Store})
	request := apt.Request{Install: append(c.inputs.Profile.Packages, c.inputs.Profile.Boot.Kernel), Essential: true,
		Priorities: c.inputs.Profile.Base.Priorities}
	arch := c.universe.Arch
	c.universe = nil
	runtime.GC()
	peak := watchHeap(b)
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		u, err := apt.Load(b.Context(), client, c.inputs.Store, c.local, arch, c.inputs.Now)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := apt.Solve(u, request); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(peak()>>20), "peak-MiB")
	b.ReportMetric((processorTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
}

// processorTime is what this process has used: on a busy machine it tells more than the wall clock.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchHeap samples the heap until the returned function is called, which gives its highest size.
func watchHeap(b *testing.B) func() uint64 {
	b.Helper()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	var highest atomic.Uint64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			metrics.Read(sample)
			highest.Store(max(highest.Load(), sample[0].Value.Uint64()))
			select {
			case <-tick.C:
			case <-done:
				tick.Stop()
				return
			}
		}
	}()
	return func() uint64 { close(done); <-ended; return highest.Load() }
}
