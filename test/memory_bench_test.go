package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

// memoryLimit is the most that the process of a bake may take of the machine's memory, in MiB.
const memoryLimit = 512

const (
	// packageFiles is how many files a generated package has at most.
	packageFiles = 10_000
	// fileBytes is the size of each: memory does not depend on it.
	fileBytes = 200
)

// BenchmarkMemory bakes images with the built program and reports the most memory that its process had in each stage, as the
// kernel counts it (VmHWM). More than memoryLimit is a fault. A shell script stands for QEMU, so the guest configures
// nothing; all else is as ever. EDGEBAKE_MEMORY_PLOT names a file of the plot in docs/performance.md to write.
//
//	size   images from 1 to 64 GiB with 20,000 files
//	files  images of 8 GiB with up to 270,000 files, all in packages, 300,000 with directories: more are refused
//	xz     up to 200,000 files in a published image of up to 4 GiB, packed in blocks of 24 MiB
//	qcow2  the same, packed so
func BenchmarkMemory(b *testing.B) {
	bin := program(b)
	var lines []plotLine
	record := func(line string, x int, peak float64) {
		if n := len(lines); n == 0 || lines[n-1].name != line {
			lines = append(lines, plotLine{name: line})
		}
		last := &lines[len(lines)-1]
		last.points = append(last.points, plotPoint{float64(x), peak})
	}
	for _, gib := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("size/%dGiB", gib), func(b *testing.B) {
			record("20,000 files", gib, measureMemory(b, func() *workshop { return manyFiles(b, bin, 20_000, gib) }, "lock", "bake"))
		})
	}
	counts := []int{20_000, 100_000, 200_000}
	for _, count := range append(counts, 270_000) {
		b.Run(fmt.Sprintf("files/%d", count), func(b *testing.B) {
			record("in packages", count, measureMemory(b, func() *workshop { return manyFiles(b, bin, count, 8) }, "lock", "bake", "again"))
		})
	}
	for _, format := range []string{"xz", "qcow2"} {
		for _, count := range counts {
			b.Run(fmt.Sprintf("%s/%d", format, count), func(b *testing.B) {
				record("in a base image, "+format, count, measureMemory(b, func() *workshop { return largeBase(b, bin, count, format) }, "lock", "bake"))
			})
		}
	}
	if name := os.Getenv("EDGEBAKE_MEMORY_PLOT"); name != "" {
		must(b, os.WriteFile(name, plotMemory(lines), 0o644))
	}
}

// measureMemory runs the program in a fresh workshop each time and returns the peak in MiB. "again" is a bake that finds in the
// store what others have made.
func measureMemory(b *testing.B, prepare func() *workshop, runs ...string) (peak float64) {
	b.Helper()
	stages := map[string]float64{}
	for range b.N {
		b.StopTimer()
		w := prepare()
		b.StartTimer()
		for _, name := range runs {
			args := map[string][]string{"lock": {"lock"}, "bake": {"bake", "--no-boot"}, "again": {"bake", "--no-boot", "--force"}}[name]
			for stage, mib := range peaks(b, w.based(append(args, "--json")...)) {
				key := name + "-" + strings.ReplaceAll(stage, " ", "-")
				stages[key] = max(stages[key], mib)
			}
		}
	}
	for name, mib := range stages {
		b.ReportMetric(mib, name+"-MiB")
		peak = max(peak, mib)
	}
	b.ReportMetric(peak, "peak-MiB")
	if peak > memoryLimit {
		b.Errorf("the process had %.0f MiB, the limit is %d; in its stages: %v", peak, memoryLimit, stages)
	}
	return peak
}

// manyFiles is a workshop whose packages have count files in all, for an image of gib GiB.
func manyFiles(b *testing.B, bin string, count, gib int) *workshop {
	b.Helper()
	var debs []aptrepo.Deb
	var names []string
	for from := 0; from < count; from += packageFiles {
		d := aptrepo.Deb{Name: fmt.Sprintf("files-%d", from/packageFiles), Files: map[string]string{}}
		for i := from; i < min(from+packageFiles, count); i++ {
			d.Files[usualName(i)] = fmt.Sprintf("%*d", fileBytes, i)
		}
		debs, names = append(debs, d), append(names, d.Name)
	}
	w := newWorkshop(b, bin, debs...)
	w.size = gib << 10
	w.want(names...)
	w.qemu(goodGuest)
	return w
}

// usualName has as many bytes as the paths of a Debian system have on average, and directories as full as there.
func usualName(i int) string {
	return fmt.Sprintf("usr/share/package-%03d/examples/part-%05d/a-file-%07d.txt", i/1000, i/10, i)
}

// largeBase is a workshop whose base image, packed, has count files. One package is installed over it, and settings
// make its root file system another one.
func largeBase(b *testing.B, bin string, count int, format string) *workshop {
	b.Helper()
	w := newWorkshop(b, bin, guestKernel())
	dir := b.TempDir()
	raw := filepath.Join(dir, "raw")
	writeBase(b, raw, count)
	name, pack := "base.img", exec.Command(oracle.Need(b, "qemu-img"), "convert", "-f", "raw", "-O", "qcow2", "-c", raw, filepath.Join(dir, "packed"))
	if format == "xz" {
		name, pack = "base.img.xz", exec.Command(oracle.Need(b, "sh"), "-c", `xz -0 -T2 --block-size=24MiB -c "$1" >"$2"`, "sh", raw, filepath.Join(dir, "packed"))
	}
	if out, err := pack.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", pack.Args, err, out)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "packed"))
	must(b, err)
	must(b, os.RemoveAll(dir))
	w.onBase(name, packed, "packages: [runtime]\n"+everythingButDisk)
	w.qemu(goodGuest)
	return w
}

// baseBytes is the size of a file in the base whose bytes are no holes: enough for many blocks of xz.
const baseBytes = 320 << 20

// writeBase writes a raw image like those for the Raspberry Pi.
func writeBase(b *testing.B, name string, count int) {
	b.Helper()
	builder := tree.NewBuilder(tree.Time{Sec: 1700000000})
	add := func(name string, content tree.Content) {
		builder.Add(tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Content: content})
	}
	for name, text := range piFiles() {
		add(name, tree.InlineContent([]byte(text)))
	}
	for i := range count {
		add(usualName(i), tree.InlineContent(fmt.Appendf(nil, "%*d", fileBytes, i)))
	}
	lines := fmt.Appendf(nil, "%*d\n", fileBytes, 0)
	add("usr/lib/large", tree.InlineContent(bytes.Repeat(lines, baseBytes/len(lines))))
	root, err := builder.Tree()
	must(b, err)
	plan, err := disk.NewPlan(profile.Disk{Table: disk.MBR, Size: profile.Size(1+count/60_000) << 30, Partitions: []profile.Partition{
		{Label: "system-boot", Type: disk.FAT, FS: disk.VFAT, Size: fatSize, Mount: "/boot/firmware", ClusterSize: 512},
		{Label: "writable", Type: disk.Linux, FS: disk.Ext4, Mount: "/"},
	}}, root, [32]byte{7}, 1700000000)
	must(b, err)
	must(b, disk.Assemble(b.Context(), name, plan, tree.NewReader(nil), progress.Discard{}))
}

// peaks runs the program and returns the most memory that it had in each stage, in MiB.
func peaks(b *testing.B, cmd *exec.Cmd) map[string]float64 {
	b.Helper()
	var said bytes.Buffer
	stderr, err := cmd.StderrPipe()
	must(b, err)
	must(b, cmd.Start())
	g := gauge{b: b, pid: cmd.Process.Pid, stages: map[string]float64{}, stage: "start"}
	lines, stop := make(chan string), time.NewTicker(sampling)
	defer stop.Stop()
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(io.TeeReader(stderr, &said)); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for open := true; open; {
		select {
		case line, ok := <-lines:
			if open = ok; ok {
				g.event(line)
			}
		case <-stop.C:
			g.sample()
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, lastPart(said.String()))
	}
	return g.stages
}

// sampling is how often the kernel's mark is read between events. It misses nothing but what is allocated in the last moment
// before the process ends.
const sampling = 20 * time.Millisecond

// gauge reads the high-water mark of a process, and sets it back when a stage begins.
type gauge struct {
	b      *testing.B
	pid    int
	stage  string
	stages map[string]float64
}

func (g *gauge) event(line string) {
	var e progress.Event
	if json.Unmarshal([]byte(line), &e) != nil || e.Type != "stage-start" {
		return
	}
	g.sample()
	g.stage = e.Name
	err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.pid), []byte("5"), 0) // proc_pid_clear_refs(5)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.b.Fatal(err)
	}
}

func (g *gauge) sample() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.pid))
	if err != nil {
		return // it has ended
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscanf(after, "%f kB", &kib); err == nil { // a process that ends has no memory any more
		g.stages[g.stage] = max(g.stages[g.stage], kib/1024)
	}
}
