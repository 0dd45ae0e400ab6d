package cloudcore

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/cloudinit/token"
)

func TestTokenFile(t *testing.T) {
	s := start(t, Options{})
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteTokenFile(path, TokenLifetime); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if info, _ := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || strings.Count(string(text), ".") != 3 {
		t.Errorf("the file is %v %q %v", info, text, err)
	}
}

// TestTokenIsReadBySeeds gives the token to the code that puts tokens into seeds.
func TestTokenIsReadBySeeds(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s, err := New(Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := s.WriteTokenFile(path, time.Hour); err != nil {
		t.Fatal(err)
	}
	read, err := token.FromFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !read.Expires().Equal(now.Add(time.Hour)) || read.CheckExpiry(now, 0) != nil || read.CheckExpiry(now, 2*time.Hour) == nil {
		t.Errorf("it ends at %s", read.Expires())
	}
	if err := read.CheckCA(s.CA()); err != nil {
		t.Error(err)
	}
	if read.CheckCA(other.CA()) == nil {
		t.Error("another CloudCore's authority fits")
	}
	late, err := token.Parse(s.Token(-time.Hour))
	if err != nil || late.CheckExpiry(now, 0) == nil {
		t.Errorf("one that ended is good: %v", err)
	}
}

// TestNoTokenInLog collects what is logged while tokens of all kinds are used.
func TestNoTokenInLog(t *testing.T) {
	var logged []Event
	s, err := New(Options{Log: func(e Event) { logged = append(logged, e) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, s, "edge-1")
	n.certify()
	for _, token := range []string{s.Token(-time.Hour), "a.SECRET!.c.d", "a." + encode([]byte("SECRET")) + ".c.d"} {
		if status, _, err := n.call("GET", "/edge.crt", bearer(token), n.request()); err != nil {
			t.Error(status, err)
		}
	}
	s.Close()
	secret := strings.Split(s.Token(TokenLifetime), ".")[1:]
	for _, e := range logged {
		if strings.Contains(e.Text, "SECRET") || slices.ContainsFunc(secret, func(part string) bool { return strings.Contains(e.Text, part) }) {
			t.Errorf("the log has %q", e.Text)
		}
	}
}

// FuzzCheckToken looks for a token that is taken and was not given out.
func FuzzCheckToken(f *testing.F) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s, err := New(Options{Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	_, good, _ := strings.Cut(s.Token(time.Hour), ".")
	if err := s.checkToken(good); err != nil {
		f.Fatal(err)
	}
	none := encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"exp":9999999999}`)) + "."
	for _, seed := range []string{good, none, "..", "a.b.c", strings.TrimSuffix(good, good[len(good)-1:])} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, jwt string) {
		if err := s.checkToken(jwt); err == nil && jwt != good {
			head, claims, _ := strings.Cut(good[:strings.LastIndex(good, ".")], ".")
			if !strings.HasPrefix(jwt, head+"."+claims+".") { // base64 has unused bits at the end
				t.Errorf("%q is taken", jwt)
			}
		}
	})
}
