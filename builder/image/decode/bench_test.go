package decode

import (
	"go/build"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/test/oracle"
)

const benchSize = 1100 * mib

// benchImage writes a file like a disk image: programs and sources of the Go distribution, with a
// quarter of zeros. EDGEBAKE_BENCH_IMAGE names another raw image.
func benchImage(b *testing.B) string {
	b.Helper()
	if p := os.Getenv("EDGEBAKE_BENCH_IMAGE"); p != "" {
		return p
	}
	out := filepath.Join(b.TempDir(), "raw")
	f, err := os.Create(out)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	at := int64(0)
	for at < benchSize*3/4 {
		before := at
		err := filepath.WalkDir(build.Default.GOROOT, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || at >= benchSize*3/4 {
				return err
			}
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			n, err := f.WriteAt(content, at)
			at += int64(n)
			return err
		})
		if err != nil || at == before {
			b.Fatal("reading the Go distribution: ", err)
		}
	}
	if err := f.Truncate(benchSize); err != nil {
		b.Fatal(err)
	}
	return out
}

// cost is what one turn of a side took, by the clock and of the processors.
type cost struct{ wall, processor time.Duration }

// measure runs one turn; run returns the processor time of what ran.
func measure(b *testing.B, run func() (time.Duration, error)) (c cost) {
	b.Helper()
	start := time.Now()
	var err error
	if c.processor, err = run(); err != nil {
		b.Fatal(err)
	}
	c.wall = time.Since(start)
	return c
}

// compare measures Decode against a tool that does the same, turn by turn (-benchtime 5x is five
// pairs of turns), and reports how many times the tool's speed Decode has: the median pair, and the worst.
// Other work on the machine disturbs the clock; it hardly does processor time (cpu).
func compare(b *testing.B, packed string, tool func() *exec.Cmd) {
	b.Helper()
	store := newStore(b)
	blob := put(b, store, packed)
	var raw Raw
	var wall, processor []float64
	for range b.N {
		cmd := tool()
		theirs := measure(b, func() (time.Duration, error) {
			err := cmd.Run()
			return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
		})
		ours := measure(b, func() (_ time.Duration, err error) {
			before := processorTime(b)
			raw, err = decodeBlob(b, store, blob)
			return processorTime(b) - before, err
		})
		if err := os.Remove(store.Path(raw.Digest)); err != nil { // the next turn writes a new file
			b.Fatal(err)
		}
		b.Logf("the tool %.2f s (processor %.2f s), Decode %.2f s (processor %.2f s)",
			theirs.wall.Seconds(), theirs.processor.Seconds(), ours.wall.Seconds(), ours.processor.Seconds())
		wall = append(wall, theirs.wall.Seconds()/ours.wall.Seconds())
		processor = append(processor, theirs.processor.Seconds()/ours.processor.Seconds())
	}
	slices.Sort(wall)
	slices.Sort(processor)
	b.SetBytes(raw.Size)
	b.ReportMetric(wall[len(wall)/2], "times-the-tool")
	b.ReportMetric(wall[0], "times-the-tool-worst")
	b.ReportMetric(processor[len(wall)/2], "times-the-tool-cpu")
	b.ReportMetric(processor[0], "times-the-tool-cpu-worst")
}

func put(b *testing.B, store *cas.Store, name string) cas.Digest {
	b.Helper()
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	blob, _, err := store.Put(f)
	if err != nil {
		b.Fatal(err)
	}
	return blob
}

// decodeBlob is Decode that does not remember.
func decodeBlob(b *testing.B, store *cas.Store, blob cas.Digest) (Raw, error) {
	b.Helper()
	in, err := store.Open(blob)
	if err != nil {
		return Raw{}, err
	}
	defer in.Close()
	format, err := Detect(in, in.Size())
	if err != nil {
		return Raw{}, err
	}
	return unpack(b.Context(), store, in, format, Options{}.withDefaults())
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkXZ: at least 0.8 times `xz -T0 -dc`, which neither hashes nor writes. EDGEBAKE_BENCH_XZ
// names another file.
func BenchmarkXZ(b *testing.B) {
	packed := os.Getenv("EDGEBAKE_BENCH_XZ")
	if packed == "" {
		packed = filepath.Join(b.TempDir(), "packed")
		convert(b, exec.Command(oracle.Need(b, "sh"), "-c", `xz -0 -T0 -c "$1" >"$2"`, "sh", benchImage(b), packed))
	}
	compare(b, packed, func() *exec.Cmd { return exec.Command(oracle.Need(b, "xz"), "-T0", "-dc", packed) })
}

// BenchmarkQCOW2: as fast as `qemu-img convert` to a sparse file, for compressed clusters.
// EDGEBAKE_BENCH_QCOW2 names another file.
func BenchmarkQCOW2(b *testing.B) {
	packed, out := os.Getenv("EDGEBAKE_BENCH_QCOW2"), filepath.Join(b.TempDir(), "out")
	img := oracle.Need(b, "qemu-img")
	if packed == "" {
		packed = filepath.Join(b.TempDir(), "packed")
		convert(b, exec.Command(img, "convert", "-f", "raw", "-O", "qcow2", "-c", "-m", "2", "-W", "-o", "compat=0.10", benchImage(b), packed))
	}
	compare(b, packed, func() *exec.Cmd {
		_ = os.Remove(out) // of the turn before, so that both sides write a new file
		return exec.Command(img, "convert", "-f", "qcow2", "-O", "raw", packed, out)
	})
}

func convert(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}
