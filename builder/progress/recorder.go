package progress

import (
	"sync"
	"time"
)

// Timing is one ended stage, for the report of a bake.
type Timing struct {
	Number  int     `json:"number"`
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Cached  bool    `json:"cached"`
	Note    string  `json:"note,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// Recorder passes everything on to a Reporter and keeps how long stages took.
type Recorder struct {
	Reporter
	now     clock
	mu      sync.Mutex
	stages  int
	timings []Timing
}

// NewRecorder returns a Recorder in front of next; nil is Discard.
func NewRecorder(next Reporter) *Recorder {
	if next == nil {
		next = Discard{}
	}
	return &Recorder{Reporter: next, now: time.Now}
}

// Stage implements Reporter.
func (r *Recorder) Stage(name string) func(Outcome) {
	done := r.Reporter.Stage(name)
	r.mu.Lock()
	r.stages++
	number, start := r.stages, r.now()
	r.mu.Unlock()
	return func(o Outcome) {
		took := r.now().Sub(start).Seconds()
		r.mu.Lock()
		r.timings = append(r.timings, Timing{number, name, took, o.Cached, o.Note, text(o.Err)})
		r.mu.Unlock()
		done(o)
	}
}

// Close ends the Reporter behind.
func (r *Recorder) Close() error { return Close(r.Reporter) }

// Timings returns the stages that ended, in the order in which they ended.
func (r *Recorder) Timings() []Timing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Timing(nil), r.timings...)
}
