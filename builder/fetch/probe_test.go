package fetch

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			t.Errorf("method is %s", r.Method)
		}
		if !strings.HasSuffix(r.URL.Path, "/there") {
			http.NotFound(w, r)
		}
	}))
	defer server.Close()

	c := New(Config{})
	if got := c.Probe(t.Context(), server.URL+"/there"); len(got) != 1 || got[0].Err != nil || got[0].Date.IsZero() {
		t.Errorf("a file that is there: %+v", got)
	}
	var status *StatusError
	if got := c.Probe(t.Context(), server.URL+"/absent"); len(got) != 1 || !errors.As(got[0].Err, &status) || status.Code != 404 {
		t.Errorf("a file that is absent: %+v", got)
	}
	if got := New(Config{Offline: true}).Probe(t.Context(), server.URL+"/there"); got != nil {
		t.Errorf("offline: %+v", got)
	}
}
