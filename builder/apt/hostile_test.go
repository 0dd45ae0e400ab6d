package apt

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// The mirrors of this file serve what the archive has signed, at the wrong time. docs/errors.md names the tests.

// TestOldIndexes: freeze, rollback, and a clock that is wrong.
func TestOldIndexes(t *testing.T) {
	day := 24 * time.Hour
	for name, tt := range map[string]struct {
		date, until, known time.Time
		ignore             bool
		want               []string
	}{
		"as before":       {date: testNow.Add(-day), known: testNow.Add(-day)},
		"newer":           {date: testNow.Add(-day), known: testNow.Add(-2 * day)},
		"rollback":        {date: testNow.Add(-9 * day), known: testNow.Add(-2 * day), want: []string{"2026-01-23T00:00:00Z", "2026-01-30T00:00:00Z", "rollback"}},
		"freeze":          {date: testNow.Add(-9 * day), until: testNow.Add(-2 * day), want: []string{"Valid-Until is 2026-01-30T00:00:00Z", "now is 2026-02-01T00:00:00Z", "freeze", "--mirror"}},
		"freeze, allowed": {date: testNow.Add(-9 * day), until: testNow.Add(-2 * day), ignore: true},
		"rollback of what may be frozen": {date: testNow.Add(-9 * day), until: testNow.Add(-2 * day), known: testNow.Add(-8 * day), ignore: true,
			want: []string{"rollback"}},
		"clock is behind":    {date: testNow.Add(9 * day), want: []string{"2026-02-10T00:00:00Z", "set this machine's clock"}},
		"clock is off a bit": {date: testNow.Add(day / 2)},
	} {
		t.Run(name, func(t *testing.T) {
			r := aptrepo.New(t).Add(aptrepo.Deb{Name: "a"})
			r.Date, r.ValidUntil = tt.date, tt.until
			s := sourceOf(r, r.Write(t.TempDir()))
			s.Known, s.IgnoreValidUntil = tt.known, tt.ignore
			_, err := loadTest(t, s)
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			for _, word := range tt.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v has nothing of %q", err, word)
				}
			}
		})
	}
}

// TestMirrorMidUpdate has a mirror whose Release and indexes are not of the same moment.
func TestMirrorMidUpdate(t *testing.T) {
	const index = "/dists/stable/main/binary-arm64/"
	repo := aptrepo.New(t).Add(aptrepo.Deb{Name: "a"})
	before := repo.Write(t.TempDir())
	after := repo.Add(aptrepo.Deb{Name: "b"}).Write(t.TempDir())
	for name, tt := range map[string]struct {
		// from returns the directory for a path, "" for 404.
		from func(path string, releases int) string
		want string // a package that must be there
		bad  []string
	}{
		"by-hash keeps the old ones": {want: "a", from: func(path string, _ int) string {
			if strings.HasPrefix(path, index+"Packages") {
				return after
			}
			return before
		}},
		"no by-hash": {bad: []string{"instead of 219", "halfway through an update: try again in some minutes", "--mirror"}, from: func(path string, _ int) string {
			switch {
			case strings.Contains(path, "by-hash"):
				return ""
			case strings.HasPrefix(path, index):
				return after
			}
			return before
		}},
		"indexes are not there yet": {bad: []string{"404", "halfway through an update"}, from: func(path string, _ int) string {
			if strings.HasPrefix(path, index) {
				return ""
			}
			return before
		}},
		"the update ends": {want: "b", from: func(path string, releases int) string {
			switch {
			case strings.Contains(path, "by-hash"):
				return ""
			case strings.HasPrefix(path, index) || releases > 1:
				return after
			}
			return before
		}},
	} {
		t.Run(name, func(t *testing.T) {
			releases := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/InRelease") && r.Method == http.MethodGet {
					releases++
				}
				dir := tt.from(r.URL.Path, releases)
				data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(r.URL.Path)))
				if dir == "" || err != nil {
					http.NotFound(w, r)
					return
				}
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			}))
			defer server.Close()
			s := sourceOf(repo, "")
			s.URLs = []string{server.URL}
			u, err := loadTest(t, s)
			if tt.bad == nil {
				if err != nil || u.Candidate(tt.want) == nil {
					t.Fatalf("%v, want %s", err, tt.want)
				}
				return
			}
			var mixed *MixedError
			if !errors.As(err, &mixed) {
				t.Fatalf("%v, want *MixedError", err)
			}
			for _, word := range tt.bad {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v has nothing of %q", err, word)
				}
			}
		})
	}
}

// TestWrongIndexIsStillAMismatch: the exit code goes by it.
func TestWrongIndexIsStillAMismatch(t *testing.T) {
	var mismatch *cas.MismatchError
	if err := explainMismatch(&cas.MismatchError{Want: "1", Got: "2"}); !errors.As(err, &mismatch) {
		t.Errorf("%T", err)
	}
}
