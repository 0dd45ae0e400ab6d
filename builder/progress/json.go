package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// jsonInterval is how often a task writes an event.
const jsonInterval = time.Second

// Event is one line of the JSON reporter. Field names do not change. Type is one of
// stage-start, stage-end, task-start, task-progress, task-end, note, warning, detail.
type Event struct {
	Time  time.Time `json:"time"`
	Type  string    `json:"type"`
	Stage int       `json:"stage,omitempty"`
	Name  string    `json:"name,omitempty"`
	// Unit is bytes or items; Total is absent when unknown.
	Unit    string  `json:"unit,omitempty"`
	Done    *int64  `json:"done,omitempty"`
	Total   *int64  `json:"total,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Cached  bool    `json:"cached,omitempty"`
	Message string  `json:"message,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// JSON is a Reporter that writes one JSON object per line.
type JSON struct {
	mu    sync.Mutex
	enc   *json.Encoder
	opts  Options
	now   clock
	stage int
}

// NewJSON returns a JSON that writes to w.
func NewJSON(w io.Writer, opts Options) *JSON {
	return &JSON{enc: json.NewEncoder(w), opts: opts, now: time.Now}
}

func (j *JSON) emit(e Event) {
	quiet := e.Type != "warning" && e.Error == ""
	if j.opts.Quiet && quiet {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Time = j.now().UTC()
	_ = j.enc.Encode(e) // a reader that went away does not stop a bake
}

// Stage implements Reporter.
func (j *JSON) Stage(name string) func(Outcome) {
	j.mu.Lock()
	j.stage++
	number, start := j.stage, j.now()
	j.mu.Unlock()
	j.emit(Event{Type: "stage-start", Stage: number, Name: name})
	return func(o Outcome) {
		j.emit(Event{Type: "stage-end", Stage: number, Name: name, Seconds: j.now().Sub(start).Seconds(),
			Cached: o.Cached, Message: o.Note, Error: text(o.Err)})
	}
}

// Task implements Reporter.
func (j *JSON) Task(name string, total int64, unit Unit) Task {
	k := &jsonTask{json: j, name: name, unit: "bytes", start: j.now()}
	if unit == Items {
		k.unit = "items"
	}
	if total >= 0 {
		k.total = &total
	}
	k.said = k.start
	j.emit(k.event("task-start", 0))
	return k
}

func (j *JSON) Note(format string, args ...any) { j.say("note", format, args) }
func (j *JSON) Warn(format string, args ...any) { j.say("warning", format, args) }

func (j *JSON) Detail(format string, args ...any) {
	if j.opts.Verbose {
		j.say("detail", format, args)
	}
}

func (j *JSON) say(kind, format string, args []any) {
	j.emit(Event{Type: kind, Message: fmt.Sprintf(format, args...)})
}

type jsonTask struct {
	json        *JSON
	name, unit  string
	total       *int64
	start, said time.Time

	mu   sync.Mutex
	done int64
}

func (k *jsonTask) event(kind string, done int64) Event {
	return Event{Type: kind, Name: k.name, Unit: k.unit, Done: &done, Total: k.total}
}

func (k *jsonTask) Add(n int64) {
	now := k.json.now()
	k.mu.Lock()
	k.done += n
	due := now.Sub(k.said) >= jsonInterval
	if due {
		k.said = now
	}
	done := k.done
	k.mu.Unlock()
	if due {
		k.json.emit(k.event("task-progress", done))
	}
}

func (k *jsonTask) Done(err error) {
	k.mu.Lock()
	e := k.event("task-end", k.done)
	k.mu.Unlock()
	e.Seconds, e.Error = k.json.now().Sub(k.start).Seconds(), text(err)
	k.json.emit(e)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
