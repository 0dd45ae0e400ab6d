package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func testInterruptedLock(t *testing.T, bin string) {
	interrupt(newWorkshop(t, bin), "/InRelease", "lock")
}

func testInterruptedFetch(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	interrupt(w, "/pool/main/runtime_1_all.deb", "fetch")
}

// testInterruptedBake interrupts a bake while it downloads.
func testInterruptedBake(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	w.qemu(goodGuest)
	interrupt(w, "/pool/main/runtime_1_all.deb", "bake", "--no-boot")
}

// testInterruptedGuest interrupts a bake while its guest runs a package's script.
func testInterruptedGuest(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.lock()
	pipe := filepath.Join(w.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // for writing too: then opening does not wait for the guest
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.qemu("echo @@EB boot; echo @@EB package runtime configure; echo $$ >" + pipe + "; read forever")
	running := make(chan int, 1)
	go func() {
		var pid int
		if _, err := fmt.Fscanln(f, &pid); err == nil {
			running <- pid
		}
	}()
	pid := signalled(w, w.command(w.files(), "bake", "--no-boot"), running)
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("QEMU was left behind: signalling it gives %v", err)
	}
	w.qemu(goodGuest)
	w.ends(0, w.command(w.files(), "bake", "--no-boot"))
	if _, err := os.Stat(filepath.Join(w.dir, "out", "node.img")); err != nil {
		t.Error(err)
	}
}

// testInterruptedStages interrupts a bake at the beginning of each stage after the downloads. A
// stage may be over before the signal comes; whatever was left, the next bake gives the same image.
func testInterruptedStages(t *testing.T, bin string) {
	w := newWorkshop(t, bin, large())
	w.want("large")
	w.lock()
	w.qemu(goodGuest)
	want, interrupted := w.bake(), 0
	for _, stage := range []string{"unpack", "configure", "components", "merge", "boot files", "disk", "artifacts"} {
		w.store = filepath.Join(w.dir, "store of "+stage)
		if err := os.RemoveAll(filepath.Join(w.dir, "out")); err != nil {
			t.Fatal(err)
		}
		code := interruptAt(w, w.command(w.files(), "bake", "--no-boot"), "] "+stage)
		if code == 130 {
			interrupted++
		} else if code != 0 {
			t.Errorf("%s: exit code %d", stage, code)
		}
		if got := w.bake(); got != want {
			t.Errorf("after an interrupted %s the image is %s, otherwise %s", stage, got, want)
		}
	}
	if interrupted == 0 {
		t.Error("no bake was interrupted")
	}
	t.Logf("%d bakes were interrupted", interrupted)
}

// bake bakes, also when the image is up to date, and returns its digest.
func (w *workshop) bake() string {
	w.t.Helper()
	cmd := w.command(w.files(), "bake", "--no-boot", "--force")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	w.ends(0, cmd)
	digest, _, _ := strings.Cut(stdout.String(), " ")
	if len(digest) != 64 {
		w.t.Fatalf("stdout is %q", stdout.String())
	}
	return digest
}

// interruptAt interrupts a command when a line of stderr ends so, and returns its exit code.
func interruptAt(w *workshop, cmd *exec.Cmd, line string) int {
	w.t.Helper()
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	seen := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if !seen && strings.HasSuffix(lines.Text(), line) {
			seen = true
			_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	if !seen {
		w.t.Fatalf("no line ended in %q", line)
	}
	return cmd.ProcessState.ExitCode()
}

// interrupt interrupts a command while it waits for a file, and runs it again.
func interrupt(w *workshop, path string, args ...string) {
	w.t.Helper()
	hang(w, path, args...)
	w.ends(0, w.command(w.files(), args...))
}

// hang runs a command against a server that sends half of a file and then nothing, interrupts it
// when it has come so far, and wants it to end as it should.
func hang(w *workshop, path string, args ...string) {
	w.t.Helper()
	halfway := make(chan struct{}, 16)
	url := w.serve(func(out http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, path) {
			return false
		}
		sendHalf(out, filepath.Join(w.archive, filepath.FromSlash(r.URL.Path)))
		halfway <- struct{}{}
		<-r.Context().Done()
		return true
	})
	signalled(w, w.command(url, args...), halfway)
}

// signalled starts a command, interrupts it when it has come to a point, and wants it to end as it should.
func signalled[T any](w *workshop, cmd *exec.Cmd, point <-chan T) T {
	w.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var at T
	select {
	case at = <-point:
	case err := <-ended:
		w.t.Fatalf("it ended before it was interrupted: %v\n%s", err, stderr.String())
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	err := <-ended
	w.judge(130, err, stderr.String(), "interrupted", "run the same command")
	return at
}

func sendHalf(out http.ResponseWriter, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		http.Error(out, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = out.Write(data[:len(data)/2])
	_ = http.NewResponseController(out).Flush()
}
