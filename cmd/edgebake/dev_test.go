package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/edgebake/edgebake/test/cloudcore"
)

// devCloudCore is the command while it runs.
type devCloudCore struct {
	t      *testing.T
	lines  chan string
	stdin  io.Writer
	stderr *lockedBuffer
	code   chan int
	stop   context.CancelFunc
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startDevCloudCore(t *testing.T, args ...string) *devCloudCore {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	d := &devCloudCore{t: t, lines: make(chan string, 100), stdin: stdin, stderr: &lockedBuffer{}, code: make(chan int, 1), stop: stop}
	args = append([]string{"dev", "cloudcore", "--listen", "127.0.0.1:0", "--cert-port", "0"}, args...)
	go func() { d.code <- Main(ctx, args, in, out, d.stderr); _ = out.Close() }() // a pipe's end always closes
	go func() {
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			d.lines <- scan.Text()
		}
		close(d.lines)
	}()
	t.Cleanup(func() { stop(); _ = stdin.Close() }) // the same
	return d
}

func (d *devCloudCore) say(line string) { fmt.Fprintln(d.stdin, line) }

// expect reads lines until one has the text.
func (d *devCloudCore) expect(text string) string {
	d.t.Helper()
	var seen []string
	for line := range d.lines {
		if strings.Contains(line, text) {
			return line
		}
		seen = append(seen, line)
	}
	d.t.Fatalf("it ended without %q: %q, %s", text, seen, d.stderr)
	return ""
}

// end interrupts it, which is how it is meant to end.
func (d *devCloudCore) end() {
	d.t.Helper()
	d.stop()
	if code := <-d.code; code != exitDone {
		d.t.Errorf("exit code %d: %s", code, d.stderr)
	}
}

func TestDevCloudCoreJSON(t *testing.T) {
	d := startDevCloudCore(t, "--json", "--dir", t.TempDir())
	var a cloudCoreAddresses
	if err := json.Unmarshal([]byte(d.expect("listening")), &a); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(a.TokenFile)
	if err != nil || info.Mode().Perm() != 0o600 || a.Token != "" || a.CertPort == 0 || strings.HasSuffix(a.Hub, ":0") {
		t.Fatalf("%+v %v %v", a, info, err)
	}
	d.say("fault http-500 slow")
	var e cloudcore.Event
	if err := json.Unmarshal([]byte(d.expect("fault")), &e); err != nil || e.Text != "[http-500 slow]" {
		t.Errorf("%+v %v", e, err)
	}
	d.say("nodes")
	d.expect(`{"kind":"nodes","nodes":[]}`)
	d.end()
}

func TestDevCloudCoreByHand(t *testing.T) {
	dir := t.TempDir()
	d := startDevCloudCore(t, "--dir", dir, "--print-token", "--fault", "closed")
	d.expect("10.0.2.2:")
	d.expect("is in " + dir)
	token := d.expect(".")
	text, err := os.ReadFile(dir + "/token")
	if err != nil {
		t.Fatal(err)
	}
	hash, _, _ := strings.Cut(token, ".")
	if len(hash) != 64 || !strings.HasPrefix(string(text), hash) {
		t.Errorf("the tokens are %q and %q", token, text)
	}
	for _, line := range []string{"", "nonsense", "fault tired", "drop nobody", "forget nobody", "clear", "token"} {
		d.say(line)
	}
	d.expect(hash)
	if s := d.stderr.String(); strings.Count(s, "edgebake: ") != 2 || !strings.Contains(s, `"nonsense"`) || !strings.Contains(s, `"tired"`) {
		t.Errorf("stderr is %q", s)
	}
	d.say("nodes")
	d.expect("0 nodes")
	d.end()
	if strings.Contains(d.stderr.String(), hash) {
		t.Error("the token is on standard error")
	}
}

func TestDevCloudCoreRefuses(t *testing.T) {
	for _, args := range [][]string{{"--fault", "tired"}, {"--listen", "a:b:c"}, {"--token-lifetime", "-1h"}, {"extra"}} {
		var stdout, stderr bytes.Buffer
		if code := Main(t.Context(), append([]string{"dev", "cloudcore", "--dir", t.TempDir()}, args...), nil, &stdout, &stderr); code != exitUsage {
			t.Errorf("%v: exit code %d: %s", args, code, &stderr)
		}
	}
}
