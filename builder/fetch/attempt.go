package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/cavaliergopher/grab/v3"

	"github.com/edgebake/edgebake/builder/cas"
)

// fileError says that a file URL cannot be read.
type fileError struct{ err error }

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// attempt tries one URL once.
func (c *Client) attempt(ctx context.Context, r Request, raw string, m *meter) (cas.Digest, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", &fileError{fmt.Errorf("parsing URL: %w", err)}
	}
	switch u.Scheme {
	case "file":
		return c.fromFile(r, u.Path, m)
	case "http", "https":
	default:
		return "", &fileError{fmt.Errorf("scheme %q is none of http, https and file", u.Scheme)}
	}
	if fault, ok := c.dead.Load(u.Host); ok {
		return "", fault.(error)
	}
	d, err := c.fromServer(ctx, r, u, m)
	var dns *net.DNSError
	if errors.As(err, &dns) && ctx.Err() == nil {
		c.dead.Store(u.Host, err)
	}
	return d, err
}

func (c *Client) fromFile(r Request, path string, m *meter) (cas.Digest, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return "", &StatusError{Code: http.StatusNotFound}
	}
	if err != nil {
		return "", &fileError{err}
	}
	defer f.Close()
	in := &limited{r: f, left: r.limit(), fault: r.tooLong()}
	if r.Digest != "" {
		err = named(c.cfg.Store.PutVerified(in, r.Digest, r.Size), r.Name)
		if err == nil {
			m.reach(in.read)
		}
		return r.Digest, err
	}
	d, n, err := c.cfg.Store.Put(in)
	m.reach(n)
	return d, err
}

// fromServer downloads to a partial that belongs to this process while it holds the lock, so
// that two bakes that need the same image download it once.
func (c *Client) fromServer(ctx context.Context, r Request, u *url.URL, m *meter) (cas.Digest, error) {
	key := partialKey(r, u)
	unlock, err := c.cfg.Store.Lock(ctx, "fetch "+key)
	if err != nil {
		return "", err
	}
	defer unlock()
	if r.Digest != "" && c.cfg.Store.Has(r.Digest) {
		return r.Digest, nil
	}
	partial := filepath.Join(c.cfg.Store.PartialDir(), key)
	have := resumable(partial, r)
	if err := c.download(ctx, r, u, partial, m); err != nil {
		if unusable(err) {
			_ = os.Remove(partial) // the fault of the download says more
			if have > 0 && !isTooLarge(err) {
				// What was there before may be what is wrong; the retry starts from nothing.
				return "", fmt.Errorf("continuing after %d bytes: %w", have, &staleError{err.Error()})
			}
		}
		return "", err
	}
	d, err := c.cfg.Store.Adopt(partial, r.Digest, r.Size)
	if err != nil && have > 0 && isMismatch(err) {
		return "", fmt.Errorf("continuing after %d bytes: %w", have, &staleError{named(err, r.Name).Error()})
	}
	return d, named(err, r.Name)
}

// staleError hides a mismatch that an old partial may have caused, so that the URL is tried again.
type staleError struct{ text string }

func (e *staleError) Error() string { return e.text }

func isMismatch(err error) bool {
	var mismatch *cas.MismatchError
	return errors.As(err, &mismatch)
}

func isTooLarge(err error) bool {
	var large *TooLargeError
	return errors.As(err, &large)
}

// unusable reports whether the bytes that came are not a beginning of the right ones.
func unusable(err error) bool {
	var status *StatusError
	var ranged *rangeError
	outside := errors.As(err, &status) && status.Code == http.StatusRequestedRangeNotSatisfiable
	return outside || isMismatch(err) || isTooLarge(err) || errors.As(err, &ranged)
}

func named(err error, name string) error {
	var mismatch *cas.MismatchError
	if errors.As(err, &mismatch) {
		with := *mismatch
		with.Name = name
		return &with
	}
	return err
}

// partialKey names a partial by what the bytes must be, so that another URL continues it, or
// else by where they come from.
func partialKey(r Request, u *url.URL) string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return "url-" + string(cas.Of([]byte(u.String())))
}

// resumable returns how many bytes of the input are there already, after removing a partial that
// cannot be continued: bytes of unknown digest may be of an older version of the file.
func resumable(partial string, r Request) int64 {
	info, err := os.Stat(partial)
	if err != nil {
		return 0
	}
	if r.Digest == "" || info.Size() > r.limit() || info.Size() == 0 {
		_ = os.Remove(partial) // what is left is not believed
		return 0
	}
	return info.Size()
}

func (c *Client) download(ctx context.Context, r Request, u *url.URL, partial string, m *meter) error {
	if err := os.MkdirAll(filepath.Dir(partial), 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := grab.NewRequest(partial, u.String())
	if err != nil {
		return err
	}
	req.Size = max(r.Size, 0)
	req.IgnoreRemoteTime = true
	w := newWatch(c.cfg.Stall, cancel)
	defer w.stop()
	client := &grab.Client{HTTPClient: &guard{client: c.http, request: r, meter: m, watch: w}, UserAgent: c.cfg.UserAgent, BufferSize: 256 << 10}
	resp := client.Do(req.WithContext(ctx))
	if err := resp.Err(); err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		return explain(err, r, resp.Size())
	}
	return nil
}
