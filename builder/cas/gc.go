package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// partialAge is how long an unverified download waits to be resumed when the policy names no age:
// longer than a weekend, shorter than most upstream files live.
const partialAge = 7 * 24 * time.Hour

// Policy says what gc may remove.
type Policy struct {
	// MaxAge removes what was not used for longer than this; zero keeps every age.
	MaxAge time.Duration
	// MaxSize removes the longest unused until blobs and results take at most so many bytes;
	// zero keeps every size.
	MaxSize int64
	// Roots are blobs and results that stay whatever their age.
	Roots []Digest
	// DryRun reports without removing.
	DryRun bool
	// Verify hashes the blobs that stay, and removes those that are damaged, in a dry run too.
	Verify bool
	// Now is what ages are measured from; the zero value is the clock.
	Now time.Time
}

// GCReport says what gc did, or would do in a dry run. Sizes are in bytes.
type GCReport struct {
	Removed      int   `json:"removed"`
	RemovedBytes int64 `json:"removedBytes"`
	Kept         int   `json:"kept"`
	KeptBytes    int64 `json:"keptBytes"`
	// Leftovers are entries of tmp whose process is dead.
	Leftovers int `json:"leftovers"`
	// Damaged are paths of blobs that did not have their SHA-256 any more.
	Damaged []string `json:"damaged,omitempty"`
}

// InUseError says that a bake holds the store.
type InUseError struct{ Dir string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("store %s is in use by a running bake or fetch; run gc when it is done", e.Dir)
}

type entry struct {
	path   string
	digest Digest
	size   int64
	used   time.Time
}

// GC removes what policy allows and what dead processes left behind. While somebody holds the
// store it removes nothing and returns an *InUseError.
func (s *Store) GC(ctx context.Context, policy Policy) (GCReport, error) {
	if policy.Now.IsZero() {
		policy.Now = time.Now()
	}
	if _, err := os.Stat(s.dir); os.IsNotExist(err) {
		return GCReport{}, nil
	}
	release, err := s.exclusive()
	if err != nil {
		return GCReport{}, err
	}
	defer release()
	var report GCReport
	if err := s.sweepTemp(ctx, policy, &report); err != nil {
		return report, fmt.Errorf("collecting garbage: %w", err)
	}
	entries, err := s.entries()
	if err != nil {
		return report, fmt.Errorf("collecting garbage: %w", err)
	}
	return report, s.sweep(ctx, entries, policy, &report)
}

func (s *Store) exclusive() (func(), error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	release, err := s.flock(ctx, "use", syscall.LOCK_EX)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &InUseError{Dir: s.dir}
	}
	return release, err
}

func (s *Store) sweep(ctx context.Context, entries []entry, policy Policy, report *GCReport) error {
	roots := map[Digest]bool{}
	for _, d := range policy.Roots {
		roots[d] = true
	}
	var total int64
	for _, e := range entries {
		total += e.size
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		old := policy.MaxAge > 0 && policy.Now.Sub(e.used) > policy.MaxAge
		big := policy.MaxSize > 0 && total > policy.MaxSize
		if roots[e.digest] || !(old || big) {
			s.keep(e, policy, report)
			continue
		}
		if err := remove(e.path, policy.DryRun); err != nil {
			return err
		}
		total -= e.size
		report.Removed++
		report.RemovedBytes += e.size
	}
	return nil
}

// keep counts what stays, unless it is damaged.
func (s *Store) keep(e entry, policy Policy, report *GCReport) {
	var damage *DamagedError
	if policy.Verify && e.path == s.Path(e.digest) && errors.As(s.check(e.digest), &damage) {
		report.Damaged = append(report.Damaged, damage.Path)
		return
	}
	report.Kept++
	report.KeptBytes += e.size
}

// entries lists blobs and results, the longest unused first.
func (s *Store) entries() ([]entry, error) {
	var all []entry
	for _, kind := range []string{"blobs", "results"} {
		root := filepath.Join(s.dir, kind)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return nil // gone meanwhile
			}
			name := strings.ReplaceAll(strings.TrimPrefix(path, root), string(filepath.Separator), "")
			all = append(all, entry{path, Digest(name), info.Size(), info.ModTime()})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(all, func(i, j int) bool {
		if !all[i].used.Equal(all[j].used) {
			return all[i].used.Before(all[j].used)
		}
		return all[i].path < all[j].path
	})
	return all, nil
}

// sweepTemp removes entries of tmp that nobody locks, and old partial downloads.
func (s *Store) sweepTemp(ctx context.Context, policy Policy, report *GCReport) error {
	unguard, err := s.flock(ctx, "tmp", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unguard()
	names, err := os.ReadDir(s.tmp())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, n := range names {
		path := filepath.Join(s.tmp(), n.Name())
		if path == s.PartialDir() {
			err = s.sweepPartial(policy, report)
		} else {
			err = sweepLeftover(path, policy, report)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// PartialDir is where a downloader keeps unverified bytes that it may resume; gc removes the old.
func (s *Store) PartialDir() string { return filepath.Join(s.tmp(), "partial") }

func (s *Store) sweepPartial(policy Policy, report *GCReport) error {
	names, err := os.ReadDir(s.PartialDir())
	if err != nil {
		return err
	}
	age := policy.MaxAge
	if age <= 0 {
		age = partialAge
	}
	for _, n := range names {
		info, err := n.Info()
		if err != nil || policy.Now.Sub(info.ModTime()) <= age {
			continue
		}
		if err := sweepLeftover(filepath.Join(s.PartialDir(), n.Name()), policy, report); err != nil {
			return err
		}
	}
	return nil
}

func sweepLeftover(path string, policy Policy, report *GCReport) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // gone meanwhile
	}
	defer f.Close()
	if err := tryLock(f); err != nil {
		return nil // its process lives
	}
	report.Leftovers++
	return remove(path, policy.DryRun)
}

func remove(path string, dryRun bool) error {
	if dryRun {
		return nil
	}
	return os.RemoveAll(path)
}
