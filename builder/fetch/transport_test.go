package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
)

func transportOf(t *testing.T, cfg Config) *http.Client {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store = store
	return &http.Client{Transport: New(cfg).Transport()}
}

func TestTransportMirrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mirror/v2/moved" {
			http.Redirect(w, r, "/v2/here?x=1", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, r.Host+r.URL.String()) // a client that is gone notices itself
	}))
	defer server.Close()
	client := transportOf(t, Config{Mirrors: []Mirror{{Prefix: "https://registry.example", URL: server.URL + "/mirror"}}})
	for path, want := range map[string]string{"/v2/a": "/mirror/v2/a", "/v2/moved": "/mirror/v2/here?x=1"} {
		resp, err := client.Get("https://registry.example" + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if string(got) != server.Listener.Addr().String()+want || resp.Request.URL.Scheme != "https" {
			t.Errorf("%s asks for %s; the request is %s", path, got, resp.Request.URL)
		}
	}
}

func TestTransportOffline(t *testing.T) {
	resp, err := transportOf(t, Config{Offline: true}).Get("https://registry.example/v2/")
	if err == nil {
		resp.Body.Close()
	}
	var offline *OfflineError
	if !errors.As(err, &offline) {
		t.Errorf("offline: %v", err)
	}
}

func TestTransportEndsStalledBodies(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10000")
		_, _ = io.WriteString(w, "begin") // a client that is gone notices itself
		w.(http.Flusher).Flush()
		<-hang
	}))
	defer server.Close()
	defer close(hang)
	resp, err := transportOf(t, Config{Stall: 20 * time.Millisecond}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	var stall *StallError
	if !errors.As(err, &stall) {
		t.Errorf("a body that stalls: %v", err)
	}
}
