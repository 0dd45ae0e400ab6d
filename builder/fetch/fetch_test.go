package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
)

func newStore(t *testing.T) *cas.Store {
	t.Helper()
	s, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(s *cas.Store, change func(*Config)) *Client {
	cfg := Config{Store: s, Backoff: time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

// content is long enough to be cut in the middle.
func content() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 20_000) }

func wanted(b []byte, urls ...string) Request {
	return Request{Name: "base image", URLs: urls, Size: int64(len(b)), Digest: cas.Of(b)}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// file serves b with ranges and HEAD, as a web server serves a file.
func file(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// cutOnce serves b but closes the first GET's connection after half of it.
func cutOnce(b []byte, ranges *sync.Map, next http.HandlerFunc) http.HandlerFunc {
	var gets atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			n := gets.Add(1)
			ranges.Store(n, r.Header.Get("Range"))
			if n == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				_, _ = w.Write(b[:len(b)/2])
				panic(http.ErrAbortHandler)
			}
		}
		next(w, r)
	}
}

func TestTruncatedDownloadIsResumed(t *testing.T) {
	b := content()
	var ranges sync.Map
	url := serve(t, cutOnce(b, &ranges, file(b)))
	s := newStore(t)
	if err := newClient(s, nil).All(t.Context(), []Request{wanted(b, url+"/x")}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ReadAll(cas.Of(b), 1<<20); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("store has %d bytes, %v", len(got), err)
	}
	if got, _ := ranges.Load(int64(2)); !strings.HasPrefix(fmt.Sprint(got), "bytes=") || got == "bytes=0-" {
		t.Errorf("second request has Range %v; want one that continues", got)
	}
	checkNoPartials(t, s)
}

func checkNoPartials(t *testing.T, s *cas.Store) {
	t.Helper()
	entries, err := os.ReadDir(s.PartialDir())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("partial %s stays", e.Name())
	}
}

// A server that ignores Range must not make the second half follow the first half twice.
func TestServerThatIgnoresRange(t *testing.T) {
	b := content()
	var ranges sync.Map
	url := serve(t, cutOnce(b, &ranges, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(b)
		}
	}))
	s := newStore(t)
	if err := newClient(s, nil).All(t.Context(), []Request{wanted(b, url)}); err != nil {
		t.Fatal(err)
	}
	if !s.Has(cas.Of(b)) {
		t.Error("blob is not in the store")
	}
}

// partial writes what a killed process left of a download.
func partial(t *testing.T, s *cas.Store, d cas.Digest, b []byte) {
	t.Helper()
	if err := os.MkdirAll(s.PartialDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.PartialDir(), string(d)), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPartialOfKilledProcess(t *testing.T) {
	b := content()
	tests := []struct {
		name    string
		partial []byte
		sent    int64 // bytes of bodies the server sends at least
	}{
		{"right beginning", b[:100_000], int64(len(b)) - 100_000},
		{"wrong beginning", bytes.Repeat([]byte("x"), 100_000), 2*int64(len(b)) - 100_000},
		{"complete", b, 0},
		{"complete but wrong", bytes.Repeat([]byte("x"), len(b)), int64(len(b))},
		{"too long", append(bytes.Clone(b), "more"...), int64(len(b))},
		{"empty", nil, int64(len(b))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent atomic.Int64
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				file(b)(&counting{ResponseWriter: w, n: &sent}, r)
			})
			s := newStore(t)
			partial(t, s, cas.Of(b), tt.partial)
			if err := newClient(s, nil).All(t.Context(), []Request{wanted(b, url)}); err != nil {
				t.Fatal(err)
			}
			if got, err := s.ReadAll(cas.Of(b), 1<<20); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("store has %d bytes, %v", len(got), err)
			}
			if sent.Load() != tt.sent {
				t.Errorf("server sent %d bytes, want %d", sent.Load(), tt.sent)
			}
			checkNoPartials(t, s)
		})
	}
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestWrongBytes(t *testing.T) {
	b := content()
	wrong := bytes.Repeat([]byte("x"), len(b))
	tests := []struct {
		name string
		body []byte
	}{
		{"same size", wrong}, {"shorter", wrong[:1000]}, {"longer", append(bytes.Clone(b), "more"...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var gets atomic.Int64
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				gets.Add(1)
				file(tt.body)(w, r)
			})
			s := newStore(t)
			err := newClient(s, nil).All(t.Context(), []Request{wanted(b, url)})
			var mismatch *cas.MismatchError
			if !errors.As(err, &mismatch) {
				t.Fatalf("got %v; want *cas.MismatchError", err)
			}
			if mismatch.Want != cas.Of(b) || mismatch.GotSize != int64(len(tt.body)) || mismatch.Name != "base image" {
				t.Errorf("got %+v", mismatch)
			}
			if s.Has(cas.Of(b)) || s.Has(cas.Of(tt.body)) {
				t.Error("wrong bytes are in the store")
			}
			if gets.Load() != 1 {
				t.Errorf("wrong bytes were asked for %d times", gets.Load())
			}
			checkNoPartials(t, s)
		})
	}
}

func TestNextURL(t *testing.T) {
	b := content()
	good := serve(t, file(b))
	tests := []struct {
		name  string
		first string
	}{
		{"404", serve(t, http.NotFound)},
		{"500", serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })},
		{"wrong hash", serve(t, file(bytes.Repeat([]byte("x"), len(b))))},
		{"unknown host", "http://host.invalid"},
		{"missing file", "file:///nonexistent"},
		{"scheme", "ftp://host.invalid"},
		{"redirects for ever", serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			c := newClient(s, func(cfg *Config) { cfg.Retries = 1 })
			if err := c.All(t.Context(), []Request{wanted(b, tt.first+"/x", good+"/x")}); err != nil {
				t.Fatal(err)
			}
			if !s.Has(cas.Of(b)) {
				t.Error("blob is not in the store")
			}
		})
	}
}

func TestNotFoundIsToldFromOtherFaults(t *testing.T) {
	missing, broken := serve(t, http.NotFound), serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	tests := []struct {
		name string
		urls []string
		want bool
	}{
		{"all 404", []string{missing + "/a", missing + "/b"}, true},
		{"404 and unknown host", []string{"http://host.invalid/a", missing + "/b"}, true},
		{"404 and 403", []string{missing + "/a", broken + "/b"}, false},
		{"unknown host", []string{"http://host.invalid/a"}, false},
		{"no URL", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := newClient(newStore(t), nil).All(t.Context(), []Request{wanted(content(), tt.urls...)})
			var notFound *NotFoundError
			if err == nil || errors.As(err, &notFound) != tt.want {
				t.Fatalf("got %v; want *NotFoundError: %v", err, tt.want)
			}
			for _, part := range append(tt.urls, "base image") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not name %s", err, part)
				}
			}
		})
	}
}

func TestRetryAfterPassingFault(t *testing.T) {
	b := content()
	for _, code := range []int{429, 500, 503} {
		var n atomic.Int64
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) <= 2 {
				w.WriteHeader(code)
				return
			}
			file(b)(w, r)
		})
		if err := newClient(newStore(t), nil).All(t.Context(), []Request{wanted(b, url)}); err != nil {
			t.Errorf("%d twice: %v", code, err)
		}
	}
}

func TestUnknownHostIsAskedOnce(t *testing.T) {
	s := newStore(t)
	c := newClient(s, nil)
	var dials atomic.Int64
	c.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, &net.DNSError{Err: "no such host", Name: "mirror.example", IsNotFound: true}
	}
	for range 3 {
		if err := c.All(t.Context(), []Request{wanted(content(), "http://mirror.example/x")}); err == nil {
			t.Fatal("no failure")
		}
	}
	if dials.Load() != 1 {
		t.Errorf("%d look-ups of a host that does not resolve; want 1", dials.Load())
	}
}

func TestEndlessBody(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(content()); err != nil {
				return
			}
		}
	})
	s := newStore(t)
	c := newClient(s, nil)
	_, err := c.Get(t.Context(), Request{Name: "InRelease", URLs: []string{url}, Size: -1, MaxSize: 1 << 20})
	var large *TooLargeError
	if !errors.As(err, &large) || large.Limit != 1<<20 {
		t.Errorf("unknown size: %v; want *TooLargeError", err)
	}
	var mismatch *cas.MismatchError
	if err := c.All(t.Context(), []Request{wanted(content(), url)}); !errors.As(err, &mismatch) {
		t.Errorf("known size: %v; want *cas.MismatchError", err)
	}
	checkNoPartials(t, s)
}

func TestSlowServerIsGivenUp(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(newStore(t), func(cfg *Config) { cfg.Stall, cfg.Retries = 50*time.Millisecond, 1 })
	_, err := c.Get(t.Context(), Request{Name: "InRelease", URLs: []string{url}, Size: -1, MaxSize: 100})
	var stall *StallError
	if !errors.As(err, &stall) {
		t.Errorf("got %v; want *StallError", err)
	}
}

func TestGetOfUnknownDigestAsksAgain(t *testing.T) {
	var n atomic.Int64
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "version ", n.Add(1)) })
	s := newStore(t)
	c := newClient(s, nil)
	for _, want := range []string{"version 1", "version 2"} {
		d, err := c.Get(t.Context(), Request{Name: "InRelease", URLs: []string{url}, Size: -1, MaxSize: 100})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.ReadAll(d, 100); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if err := c.All(t.Context(), []Request{{Name: "x", URLs: []string{url}, Size: -1}}); err == nil {
		t.Error("All takes a request without digest")
	}
}

func TestOfflineOpensNoSocket(t *testing.T) {
	b := content()
	s := newStore(t)
	c := newClient(s, func(cfg *Config) { cfg.Offline = true })
	c.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		t.Error("a socket was opened")
		return nil, errors.New("offline")
	}
	var offline *OfflineError
	if err := c.All(t.Context(), []Request{wanted(b, "http://127.0.0.1:1/x")}); !errors.As(err, &offline) || offline.Name != "base image" {
		t.Errorf("got %v; want *OfflineError", err)
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.All(t.Context(), []Request{wanted(b, "http://127.0.0.1:1/x", "file://"+path)}); err != nil {
		t.Errorf("a file URL: %v", err)
	}
	if err := c.All(t.Context(), []Request{wanted(b, "http://127.0.0.1:1/x")}); err != nil {
		t.Errorf("a blob of the store: %v", err)
	}
}

func TestAllJoinsFailures(t *testing.T) {
	b := content()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/good" {
			file(b)(w, r)
			return
		}
		http.NotFound(w, r)
	})
	s := newStore(t)
	one, two := wanted([]byte("one"), url+"/one"), wanted([]byte("two"), url+"/two")
	one.Name, two.Name = "input one", "input two"
	err := newClient(s, nil).All(t.Context(), []Request{one, wanted(b, url+"/good"), two})
	for _, part := range []string{"input one", "input two", "/one", "/two", "404"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
	if !s.Has(cas.Of(b)) {
		t.Error("the good input was not downloaded")
	}
}

func TestSameInputIsDownloadedOnce(t *testing.T) {
	b := content()
	var gets atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { gets.Add(1); file(b)(w, r) })
	s := newStore(t)
	r := wanted(b, url)
	if err := newClient(s, nil).All(t.Context(), []Request{r, r, r, r}); err != nil {
		t.Fatal(err)
	}
	if gets.Load() != 1 {
		t.Errorf("%d downloads of one input", gets.Load())
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	err := newClient(newStore(t), nil).All(ctx, []Request{wanted(content(), url)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want context.Canceled", err)
	}
}

func TestPasswordIsNotShown(t *testing.T) {
	url := strings.Replace(serve(t, http.NotFound), "http://", "http://user:secret@", 1)
	err := newClient(newStore(t), nil).All(t.Context(), []Request{wanted(content(), url)})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
