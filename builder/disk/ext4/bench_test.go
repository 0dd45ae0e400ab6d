package ext4_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// load is a tree in two forms with the same bytes: as directories, for the tools, and as extents of blobs, one
// for each hundred files, as packages in the store are.
type load struct {
	root, blobs string
	tree        tree.Tree
	src         *tree.Reader
	bytes, size int64 // of the files, of the file system
}

// profile are files as a Debian system has them: half of them below 4 KiB, few large ones with most of
// the bytes. scale changes all sizes.
func profile(b *testing.B, files int, scale float64) *load {
	b.Helper()
	l := &load{root: filepath.Join(b.TempDir(), "root"), blobs: filepath.Join(b.TempDir(), "blobs"), src: tree.NewReader(nil)}
	must(b, os.MkdirAll(l.root, 0o755))
	must(b, os.MkdirAll(l.blobs, 0o755))
	noise := make([]byte, 64<<20)
	x := uint64(1)
	for i := range noise {
		x = x*6364136223846793005 + 1442695040888963407
		noise[i] = byte(x >> 56)
	}
	es := []tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o755}}
	for first := 0; first < files; first += 100 {
		d := fmt.Sprintf("usr-%02d", first/10000)
		if first%10000 == 0 {
			es = append(es, l.dir(b, d))
		}
		d = fmt.Sprintf("%s/package-%04d", d, first/100)
		es = append(es, l.dir(b, d))
		es = append(es, l.pack(b, d, noise, first, scale)...)
	}
	var err error
	l.tree, err = tree.New(es)
	must(b, err)
	l.size, err = ext4.MinSize(l.tree, l.options())
	must(b, err)
	l.size = l.size*5/4&^(1<<20-1) + 64<<20
	return l
}

func (l *load) dir(b *testing.B, p string) tree.Entry {
	b.Helper()
	must(b, os.Mkdir(filepath.Join(l.root, p), 0o755))
	return tree.Entry{Path: p, Type: tree.Dir, Mode: 0o755}
}

// pack makes the hundred files of a directory, and of a blob.
func (l *load) pack(b *testing.B, d string, noise []byte, first int, scale float64) (es []tree.Entry) {
	b.Helper()
	blob := cas.Digest(d)
	all, err := os.Create(filepath.Join(l.blobs, filepath.Base(d)))
	must(b, err)
	b.Cleanup(func() { all.Close() })
	l.src.Add(blob, all)
	at := int64(0)
	for i := first; i < first+100; i++ {
		n := int64(scale * float64(int64(200)<<(i*7%12)+int64(i*131%4000))) // 200 B to 400 KiB
		if i%1000 == 7 {
			n = int64(scale * 15e6)
		}
		part := noise[i*4099%(48<<20):][:min(n, 16<<20)]
		p := fmt.Sprintf("%s/file-of-a-usual-name-%06d", d, i)
		must(b, os.WriteFile(filepath.Join(l.root, p), part, 0o644))
		_, err := all.Write(part)
		must(b, err)
		es = append(es, tree.Entry{Path: p, Type: tree.File, Mode: 0o644, Content: tree.BlobContent(blob, at, int64(len(part)))})
		at += int64(len(part))
	}
	l.bytes += at
	return es
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (l *load) options() ext4.Options {
	return ext4.Options{Size: l.size, Label: "bench", UUID: [16]byte{1}, Time: tree.Time{Sec: 1700000000}}
}

func (l *load) write(image string) error {
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(l.size); err != nil {
		return err
	}
	return ext4.Write(context.Background(), f, l.tree, l.src, l.options())
}

// loads are the sizes that are measured: a system of the built-in profiles, and a large one of 3 GB.
func loads() []struct {
	name  string
	files int
	scale float64
} {
	return []struct {
		name  string
		files int
		scale float64
	}{{"20000", 20000, 0.45}, {"100000", 100000, 0.35}}
}

// side is one of those that take turns.
type side struct {
	name            string
	run             func() error
	cleanup         func()
	wall, processor []float64 // seconds, of each turn
}

// turns runs every side b.N times, alternately, and reports for all but the first how many of their times the first takes: the
// median of the turns and the worst, and of the processors' time, which others on the machine disturb less.
func turns(b *testing.B, sides []*side) {
	b.Helper()
	for range b.N {
		var line strings.Builder
		for _, s := range sides {
			start, used := time.Now(), processorTime(b)
			must(b, s.run())
			s.wall = append(s.wall, time.Since(start).Seconds())
			s.processor = append(s.processor, (processorTime(b) - used).Seconds())
			fmt.Fprintf(&line, "%s %.2f s (processor %.2f s)  ", s.name, s.wall[len(s.wall)-1], s.processor[len(s.wall)-1])
			s.cleanup()
		}
		b.Log(line.String())
	}
	for _, s := range sides[1:] {
		wall, processor := ratios(sides[0].wall, s.wall), ratios(sides[0].processor, s.processor)
		b.ReportMetric(wall[b.N/2], "of-"+s.name)
		b.ReportMetric(wall[b.N-1], "of-"+s.name+"-worst")
		b.ReportMetric(processor[b.N/2], "of-"+s.name+"-cpu")
	}
}

func ratios(ours, theirs []float64) []float64 {
	out := make([]float64, len(ours))
	for i := range out {
		out[i] = ours[i] / theirs[i]
	}
	slices.Sort(out)
	return out
}

// processorTime is what this process and the tools that have ended used.
func processorTime(b *testing.B) (sum time.Duration) {
	b.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		must(b, syscall.Getrusage(who, &used))
		sum += time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	return sum
}

func command(name string, args ...string) func() error {
	return func() error {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	}
}

// BenchmarkAssemble: at most half of the time of `mke2fs -d`, with the same features and size, and at most twice
// that of cp. cp is given the same bytes as few large files (cp) and as the same tree (cp-a).
func BenchmarkAssemble(b *testing.B) {
	for _, t := range loads() {
		made := sync.OnceValue(func() *load { return profile(b, t.files, t.scale) })
		b.Run(t.name, func(b *testing.B) {
			l := made()
			dir := b.TempDir()
			image, theirs, copied := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs"), filepath.Join(dir, "copy")
			remove := func() { must(b, os.RemoveAll(dir)); must(b, os.Mkdir(dir, 0o755)) }
			b.Logf("%d files, %d MB, a file system of %d MB", t.files, l.bytes/1e6, l.size/1e6)
			turns(b, []*side{
				{name: "edgebake", run: func() error { return l.write(image) }, cleanup: remove},
				{name: "mke2fs", cleanup: remove, run: command(oracle.Need(b, "mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^metadata_csum_seed,^orphan_file",
					"-d", l.root, theirs, fmt.Sprintf("%dK", l.size/1024))},
				{name: "cp", run: command("cp", "-r", l.blobs, copied), cleanup: remove},
				{name: "cp-a", run: command("cp", "-a", l.root, copied), cleanup: remove},
			})
			b.SetBytes(l.bytes)
		})
	}
}

// BenchmarkRead reads a file system into a tree and hashes all contents: at most two thirds of the time of tar over a loop
// mount of the same image. Both are read from memory. tar keeps what a tree has, extended attributes and ACLs.
func BenchmarkRead(b *testing.B) {
	for _, t := range loads() {
		made := sync.OnceValue(func() *load { return profile(b, t.files, t.scale) })
		b.Run(t.name, func(b *testing.B) {
			l := made()
			image := filepath.Join(b.TempDir(), "image")
			must(b, l.write(image))
			sides := []*side{{name: "edgebake", cleanup: func() {}, run: func() error { return readAndHash(image, t.files) }}}
			must(b, sides[0].run())
			if tar := tarOf(b, image); tar != nil {
				must(b, tar.run()) // now all is in memory, under both ways
				sides = append(sides, tar)
			}
			turns(b, sides)
			b.SetBytes(l.bytes)
		})
	}
}

func readAndHash(image string, files int) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	fs, err := ext4.Open(f, size)
	if err != nil {
		return err
	}
	t, err := fs.Tree(context.Background(), "image", 0)
	if err != nil {
		return err
	}
	src := tree.NewReader(nil)
	src.Add("image", f)
	sums, err := artifact.HashTree(context.Background(), src, t)
	if err == nil && len(sums) != files {
		return fmt.Errorf("%d files were hashed instead of %d", len(sums), files)
	}
	return err
}

// tarOf mounts the image. Where nobody may mount there is no ratio, and the log says so.
func tarOf(b *testing.B, image string) *side {
	b.Helper()
	mnt := b.TempDir()
	if err := command("mount", "-o", "loop,ro", image, mnt)(); err != nil {
		b.Logf("no ratio: this machine mounts nothing: %v", err)
		return nil
	}
	b.Cleanup(func() { must(b, command("umount", mnt)()) })
	return &side{name: "tar", cleanup: func() {}, run: func() error {
		tar := exec.Command(oracle.Need(b, "tar"), "-C", mnt, "--xattrs", "--xattrs-include=*", "--acls", "-cf", "-", ".")
		out, err := tar.StdoutPipe() // tar reads nothing when it writes to /dev/null
		if err != nil {
			return err
		}
		if err := tar.Start(); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 1<<20)); err != nil {
			return err
		}
		return tar.Wait()
	}}
}
