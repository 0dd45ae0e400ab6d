package fetch

import "net/http"

// Transport returns what other HTTP clients (that of container registries) shall send requests
// through: it puts in the mirrors as Get does, names the user agent and refuses to go online when
// nothing may be downloaded. Bodies are not verified; the caller knows their digests.
func (c *Client) Transport() http.RoundTripper { return transport{c} }

type transport struct{ client *Client }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	asked := req.URL.String()
	if t.client.cfg.Offline {
		return nil, &OfflineError{Name: req.URL.Host + req.URL.Path, URLs: []string{req.URL.Redacted()}}
	}
	out := req.Clone(req.Context())
	out.Header.Set("User-Agent", t.client.cfg.UserAgent)
	if mirrored, ok := rewrite(asked, t.client.cfg.Mirrors); ok {
		u, err := out.URL.Parse(mirrored)
		if err != nil {
			return nil, err
		}
		out.URL, out.Host = u, u.Host
	}
	resp, err := t.client.http.Transport.RoundTrip(out)
	if resp != nil {
		resp.Request = req // clients of registries look at its scheme
	}
	return resp, err
}
