package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/progress"
)

const (
	// minProgress is what a server must send in each stall period: 1 KiB in 30 s would need two
	// days for a package index, nobody waits longer.
	minProgress  = 1 << 10
	maxRedirects = 5
)

// redirectError says that a redirect is not followed.
type redirectError struct{ reason string }

func (e *redirectError) Error() string { return e.reason }

func newHTTPClient(jobs int) *http.Client {
	return &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       60 * time.Second,
			MaxIdleConnsPerHost:   jobs,
			DisableCompression:    true, // the digest is of the bytes as they are served
			ForceAttemptHTTP2:     true,
		},
	}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &redirectError{fmt.Sprintf("redirected more than %d times, last to %s", maxRedirects, req.URL.Redacted())}
	}
	return checkHop(via[len(via)-1].URL, req.URL)
}

// checkHop refuses a redirect that leaves the network, or gives up the protection that its URL promised:
// what has no published hash is only as good as the way it came.
func checkHop(from, to *url.URL) error {
	switch {
	case to.Scheme != "http" && to.Scheme != "https":
		return &redirectError{fmt.Sprintf("redirected to %s, and only http and https are followed", to.Redacted())}
	case from.Scheme == "https" && to.Scheme == "http":
		return &redirectError{fmt.Sprintf("redirected from https to %s: that is not protected, and refused; name an address that stays with https, or http from the start", to.Redacted())}
	}
	return nil
}

// guard stands between grab and the network: it refuses an answer that does not continue the
// partial, and watches size, digest and speed of the body.
type guard struct {
	client  *http.Client
	request Request
	meter   *meter
	watch   *watch
}

// Do implements grab.HTTPClient.
func (g *guard) Do(req *http.Request) (*http.Response, error) {
	resp, err := g.client.Do(req)
	if err != nil || req.Method != http.MethodGet || resp.StatusCode/100 != 2 {
		return resp, err
	}
	offset, err := continues(req, resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	r := g.request
	if resp.ContentLength > r.limit()-offset {
		resp.Body.Close()
		return nil, r.tooLong()(offset + resp.ContentLength)
	}
	g.meter.reach(offset)
	b := &body{
		limited: limited{r: resp.Body, left: r.limit() - offset, read: offset, fault: r.tooLong()},
		close:   resp.Body, meter: g.meter, watch: g.watch, request: r,
	}
	if offset == 0 && r.Digest != "" {
		b.hash = sha256.New()
	}
	resp.Body = b
	return resp, nil
}

// continues returns where the body begins in the file.
func continues(req *http.Request, resp *http.Response) (int64, error) {
	asked := req.Header.Get("Range")
	got := resp.Header.Get("Content-Range")
	if asked == "" {
		if resp.StatusCode != http.StatusOK {
			return 0, &StatusError{Code: resp.StatusCode}
		}
		return 0, nil
	}
	var offset int64
	if _, err := fmt.Sscanf(asked, "bytes=%d-", &offset); err != nil {
		return 0, &rangeError{asked, got}
	}
	if resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", offset)) {
		return 0, &rangeError{asked, got}
	}
	return offset, nil
}

// tooLong returns what to say about a body of at least n bytes.
func (r Request) tooLong() func(n int64) error {
	return func(n int64) error {
		if r.Size >= 0 && r.limit() == r.Size {
			return &cas.MismatchError{Name: r.Name, Want: r.Digest, WantSize: r.Size, GotSize: n}
		}
		return &TooLargeError{Limit: r.limit()}
	}
}

// limited gives at most left bytes and then a fault instead of more.
type limited struct {
	r     io.Reader
	left  int64
	read  int64
	fault func(n int64) error
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		return 0, l.fault(l.read + int64(n))
	}
	l.left -= int64(n)
	l.read += int64(n)
	return n, err
}

type body struct {
	limited
	close   io.Closer
	hash    hash.Hash
	meter   *meter
	watch   *watch
	request Request
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.limited.Read(p)
	b.watch.add(n)
	b.meter.reach(b.read)
	if errors.Is(err, io.EOF) && b.request.Digest != "" && b.read < b.request.Size {
		return n, io.ErrUnexpectedEOF // a connection cut short; the rest is asked for again
	}
	if b.hash == nil {
		return n, err
	}
	b.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := cas.FromSum(b.hash.Sum(nil)); got != b.request.Digest {
			return n, &cas.MismatchError{Name: b.request.Name, Want: b.request.Digest, Got: got, WantSize: b.request.Size, GotSize: b.read}
		}
	}
	return n, err
}

func (b *body) Close() error { return b.close.Close() }

// meter reports how far a download is; bytes that come twice count once.
type meter struct {
	mu   sync.Mutex
	task progress.Task
	at   int64
}

func (m *meter) reach(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.at {
		m.task.Add(n - m.at)
		m.at = n
	}
}

// watch cancels an attempt that brings too little in each period.
type watch struct {
	got    atomic.Int64
	ticker *time.Ticker
	done   chan struct{}
}

func newWatch(period time.Duration, cancel context.CancelCauseFunc) *watch {
	w := &watch{ticker: time.NewTicker(period), done: make(chan struct{})}
	go func() {
		for {
			select {
			case <-w.done:
				return
			case <-w.ticker.C:
				if w.got.Swap(0) < minProgress {
					cancel(&StallError{After: period})
					return
				}
			}
		}
	}()
	return w
}

func (w *watch) add(n int) { w.got.Add(int64(n)) }

func (w *watch) stop() {
	w.ticker.Stop()
	close(w.done)
}
