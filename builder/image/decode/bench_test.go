package decode

import (
	"context"
	"go/build"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// compare measures Decode against a tool that does the same, turn by turn, and reports how many
// times the tool's speed Decode has.
func compare(b *testing.B, packed string, size int64, tool func() *exec.Cmd) {
	b.Helper()
	var ours, theirs time.Duration
	b.SetBytes(size)
	for range b.N {
		store := newStore(b)
		f, err := os.Open(packed)
		if err != nil {
			b.Fatal(err)
		}
		blob, _, err := store.Put(f)
		if err != nil {
			b.Fatal(err)
		}
		_ = f.Close() // only read
		theirs += measure(b, func() error { return tool().Run() })
		ours += measure(b, func() error { return decodeOnce(store, blob) })
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-the-tool")
	b.ReportMetric(float64(size)*float64(b.N)/1e6/theirs.Seconds(), "tool-MB/s")
	b.ReportMetric(float64(size)*float64(b.N)/1e6/ours.Seconds(), "our-MB/s")
}

func decodeOnce(store *cas.Store, blob cas.Digest) error {
	_, err := Decode(context.Background(), store, blob, Options{})
	return err
}

func measure(b *testing.B, f func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// BenchmarkXZ: at least 0.8 times `xz -T0 -dc`, which neither hashes nor writes.
func BenchmarkXZ(b *testing.B) {
	raw := benchImage(b)
	packed := filepath.Join(b.TempDir(), "packed")
	convert(b, exec.Command(oracle.Need(b, "sh"), "-c", `xz -0 -T0 -c "$1" >"$2"`, "sh", raw, packed))
	compare(b, packed, fileSize(b, raw), func() *exec.Cmd { return exec.Command(oracle.Need(b, "xz"), "-T0", "-dc", packed) })
}

// BenchmarkQCOW2: as fast as `qemu-img convert`, for compressed clusters.
func BenchmarkQCOW2(b *testing.B) {
	raw := benchImage(b)
	packed, out := filepath.Join(b.TempDir(), "packed"), filepath.Join(b.TempDir(), "out")
	img := oracle.Need(b, "qemu-img")
	convert(b, exec.Command(img, "convert", "-f", "raw", "-O", "qcow2", "-c", "-m", "2", "-W", "-o", "compat=0.10", raw, packed))
	compare(b, packed, fileSize(b, raw), func() *exec.Cmd {
		return exec.Command(img, "convert", "-f", "qcow2", "-O", "raw", packed, out)
	})
}

func convert(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func fileSize(b *testing.B, p string) int64 {
	b.Helper()
	info, err := os.Stat(p)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}
