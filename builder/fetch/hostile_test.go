package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRedirects are those that are refused, and those that are followed. docs/errors.md names this test.
func TestRedirects(t *testing.T) {
	b := content()
	plain := serve(t, file(b))
	secure := func(to string) *httptest.Server {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if to == "" {
				file(b)(w, r)
				return
			}
			http.Redirect(w, r, to, http.StatusFound)
		}))
		t.Cleanup(s.Close)
		return s
	}
	good := secure("")
	for name, tt := range map[string]struct{ first, want string }{
		"http to http":   {serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain, http.StatusFound) }), ""},
		"http to https":  {serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, good.URL, http.StatusFound) }), ""},
		"https to https": {secure(good.URL).URL, ""},
		"https to http":  {secure(plain).URL, "redirected from https to " + plain},
		"to a file":      {secure("file:///etc/hostname").URL, "redirected to file:///etc/hostname, and only http and https are followed"},
		"loop":           {serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }), "redirected more than 5 times, last to http://"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			c := newClient(s, nil)
			c.http.Transport.(*http.Transport).TLSClientConfig = good.Client().Transport.(*http.Transport).TLSClientConfig
			_, err := c.Get(t.Context(), wanted(b, tt.first+"/x"))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.first+"/x")) {
				t.Errorf("Get: %v, want %q", err, tt.want)
			}
			if name == "loop" {
				return // the transport's user follows redirects, and counts them
			}
			resp, err := (&http.Client{Transport: c.Transport()}).Get(tt.first + "/v2/x/blobs/y")
			if err == nil {
				resp.Body.Close()
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Transport: %v, want %q", err, tt.want)
			}
		})
	}
}

// TestTransportBoundsAnswers: a registry's manifest without an end is cut off, a blob is not.
func TestTransportBoundsAnswers(t *testing.T) {
	var sent atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for sent.Store(0); sent.Load() < maxAnswer+int64(len(content())); {
			n, err := w.Write(content())
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	client := &http.Client{Transport: newClient(newStore(t), nil).Transport()}
	for path, bounded := range map[string]bool{"/v2/x/manifests/latest": true, "/token": true, "/v2/x/blobs/sha256:00": false} {
		resp, err := client.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		var large *TooLargeError
		if errors.As(err, &large) != bounded || bounded && n > maxAnswer || !bounded && n <= maxAnswer {
			t.Errorf("%s: %d bytes, %v", path, n, err)
		}
	}
}

// TestDripIsNoStall: the limit is on time without progress, not on the whole.
func TestDripIsNoStall(t *testing.T) {
	const stall = 3 * time.Second // a busy machine keeps the server waiting, too
	b := content()[:16*2*minProgress]
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for at := 0; at < len(b); at += 2 * minProgress {
			if _, err := w.Write(b[at : at+2*minProgress]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select { // the server's pace is what is tested
			case <-r.Context().Done():
				return
			case <-time.After(stall / 6):
			}
		}
	})
	c := newClient(newStore(t), func(cfg *Config) { cfg.Stall, cfg.Retries = stall, -1 })
	start := time.Now()
	if _, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{url}, Size: -1, MaxSize: 1 << 20}); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < 2*stall {
		t.Errorf("it took %s, and shows nothing about a stall of %s", took, stall)
	}
}

// TestSlowLorisIsGivenUp: a server that always sends something, and too little, is left with a hint at what to do.
func TestSlowLorisIsGivenUp(t *testing.T) {
	const stall = time.Second
	var sent atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			sent.Add(1)
			w.(http.Flusher).Flush()
			select { // the server's pace is what is tested
			case <-r.Context().Done():
				return
			case <-time.After(stall / 20):
			}
		}
	})
	s := newStore(t)
	c := newClient(s, func(cfg *Config) { cfg.Stall, cfg.Retries = stall, -1 })
	_, err := c.Get(t.Context(), Request{Name: "Packages", URLs: []string{url}, Size: -1, MaxSize: 1 << 20})
	var stalled *StallError
	if !errors.As(err, &stalled) {
		t.Fatalf("got %v; want *StallError", err)
	}
	for _, want := range []string{"Packages", url, "less than 1024 bytes in 1s", "another mirror (--mirror PREFIX=URL)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if n := sent.Load(); n < 2 {
		t.Errorf("the server sent %d bytes: that was no drip", n)
	}
}
