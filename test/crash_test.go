package test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/test/faulty"
)

// The tests of this file let lock and bake, from an empty store to an image, go wrong at every call that
// changes a file, and kill them at random ones. What counts is what is there then, and what the next run makes of it.

const (
	kills = 100
	pairs = 12
)

// TestCrash first lets all go well, to know the calls: about three hundred, of some ninety kinds.
func TestCrash(t *testing.T) {
	t.Parallel()
	s := newCrashSite(t)
	s.prepare()
	t.Logf("%d calls of %d kinds, seed %d", s.calls, len(s.kinds), s.seed)
	for name, run := range map[string]func(*testing.T, *rand.Rand){
		"full disk":    func(t *testing.T, r *rand.Rand) { s.faults(t, s.points(needsRoom, first, last), fullDisk) },
		"one fault":    func(t *testing.T, r *rand.Rand) { s.faults(t, s.points(anyCall, first, anyOf(r)), oneFault) },
		"failing disk": func(t *testing.T, r *rand.Rand) { s.faults(t, s.points(anyCall, anyOf(r)), failingDisk) },
		"killed":       s.kill,
		"two at once":  s.pair,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			run(t, rand.New(rand.NewPCG(s.seed, 0)))
			t.Logf("took %s", time.Since(began).Round(time.Second))
		})
	}
}

// A point is the n-th call of a kind; n begins with 1.
type point struct {
	kind string
	n    int
}

func first(int) int  { return 1 }
func last(n int) int { return n }

func anyOf(r *rand.Rand) func(int) int { return func(n int) int { return 1 + r.IntN(n) } }

// points are calls of every kind, chosen by their number.
func (s *crashSite) points(which func(call string) bool, choose ...func(of int) int) (list []point) {
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) { // the same with the same seed
		call, _, _ := strings.Cut(kind, " ")
		for _, n := range choose {
			if p := (point{kind, n(s.kinds[kind])}); which(call) && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

func anyCall(string) bool { return true }

// needsRoom are calls that a full disk does not carry out. A disk can also turn out to be full when it is synced.
func needsRoom(call string) bool {
	return slices.Contains([]string{"openat", "mkdirat", "renameat", "renameat2", "linkat", "symlinkat", "write", "pwrite64",
		"writev", "pwritev", "sendfile", "copy_file_range", "splice", "fallocate", "fsync", "fdatasync", "syncfs"}, call)
}

// A damage says what comes of a call; since is whether the point was reached before.
type damage struct {
	answer func(call string, since bool) faulty.Answer
	// words of which one is in the message of a run that fails.
	words []string
}

// fullDisk is full from the point on: half of the first write still fits.
var fullDisk = damage{func(call string, since bool) faulty.Answer {
	if !needsRoom(call) {
		return faulty.Answer{}
	}
	return faulty.Answer{Errno: unix.ENOSPC, Half: !since}
}, []string{"make room there"}}

var oneFault = damage{func(_ string, since bool) faulty.Answer {
	if since {
		return faulty.Answer{}
	}
	return faulty.Answer{Errno: unix.EIO}
}, []string{"input/output error"}}

// failingDisk lets nothing happen any more, so nothing can be tidied up either.
var failingDisk = damage{func(string, bool) faulty.Answer { return faulty.Answer{Errno: unix.EIO} }, []string{"input/output error"}}

func (s *crashSite) faults(t *testing.T, points []point, d damage) {
	missed, ended := 0, map[int]int{}
	for _, p := range points {
		c := s.newCase(t, strings.ReplaceAll(fmt.Sprintf("%s %d", p.kind, p.n), "/", "_"))
		seen, since := 0, false
		code, stderr, err := c.run(func(op faulty.Op) faulty.Answer {
			if kindOf(op) == p.kind {
				seen++
			}
			if !since && seen < p.n {
				return faulty.Answer{}
			}
			a := d.answer(op.Call, since)
			since = true
			return a
		})
		if err == nil && code != 0 {
			err = sensible(code, stderr, d.words)
		}
		if err = errors.Join(err, c.nothingPartial()); err == nil {
			err = c.again()
		}
		if err != nil {
			t.Errorf("%s, call %d: %v\nexit code %d\n%s", p.kind, p.n, err, code, stderr)
		}
		if !since {
			missed++
		}
		ended[code]++
		c.remove()
	}
	t.Logf("%d points, exit codes %v", len(points), ended)
	if missed > len(points)/20 { // how often a goroutine looks for something may differ between runs
		t.Errorf("%d of %d points were not reached", missed, len(points))
	}
}

// sensible judges how a run says that it has failed.
func sensible(code int, stderr string, words []string) error {
	switch {
	case code != 1:
		return fmt.Errorf("the exit code is %d, not 1", code)
	case strings.Contains(stderr, "panic") || strings.Contains(stderr, "goroutine "):
		return errors.New("it panics")
	case !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(stderr, word) }):
		return fmt.Errorf("none of %q is said", words)
	}
	return nil
}

// kill kills before random calls, or in the middle of a write. Other moments differ from these in nothing that
// lasts: between two calls no file changes.
func (s *crashSite) kill(t *testing.T, r *rand.Rand) {
	killed := 0
	for range kills {
		c := s.newCase(t, "killed")
		at, half, seen, where := 1+r.IntN(s.calls), r.IntN(2) == 0, 0, faulty.Op{}
		code, stderr, err := c.run(func(op faulty.Op) faulty.Answer {
			if seen++; seen != at {
				return faulty.Answer{}
			}
			where = op
			return faulty.Answer{Kill: true, Half: half}
		})
		if where.Call != "" && code != -1 {
			err = fmt.Errorf("the exit code is %d", code)
		}
		if err = errors.Join(err, c.nothingPartial()); err == nil {
			err = c.again()
		}
		if err != nil {
			t.Errorf("killed at call %d, %s: %v\n%s", at, where, err, stderr)
		}
		if where.Call != "" {
			killed++
		}
		c.remove()
	}
	if killed < kills*9/10 {
		t.Errorf("only %d of %d runs were killed", killed, kills)
	}
}

// pair has two runs at once on one store, of which one is killed. The other one does not notice.
func (s *crashSite) pair(t *testing.T, r *rand.Rand) {
	for range pairs {
		at, seen, where := 1+r.IntN(s.calls), 0, faulty.Op{}
		one, two := s.newCase(t, "pair/one"), s.newCase(t, "pair/two")
		one.shareStore("pair/store")
		two.shareStore("pair/store")
		var g errgroup.Group
		g.Go(func() error {
			_, _, err := one.run(func(op faulty.Op) faulty.Answer {
				if seen++; seen != at {
					return faulty.Answer{}
				}
				where = op
				return faulty.Answer{Kill: true, Half: true}
			})
			return err
		})
		g.Go(func() error {
			code, stderr, err := two.run(func(faulty.Op) faulty.Answer { return faulty.Answer{} })
			if err == nil && code != 0 {
				err = fmt.Errorf("the one beside it ends with %d:\n%s", code, stderr)
			}
			return err
		})
		if err := errors.Join(g.Wait(), one.nothingPartial(), two.nothingPartial()); err != nil {
			t.Errorf("killed at call %d, %s: %v", at, where, err)
		} else if err := errors.Join(one.again(), two.again()); err != nil {
			t.Errorf("after a kill at call %d, %s: %v", at, where, err)
		}
		one.remove()
		two.remove()
	}
}
