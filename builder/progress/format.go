package progress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options choose a Reporter.
type Options struct {
	// JSON writes one object per event; it wins over Terminal.
	JSON bool
	// Quiet leaves only warnings and failed stages.
	Quiet bool
	// Verbose adds details.
	Verbose bool
	// Terminal draws live bars.
	Terminal bool
}

// New returns the Reporter for w. With live bars, call the Reporter's Close (it is an io.Closer
// then) before anything else is written to w; Close does that for any Reporter.
func New(w io.Writer, opts Options) Reporter {
	switch {
	case opts.JSON:
		return NewJSON(w, opts)
	case opts.Terminal && !opts.Quiet:
		return NewBars(w, opts)
	}
	return NewText(w, opts)
}

// Close ends a Reporter that has something to end.
func Close(r Reporter) error {
	if c, ok := r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// clock is read for durations and rates only; a test sets it.
type clock func() time.Time

func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
}

func amount(n int64, unit Unit) string {
	if unit == Items {
		return fmt.Sprint(n)
	}
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// stopped tells whether a stage ended because of something else: an interruption, or the fault of a stage beside it.
func stopped(o Outcome) bool { return errors.Is(o.Err, context.Canceled) }

// ending says how a stage ended: "cached", "12.3 s, 143 packages", "stopped after 12.3 s" or "failed after 12.3 s: ...".
func ending(o Outcome, took time.Duration) string {
	text := seconds(took)
	if o.Cached {
		text = "cached"
	}
	if stopped(o) {
		return "stopped after " + seconds(took)
	}
	if o.Err != nil {
		return fmt.Sprintf("failed after %s: %v", seconds(took), o.Err)
	}
	if o.Note != "" {
		text += ", " + o.Note
	}
	return text
}
