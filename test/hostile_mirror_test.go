package test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// TestHostileMirror has mirrors that lie with what was really signed, or in how they serve it. It looks at what a
// person reads: exit code, message, what to do. The table of all hostile input is in docs/errors.md.
func TestHostileMirror(t *testing.T) {
	bin := program(t)
	t.Run("rollback", func(t *testing.T) { t.Parallel(); testRollback(t, bin) })
	t.Run("freeze", func(t *testing.T) { t.Parallel(); testFreeze(t, bin) })
	t.Run("mid-update", func(t *testing.T) { t.Parallel(); testMidUpdate(t, bin) })
	t.Run("redirect loop", func(t *testing.T) { t.Parallel(); testRedirectLoop(t, bin) })
}

// signedAt replaces the archive by one of a date, with a key of its own that the profile trusts.
func (w *workshop) signedAt(date, until time.Time) {
	w.t.Helper()
	repo := aptrepo.New(w.t).Add(parts()...)
	repo.Date, repo.ValidUntil = date, until
	repo.Write(w.archive)
	w.write(w.keyring, repo.Keyring())
	w.fingerprint = repo.Fingerprint()
	w.want()
}

// testRollback serves an older archive than the one that was locked.
func testRollback(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	old, now := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 9, 0, 0, 0, 0, time.UTC)
	w.signedAt(now, time.Time{})
	w.lock()
	path := filepath.Join(w.dir, "node"+lock.Extension)
	before := read(t, path)
	w.signedAt(old, time.Time{})
	w.ends(3, w.command(w.files(), "lock"), "source test", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z", "rollback", "--mirror", "removes the lock")
	w.ends(3, w.command(w.files(), "lock", "--update", "runtime"), "rollback")
	if string(read(t, path)) != string(before) {
		t.Error("the lock was changed")
	}
	must(t, os.Remove(path)) // as the message says
	w.lock()
}

// testFreeze serves an archive whose Valid-Until has passed.
func testFreeze(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	w.signedAt(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC))
	w.ends(1, w.command(w.files(), "lock"), "source test", "Valid-Until is 2026-01-10T00:00:00Z", "freeze", "--mirror", "ignoreValidUntil")
}

// testMidUpdate serves indexes of another moment than the Release's.
func testMidUpdate(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	url := w.serve(func(out http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/by-hash/"):
			http.NotFound(out, r)
		case strings.Contains(r.URL.Path, "/Packages"):
			_, _ = out.Write([]byte("of tomorrow"))
		default:
			return false
		}
		return true
	})
	w.ends(3, w.command(url, "lock"), "Packages", "halfway through an update", "try again in some minutes", "--mirror")
}

// testRedirectLoop sends every request on to itself.
func testRedirectLoop(t *testing.T, bin string) {
	w := newWorkshop(t, bin)
	url := w.serve(func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, r.URL.Path, http.StatusFound)
		return true
	})
	w.ends(1, w.command(url, "lock"), url, "redirected more than 5 times", "--mirror")
}
