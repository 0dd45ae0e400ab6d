package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxAnswer bounds what a registry answers besides blobs (manifests, tokens, faults): its clients read
// that into memory, and registries themselves allow 4 MiB.
const maxAnswer = 16 << 20

// Transport returns what other HTTP clients (that of container registries) shall send requests
// through: it puts in the mirrors as Get does, names the user agent, ends a body that stalls and
// refuses to go online when nothing may be downloaded. It refuses the redirects that Get refuses, and ends
// what is no blob after 16 MiB. Bodies are not verified; the caller knows their digests.
func (c *Client) Transport() http.RoundTripper { return transport{c} }

type transport struct{ client *Client }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c := t.client
	if c.cfg.Offline {
		return nil, &OfflineError{Name: req.URL.Host + req.URL.Path, URLs: []string{req.URL.Redacted()}}
	}
	if before := req.Response; before != nil && before.Request != nil {
		if err := checkHop(before.Request.URL, req.URL); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	out := req.Clone(ctx)
	out.Header.Set("User-Agent", c.cfg.UserAgent)
	if mirrored, ok := rewrite(req.URL.String(), c.cfg.Mirrors); ok {
		u, err := out.URL.Parse(mirrored)
		if err != nil {
			cancel(nil)
			return nil, err
		}
		out.URL, out.Host = u, u.Host
	}
	resp, err := c.http.Transport.RoundTrip(out)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Request = req // clients of registries look at its scheme
	body := resp.Body
	if !isBlob(req) {
		body = &bounded{limited{r: body, left: maxAnswer, fault: func(int64) error { return &TooLargeError{Limit: maxAnswer} }}, body}
	}
	resp.Body = &watched{ReadCloser: body, ctx: ctx, cancel: cancel, watch: newWatch(c.cfg.Stall, cancel)}
	return resp, nil
}

// isBlob says that a request, or the one that was redirected to it, asks for a blob (distribution-spec, end-2).
func isBlob(req *http.Request) bool {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return strings.Contains(req.URL.Path, "/blobs/")
}

// bounded is a body that ends with a fault when it is too long.
type bounded struct {
	limited
	io.Closer
}

// watched is a body that must bring something in each stall period.
type watched struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *watch
	closed bool
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.add(n)
	var stall *StallError
	if err != nil && !errors.Is(err, io.EOF) && errors.As(context.Cause(b.ctx), &stall) {
		err = stall
	}
	return n, err
}

func (b *watched) Close() error {
	if !b.closed {
		b.closed = true
		b.watch.stop()
		defer b.cancel(nil)
	}
	return b.ReadCloser.Close()
}
