package fetch

import (
	"context"
	"net/http"
	"time"
)

// probeLimit is how long a server may take to answer a probe.
const probeLimit = 10 * time.Second

// Answer says how a server answered a probe.
type Answer struct {
	URL string // as it was asked, without credentials
	// Err is nil when the server has the file: a *StatusError, or what the network said.
	Err  error
	Date time.Time // the server's clock, zero when it did not say
	Took time.Duration
}

// Probe asks for the head of url at each of its addresses, in the order in which Get tries them,
// until one has it. It downloads nothing. Offline it asks nobody.
func (c *Client) Probe(ctx context.Context, url string) []Answer {
	if c.cfg.Offline {
		return nil
	}
	var answers []Answer
	for _, u := range c.urls([]string{url}) {
		a := c.head(ctx, u)
		answers = append(answers, a)
		if a.Err == nil || ctx.Err() != nil {
			break
		}
	}
	return answers
}

func (c *Client) head(ctx context.Context, u string) Answer {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	a := Answer{URL: redact(u)}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u, nil)
	if err != nil {
		a.Err = err
		return a
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	start := time.Now()
	resp, err := c.http.Do(req)
	a.Took = time.Since(start)
	if err != nil {
		a.Err = err
		return a
	}
	defer resp.Body.Close()
	a.Date, _ = http.ParseTime(resp.Header.Get("Date")) // zero when it is absent or malformed
	if resp.StatusCode != http.StatusOK {
		a.Err = &StatusError{Code: resp.StatusCode}
	}
	return a
}
