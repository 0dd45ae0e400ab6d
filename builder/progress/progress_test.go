package progress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeClock is moved by hand.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// play is a short bake: a cached stage, a slow download, a failure.
func play(r Reporter, c *fakeClock) {
	r.Stage("lock")(Outcome{Cached: true, Note: "3 inputs"})
	done := r.Stage("fetch")
	task := r.Task("base", 4<<20, Bytes)
	for range 4 {
		c.pass(6 * time.Second)
		task.Add(1 << 20)
	}
	task.Done(nil)
	quick := r.Task("quick", -1, Items)
	quick.Add(2)
	quick.Done(errors.New("broke"))
	r.Detail("tried %d", 1)
	r.Note("hint")
	r.Warn("careful")
	done(Outcome{Err: errors.New("no network")})
}

func TestText(t *testing.T) {
	full := []string{
		"[1] lock",
		"[1] lock: cached, 3 inputs",
		"[2] fetch",
		"    base: 2.0 MiB of 4.0 MiB (50 %), 170.7 KiB/s, 12.0 s left",
		"    base: 4.0 MiB of 4.0 MiB (100 %), 170.7 KiB/s",
		"    base: 4.0 MiB in 24.0 s",
		"    quick: stopped at 2: broke",
		"    tried 1",
		"    hint",
		"warning: careful",
		"[2] fetch: failed after 24.0 s: no network",
	}
	tests := []struct {
		name string
		opts Options
		want []string
	}{
		{"verbose", Options{Verbose: true}, full},
		{"plain", Options{}, append(append([]string(nil), full[:7]...), full[8:]...)},
		{"quiet", Options{Quiet: true, Terminal: true}, full[9:]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			c := &fakeClock{}
			r := New(&out, tt.opts).(*Text)
			r.now = c.now
			play(r, c)
			if got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	c := &fakeClock{t: time.Unix(0, 0)}
	r := New(&out, Options{JSON: true, Terminal: true}).(*JSON)
	r.now = c.now
	play(r, c)
	var types []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		types = append(types, e.Type)
	}
	want := "stage-start stage-end stage-start task-start task-progress task-progress task-progress task-progress task-end task-start task-end note warning stage-end"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("events %s\nwant   %s", got, want)
	}
	for _, part := range []string{
		`{"time":"1970-01-01T00:00:00Z","type":"stage-end","stage":1,"name":"lock","cached":true,"message":"3 inputs"}`,
		`{"time":"1970-01-01T00:00:12Z","type":"task-progress","name":"base","unit":"bytes","done":2097152,"total":4194304}`,
		`"name":"quick","unit":"items","done":2,"error":"broke"}`,
		`"type":"stage-end","stage":2,"name":"fetch","seconds":24,"error":"no network"}`,
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %s in\n%s", part, out.String())
		}
	}
}

func TestQuietJSONKeepsFaults(t *testing.T) {
	var out bytes.Buffer
	play(NewJSON(&out, Options{Quiet: true}), &fakeClock{})
	if n := strings.Count(out.String(), "\n"); n != 3 { // task, warning, stage
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

func TestBars(t *testing.T) {
	var out bytes.Buffer
	r := New(&out, Options{Terminal: true})
	bars := r.(*Bars)
	c := &fakeClock{}
	bars.now = c.now
	play(r, c)
	open := r.Task("never done", 10, Bytes)
	open.Add(3)
	if err := Close(r); err != nil {
		t.Fatal(err)
	}
	open.Add(1)
	r.Note("after the bars")
	r.Task("late", 1, Bytes).Done(nil)
	for _, line := range []string{"[1] lock: cached", "warning: careful", "[2] fetch: failed", "after the bars"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in %q", line, out.String())
		}
	}
}

func TestSeveralGoroutines(t *testing.T) {
	for _, opts := range []Options{{}, {JSON: true}, {Terminal: true}} {
		var out bytes.Buffer
		r := NewRecorder(New(&out, opts))
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				task := r.Task(fmt.Sprint("task ", i), 100, Bytes)
				for range 100 {
					task.Add(1)
				}
				r.Warn("line %d", i)
				task.Done(nil)
			})
		}
		wg.Wait()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			if !strings.Contains(out.String(), fmt.Sprint("line ", i)) {
				t.Errorf("%+v: line %d is lost", opts, i)
			}
		}
	}
}

func TestRecorder(t *testing.T) {
	c := &fakeClock{}
	r := NewRecorder(nil)
	r.now = c.now
	play(r, c)
	want := []Timing{
		{Number: 1, Name: "lock", Cached: true, Note: "3 inputs"},
		{Number: 2, Name: "fetch", Seconds: 24, Error: "no network"},
	}
	if got := r.Timings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestStoppedStages(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var out strings.Builder
		clock := &fakeClock{}
		text := NewText(&out, Options{Quiet: quiet})
		text.now = clock.now
		guest, parts := text.Stage("configure"), text.Stage("components")
		clock.pass(2 * time.Second)
		parts(Outcome{Err: errors.New("no network")})
		guest(Outcome{Err: fmt.Errorf("waiting for the guest: %w", context.Canceled)})
		want := "[2] components: failed after 2.0 s: no network\n"
		if !quiet {
			want = "[1] configure\n[2] components\n" + want + "[1] configure: stopped after 2.0 s\n"
		}
		if out.String() != want {
			t.Errorf("quiet %t:\n%swant\n%s", quiet, out.String(), want)
		}
	}
}
