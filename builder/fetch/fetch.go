// Package fetch downloads inputs into the store.
//
// A Request names an input, the URLs that serve it in the order they are tried, and what its
// bytes must be. A Mirror replaces the beginning of URLs; a HostSource is an apt source of the
// build host, tried before an official archive of the same distribution. Schemes: http, https
// and file. The SHA-256 is computed while bytes arrive and once more from the disk before they get a
// name in the store; until then they are a partial that only this package reads and resumes.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/progress"
)

const (
	// defaultMaxSize bounds a download of unknown size: more than any image edgebake starts
	// from, less than what fills a disk unnoticed.
	defaultMaxSize = 16 << 30
	defaultJobs    = 4
	defaultRetries = 4
	defaultBackoff = 500 * time.Millisecond
	maxBackoff     = 20 * time.Second
	defaultStall   = 30 * time.Second
)

// Request is one input to download.
type Request struct {
	// Name is what messages call the input.
	Name string
	// URLs are tried in this order.
	URLs []string
	// Size is in bytes; -1 is unknown.
	Size int64
	// Digest is what the bytes must be; empty is unknown and only good for Get.
	Digest cas.Digest
	// MaxSize bounds the bytes read when Size is unknown; zero is 16 GiB.
	MaxSize int64
}

func (r Request) limit() int64 {
	switch {
	case r.Size >= 0 && r.Digest != "":
		return r.Size
	case r.MaxSize > 0:
		return r.MaxSize
	}
	return defaultMaxSize
}

// Config says how a Client downloads. Only Store is needed.
type Config struct {
	Store *cas.Store
	// Offline allows only the store and file URLs.
	Offline bool
	Mirrors []Mirror
	// AptSources are tried before official Debian and Ubuntu archives.
	AptSources []HostSource
	// Jobs is how many downloads run at once; zero is 4.
	Jobs      int
	Reporter  progress.Reporter
	UserAgent string
	// Retries is how often a URL is tried again after a passing fault; zero is 4, -1 is never.
	Retries int
	// Backoff is the pause before the first retry, doubled for each further one; zero is 0.5 s.
	Backoff time.Duration
	// Stall ends an attempt that brings less than 1 KiB in such a time; zero is 30 s.
	Stall time.Duration
}

// Client downloads into one store. It is safe for use by several goroutines.
type Client struct {
	cfg  Config
	http *http.Client
	// dead maps hosts whose name does not resolve to the fault, so that a list of two hundred
	// packages waits for the resolver once.
	dead sync.Map
}

// New returns a Client. It opens no connection.
func New(cfg Config) *Client {
	if cfg.Jobs <= 0 {
		cfg.Jobs = defaultJobs
	}
	if cfg.Retries == 0 {
		cfg.Retries = defaultRetries
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = defaultBackoff
	}
	if cfg.Stall <= 0 {
		cfg.Stall = defaultStall
	}
	if cfg.Reporter == nil {
		cfg.Reporter = progress.Discard{}
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "edgebake (" + runtime.GOOS + ")"
	}
	return &Client{cfg: cfg, http: newHTTPClient(cfg.Jobs)}
}

// All downloads every request that the store lacks, several at once. It goes on after a failure
// and joins the first failures; each is an *Error, a *NotFoundError or an *OfflineError. A full disk ends it.
func (c *Client) All(ctx context.Context, requests []Request) error {
	release, err := c.cfg.Store.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failures := make([]error, len(requests))
	slots := make(chan struct{}, c.cfg.Jobs)
	var wg sync.WaitGroup
	for i, r := range requests {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if failures[i] = c.pinned(ctx, r); noRoom(failures[i]) {
				cancel(failures[i])
			}
		})
	}
	wg.Wait()
	if cause := context.Cause(ctx); noRoom(cause) {
		return cause
	}
	return summary(failures)
}

// maxShown is how many failures a person reads: without a network there is one for each input.
const maxShown = 5

func summary(failures []error) error {
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	if more := len(failures) - maxShown; more > 0 {
		failures = append(failures[:maxShown:maxShown], fmt.Errorf("and %d more inputs", more))
	}
	return errors.Join(failures...)
}

func (c *Client) pinned(ctx context.Context, r Request) error {
	if r.Digest == "" {
		return &Error{Name: r.Name, Reason: "it has no SHA-256; lock the profile again"}
	}
	_, err := c.Get(ctx, r)
	return err
}

// Get downloads one input and returns its digest. Without a digest in the request the bytes are
// whatever the first answering URL gives, at most MaxSize of them: the caller checks a signature.
func (c *Client) Get(ctx context.Context, r Request) (cas.Digest, error) {
	if r.Digest != "" && c.cfg.Store.Intact(r.Digest) {
		c.cfg.Reporter.Detail("%s is in the store", r.Name)
		return r.Digest, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	urls := c.urls(r.URLs)
	if c.cfg.Offline {
		if urls = onlyFiles(urls); len(urls) == 0 {
			return "", &OfflineError{Name: r.Name, URLs: r.URLs}
		}
	}
	task := &meter{task: c.cfg.Reporter.Task(r.Name, r.Size, progress.Bytes)}
	d, err := c.firstOf(ctx, r, urls, task)
	task.task.Done(err)
	return d, err
}

// firstOf tries the URLs in order and remembers why each of them did not do.
func (c *Client) firstOf(ctx context.Context, r Request, urls []string, m *meter) (cas.Digest, error) {
	var attempts []Attempt
	for _, u := range urls {
		d, err := c.retry(ctx, r, u, m)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		attempts = append(attempts, Attempt{URL: redact(u), Err: err})
		if noRoom(err) {
			break // no other address has a better disk
		}
		c.cfg.Reporter.Detail("%s: %s: %v", r.Name, redact(u), err)
	}
	return "", conclude(r.Name, attempts)
}

// retry tries one URL until it gives the bytes or a fault that does not pass.
func (c *Client) retry(ctx context.Context, r Request, u string, m *meter) (cas.Digest, error) {
	for n := 0; ; n++ {
		d, err := c.attempt(ctx, r, u, m)
		if err == nil || !passing(err) || n >= c.cfg.Retries || ctx.Err() != nil {
			return d, err
		}
		pause := min(c.cfg.Backoff<<min(n, 10), maxBackoff)
		c.cfg.Reporter.Detail("%s: %v; trying again in %s", r.Name, err, pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return "", ctx.Err()
		case <-timer.C:
		}
	}
}
