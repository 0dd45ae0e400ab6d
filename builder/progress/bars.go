package progress

import (
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bars is a Reporter for a terminal: the lines of Text, with live bars of the running tasks
// (rate and time left) below them.
type Bars struct {
	*Text
	pool *mpb.Progress
}

// NewBars returns Bars that draw on w, a terminal. Close ends them.
func NewBars(w io.Writer, opts Options) *Bars {
	pool := mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
	return &Bars{Text: NewText(above{pool, w}, opts), pool: pool}
}

// above writes lines above the bars, and plainly when there are no bars any more.
type above struct {
	pool  *mpb.Progress
	plain io.Writer
}

func (a above) Write(p []byte) (int, error) {
	if n, err := a.pool.Write(p); err == nil {
		return n, nil
	}
	return a.plain.Write(p)
}

// Close draws the last state and stops. Bars of unfinished tasks vanish.
func (b *Bars) Close() error {
	b.pool.Shutdown()
	return nil
}

// Task implements Reporter.
func (b *Bars) Task(name string, total int64, unit Unit) Task {
	before, after := decorators(total, unit)
	bar, err := b.pool.Add(max(total, 0), mpb.BarStyle().Build(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("    "+name+" "), before), mpb.AppendDecorators(after...))
	if err != nil {
		return discardTask{} // after Close
	}
	return &barTask{bar: bar, text: b.Text.Task(name, total, unit).(*textTask)}
}

// decorators are what stands before and after a bar; work of unknown size has no time left.
func decorators(total int64, unit Unit) (before decor.Decorator, after []decor.Decorator) {
	speed := decor.AverageSpeed(decor.SizeB1024(0), " % .1f")
	before = decor.CountersKibiByte("% .1f / % .1f ")
	switch {
	case unit == Items && total > 0:
		before, speed = decor.CountersNoUnit("%d / %d "), decor.AverageSpeed(0, " %.0f/s")
	case unit == Items:
		before, speed = decor.CurrentNoUnit("%d "), decor.AverageSpeed(0, " %.0f/s")
	case total <= 0:
		before = decor.CurrentKibiByte("% .1f ")
	}
	if total <= 0 {
		return before, []decor.Decorator{speed}
	}
	return before, []decor.Decorator{speed, decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)}
}

type barTask struct {
	bar  *mpb.Bar
	text *textTask
}

func (k *barTask) Add(n int64) {
	k.text.mu.Lock()
	k.text.done += n
	k.text.mu.Unlock()
	k.bar.IncrInt64(n)
}

func (k *barTask) Done(err error) {
	k.bar.Abort(true)
	k.text.Done(err)
}
