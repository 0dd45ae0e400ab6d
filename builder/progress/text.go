package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// taskInterval is how often a task without live bars says how far it is: often enough that a
// build log shows life, seldom enough that it stays readable.
const taskInterval = 10 * time.Second

// Text is a Reporter that writes one line per event.
type Text struct {
	mu    sync.Mutex
	w     io.Writer
	opts  Options
	now   clock
	stage int
}

// NewText returns a Text that writes to w.
func NewText(w io.Writer, opts Options) *Text { return &Text{w: w, opts: opts, now: time.Now} }

func (t *Text) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, format+"\n", args...)
}

// Stage implements Reporter: "[3] fetch" and "[3] fetch: 12.3 s, 143 packages".
func (t *Text) Stage(name string) func(Outcome) {
	t.mu.Lock()
	t.stage++
	number, start := t.stage, t.now()
	t.mu.Unlock()
	if !t.opts.Quiet {
		t.line("[%d] %s", number, name)
	}
	return func(o Outcome) {
		if !t.opts.Quiet || o.Err != nil && !stopped(o) {
			t.line("[%d] %s: %s", number, name, ending(o, t.now().Sub(start)))
		}
	}
}

// Task implements Reporter. A task that is done within ten seconds says nothing unless it fails.
func (t *Text) Task(name string, total int64, unit Unit) Task {
	start := t.now()
	return &textTask{text: t, name: name, total: total, unit: unit, start: start, said: start}
}

func (t *Text) Note(format string, args ...any) {
	if !t.opts.Quiet {
		t.line("    "+format, args...)
	}
}

func (t *Text) Warn(format string, args ...any) { t.line("warning: "+format, args...) }

func (t *Text) Detail(format string, args ...any) {
	if t.opts.Verbose && !t.opts.Quiet {
		t.line("    "+format, args...)
	}
}

type textTask struct {
	text        *Text
	name        string
	unit        Unit
	start, said time.Time

	mu          sync.Mutex
	total, done int64
}

func (k *textTask) Add(n int64) {
	now := k.text.now()
	k.mu.Lock()
	k.done += n
	due := now.Sub(k.said) >= taskInterval
	if due {
		k.said = now
	}
	done := k.done
	k.mu.Unlock()
	if due {
		k.text.Note("%s: %s", k.name, k.state(done, now))
	}
}

// state says "12.0 MiB of 96.0 MiB (12 %), 1.2 MiB/s, 1 min 10 s left".
func (k *textTask) state(done int64, now time.Time) string {
	text := amount(done, k.unit)
	if k.total > 0 {
		text = fmt.Sprintf("%s of %s (%d %%)", text, amount(k.total, k.unit), done*100/k.total)
	}
	took := now.Sub(k.start).Seconds()
	if took <= 0 || done <= 0 {
		return text
	}
	rate := float64(done) / took
	text += fmt.Sprintf(", %s/s", amount(int64(rate), k.unit))
	if k.total > done {
		text += ", " + seconds(time.Duration(float64(k.total-done)/rate*float64(time.Second))) + " left"
	}
	return text
}

func (k *textTask) Done(err error) {
	took := k.text.now().Sub(k.start)
	k.mu.Lock()
	done := k.done
	k.mu.Unlock()
	switch {
	case err != nil:
		k.text.Note("%s: stopped at %s: %v", k.name, amount(done, k.unit), err)
	case took >= taskInterval:
		k.text.Note("%s: %s in %s", k.name, amount(done, k.unit), seconds(took))
	default:
		k.text.Detail("%s: %s in %s", k.name, amount(done, k.unit), seconds(took))
	}
}
