package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
)

// The tests of this file do what annoyed experts do: they fill disks, damage stores, kill, start two at
// once, and point -o at what is precious.

// testForeignOutput has files in the output directory that no bake made, and things that are no files.
func testForeignOutput(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.qemu(goodGuest)
	out := filepath.Join(w.dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	image, precious := filepath.Join(out, "node.img"), []byte("precious")
	bake := func(code int, words ...string) {
		t.Helper()
		w.ends(code, w.command(w.files(), "bake", "--no-boot"), words...)
	}
	w.write(image, precious)
	bake(6, "it has node.img and no manifest.json of edgebake", "another directory with -o")
	if data, err := os.ReadFile(image); err != nil || !bytes.Equal(data, precious) {
		t.Errorf("the file is %q, %v", data, err)
	}
	w.write(filepath.Join(out, "manifest.json"), []byte(`{"name": "a web page"}`))
	bake(6, "no manifest.json of edgebake")
	// A bake that was killed after the image and before the manifest has left its mark.
	w.write(filepath.Join(out, ".edgebake-baking"), nil)
	bake(0)
	bake(0)
	if _, err := os.Stat(filepath.Join(out, ".edgebake-baking")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mark is still there: %v", err)
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", image); err != nil {
		t.Fatal(err)
	}
	bake(6, "node.img: it is a symbolic link")
	if err := errors.Join(os.Remove(image), os.Mkdir(image, 0o755)); err != nil {
		t.Fatal(err)
	}
	bake(6, "node.img: it is a directory")
}

// testUnwritable bakes as somebody who may not write.
func testUnwritable(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.qemu(goodGuest)
	sealed := filepath.Join(w.dir, "sealed")
	if err := errors.Join(os.Chmod(w.dir, 0o777), os.Mkdir(sealed, 0o555)); err != nil {
		t.Fatal(err)
	}
	w.store = filepath.Join(w.dir, "own store")
	// Root without its capabilities is an owner like others.
	nobody := func(cmd *exec.Cmd) *exec.Cmd {
		if os.Getuid() == 0 {
			cmd.Args = append([]string{"setpriv", "--inh-caps=-all", "--bounding-set=-all"}, cmd.Args...)
			cmd.Path = lookPath(t, "setpriv")
		}
		return cmd
	}
	w.ends(1, nobody(w.command(w.files(), "bake", "--no-boot", "-o", sealed)), "sealed: permission denied", "another directory with -o", "no root is needed")
	w.ends(1, nobody(w.command(w.files(), "bake", "--no-boot", "-o", filepath.Join(sealed, "out"))), "sealed/out: permission denied", "-o")
	w.store = filepath.Join(sealed, "store")
	w.ends(1, nobody(w.command(w.files(), "fetch")), "sealed/store: permission denied", "--store")
}

// testFullDisk has a store, and an output directory, on a small file system of its own.
func testFullDisk(t *testing.T, bin string) {
	unshare, sh, mount := lookPath(t, "unshare"), lookPath(t, "sh"), lookPath(t, "mount")
	small := func(dir, size string, cmd *exec.Cmd) *exec.Cmd {
		script := mount + ` -t tmpfs -o size="$0" none "$1" && shift && exec "$@"`
		inside := exec.CommandContext(t.Context(), unshare, append([]string{"-rm", sh, "-c", script, size, dir}, cmd.Args...)...)
		inside.Env, inside.Dir = cmd.Env, cmd.Dir
		return inside
	}
	w := newWorkshop(t, bin, large())
	w.want("large")
	dir := filepath.Join(w.dir, "small")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := small(dir, "64k", exec.Command(sh, "-c", "true")).Run(); err != nil {
		t.Skipf("mounting in a name space of its own is not allowed here: %v", err)
	}
	w.lock()
	full := w.store
	w.store = dir
	for _, url := range []string{w.files(), w.serve(func(http.ResponseWriter, *http.Request) bool { return false })} {
		w.ends(1, small(dir, "16k", w.command(url, "fetch")), "no space left on device", dir+"/tmp", " has 0.0 MiB free", "--store DIR")
	}
	w.store = full
	w.qemu(goodGuest)
	w.bake()
	w.ends(1, small(dir, "2M", w.command(w.files(), "bake", "--no-boot", "-o", dir)), "assembling image "+dir+"/node.img", "no space left on device", dir+" has", "-o DIR")
}

// testDamagedStore changes a byte of every blob: what was downloaded is downloaded again, what was
// made is made again, and the image is the same.
func testDamagedStore(t *testing.T, bin string) {
	w := newWorkshop(t, bin, large())
	w.want("large")
	w.lock()
	w.qemu(goodGuest)
	want := w.bake()
	inputs := map[string]bool{}
	for _, p := range w.locked() {
		inputs[string(p.SHA256)] = true
	}
	made := w.damage(func(digest string) bool { return !inputs[digest] })
	cmd := w.command(w.files(), "bake", "--no-boot", "--force", "--offline")
	stderr := w.ends(0, cmd, "warning: reading blob", "its SHA-256 is")
	if got := w.bake(); got != want || made == 0 || strings.Contains(stderr, "fetching") {
		t.Errorf("after damage to %d results the image is %s, otherwise %s", made, got, want)
	}
	if w.damage(func(digest string) bool { return inputs[digest] }) != len(inputs) {
		t.Error("not all inputs are in the store")
	}
	// Without a network the inputs are gone, and the message says how to get them.
	w.ends(1, w.command("http://nowhere.example.org", "bake", "--no-boot", "--force", "--offline"), "warning: reading blob", "not in the store", "without --offline")
	if got := w.bake(); got != want {
		t.Errorf("after damage to the inputs the image is %s, otherwise %s", got, want)
	}
	w.damage(func(string) bool { return true })
	if got := w.bake(); got != want {
		t.Errorf("after damage to everything the image is %s, otherwise %s", got, want)
	}
}

// damage changes a byte in the middle of blobs of the store and returns of how many.
func (w *workshop) damage(which func(digest string) bool) (count int) {
	w.t.Helper()
	blobs := filepath.Join(w.store, "blobs")
	err := filepath.WalkDir(blobs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		digest := filepath.Base(filepath.Dir(path)) + d.Name()
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 || !which(digest) || cas.Of(data) != cas.Digest(digest) {
			return err
		}
		data[len(data)/2] ^= 1
		count++
		return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o444))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return count
}

// gate makes a QEMU that waits in the middle of its work: started tells that it is there, and open lets it go on.
func (w *workshop) gate() (started <-chan int, open func()) {
	w.t.Helper()
	in, out := filepath.Join(w.dir, "started"), filepath.Join(w.dir, "go on")
	files := map[string]*os.File{}
	for _, name := range []string{in, out} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			w.t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0) // for both: then nobody waits for the other end
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { f.Close() })
		files[name] = f
	}
	w.qemu("echo @@EB boot; echo $$ >'" + in + "'; read line <'" + out + "'; " + configures + "; echo @@EB clean; echo @@EB done")
	pids := make(chan int, 4)
	go func() {
		for {
			var pid int
			if _, err := fmt.Fscanln(files[in], &pid); err != nil {
				return
			}
			pids <- pid
		}
	}()
	return pids, func() {
		if _, err := files[out].WriteString("\n"); err != nil {
			w.t.Error(err)
		}
	}
}

// testTwoBakes starts a second bake while the first one waits in its guest.
func testTwoBakes(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	started, open := w.gate()
	first := w.command(w.files(), "bake", "--no-boot", "-o", "one")
	var firstOut, secondOut, stderr bytes.Buffer
	first.Stdout, first.Stderr = &firstOut, &stderr
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-started
	w.ends(1, w.command(w.files(), "bake", "--no-boot", "-o", "one"), "another edgebake writes into it", "another directory with -o")
	w.ends(1, exec.CommandContext(t.Context(), bin, "gc", "--store", w.store), "in use", "another store")
	second := w.command(w.files(), "bake", "--no-boot", "-o", "two") // waits for what the first one makes
	second.Stdout = &secondOut
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	open()
	if err := errors.Join(first.Wait(), second.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	one, _, _ := strings.Cut(firstOut.String(), " ")
	two, _, _ := strings.Cut(secondOut.String(), " ")
	if one != two || len(one) != 64 {
		t.Errorf("the images are %q and %q", one, two)
	}
	select {
	case <-started:
		t.Error("the guest ran twice")
	default:
	}
}

// testKilled kills a bake in its guest, as no handler of a signal sees it.
func testKilled(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	started, _ := w.gate()
	cmd := w.command(w.files(), "bake", "--no-boot")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := <-started
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	_ = syscall.Kill(pid, syscall.SIGKILL)
	if _, err := os.Stat(filepath.Join(w.dir, "out", "node.img")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is an image: %v", err)
	}
	w.qemu(goodGuest)
	w.bake()
	for _, left := range []bool{true, false} { // the killed bake's, once
		out, err := exec.CommandContext(t.Context(), bin, "gc", "--store", w.store, "--json").Output()
		if err != nil || bytes.Contains(out, []byte(`"leftovers": 0`)) == left {
			t.Errorf("gc says %s, %v", out, err)
		}
	}
}

// testNegative has an image that the linter finds bad: its report is there, the verdict of an earlier
// image is not, and --json prints what there is.
func testNegative(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.qemu("echo @@EB boot; echo @@EB clean; echo @@EB done") // leaves packages unconfigured
	out := filepath.Join(w.dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	w.write(filepath.Join(out, ".edgebake-baking"), nil)
	w.write(filepath.Join(out, "verdict.json"), []byte(`{"ok": true}`))
	cmd := w.command(w.files(), "bake", "--no-boot", "--json")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	w.ends(5, cmd, "package runtime is unpacked", "dpkg --configure -a")
	var said struct {
		Digest string
		Lint   struct{ OK bool }
	}
	if err := json.Unmarshal(stdout.Bytes(), &said); err != nil || len(said.Digest) != 64 || said.Lint.OK {
		t.Errorf("stdout is %s: %v", stdout.String(), err)
	}
	if _, err := os.Stat(filepath.Join(out, "verdict.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the verdict of another image is still there: %v", err)
	}
	for _, name := range []string{"report.json", "lint.json", "SHA256SUMS"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
}
