package decode

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// slot holds one piece of the image while it is in work. Slots are reused, which bounds memory.
type slot struct {
	index int
	buf   []byte
	err   error
	done  chan struct{}
}

// slotsPerWorker is how many pieces may be ahead of the one that is being written: enough to go on
// while the disk or a busy machine lets that one wait.
const slotsPerWorker = 8

// worker decodes piece number i into s.buf.
type worker func(i int, s *slot) error

// parallel decodes count pieces with several workers and hands them to emit in order.
func parallel(ctx context.Context, count, workers, slots int, newWorker func() worker, emit func(*slot) error) error {
	g, ctx := errgroup.WithContext(ctx)
	free, jobs, queue := make(chan *slot, slots), make(chan *slot), make(chan *slot, slots)
	for range slots {
		free <- &slot{}
	}
	g.Go(func() error {
		defer close(jobs)
		defer close(queue)
		for i := range count {
			s, ok := receive(ctx, free)
			if !ok {
				return ctx.Err()
			}
			s.index, s.err, s.done = i, nil, make(chan struct{})
			queue <- s // has room for all slots
			select {
			case jobs <- s:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			work := newWorker()
			for s := range jobs {
				s.err = work(s.index, s)
				close(s.done)
			}
			return nil
		})
	}
	g.Go(func() error { return collect(ctx, queue, free, emit) })
	return g.Wait()
}

// collect waits for the pieces in order, so that the first fault of the file is the one reported.
func collect(ctx context.Context, queue <-chan *slot, free chan<- *slot, emit func(*slot) error) error {
	for s := range queue {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.err != nil {
			return s.err
		}
		if err := emit(s); err != nil {
			return err
		}
		free <- s
	}
	return nil
}

func receive(ctx context.Context, free <-chan *slot) (*slot, bool) {
	select {
	case s := <-free:
		return s, true
	case <-ctx.Done():
		return nil, false
	}
}
