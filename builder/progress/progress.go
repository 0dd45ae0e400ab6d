// Package progress tells a person or a program how far a bake is.
//
// A Stage is one numbered step of a bake; a Task is one piece of work inside a stage whose
// size is known or guessed (a download, an image being written). A Reporter is told of both
// and of notes; it is safe for use by several goroutines at once.
package progress

// Reporter receives what happens. Implementations: live bars on a terminal, one line per event,
// JSON lines, and Discard.
type Reporter interface {
	// Stage announces that a stage begins; the returned function ends it, once.
	Stage(name string) (done func(Outcome))
	// Task announces work of total bytes (or items when unit is not Bytes); total < 0 is unknown.
	Task(name string, total int64, unit Unit) Task
	// Note says one sentence that a person wants to know now.
	Note(format string, args ...any)
	// Warn says one sentence that a person should act on.
	Warn(format string, args ...any)
	// Detail says one sentence that only --verbose shows.
	Detail(format string, args ...any)
}

// Task is told how work goes on. Done is called once; a nil error is success.
type Task interface {
	Add(n int64)
	Done(err error)
}

// Unit says what a Task counts.
type Unit int

const (
	Bytes Unit = iota
	Items
)

// Outcome says how a stage ended.
type Outcome struct {
	// Err is nil when the stage succeeded.
	Err error
	// Cached is true when the stage's result came from the store.
	Cached bool
	// Note is a short addition for the report ("143 packages, 96 MiB").
	Note string
}

// Discard is a Reporter that says nothing.
type Discard struct{}

func (Discard) Stage(string) func(Outcome)    { return func(Outcome) {} }
func (Discard) Task(string, int64, Unit) Task { return discardTask{} }
func (Discard) Note(string, ...any)           {}
func (Discard) Warn(string, ...any)           {}
func (Discard) Detail(string, ...any)         {}

type discardTask struct{}

func (discardTask) Add(int64)  {}
func (discardTask) Done(error) {}
