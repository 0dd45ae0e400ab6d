package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"github.com/edgebake/edgebake/builder/cas"
)

// Attempt is one URL that was tried and why it did not do.
type Attempt struct {
	URL string
	Err error
}

// Error says that no URL gave an input.
type Error struct {
	Name     string
	Reason   string
	Attempts []Attempt
}

func (e *Error) Error() string {
	if len(e.Attempts) == 0 {
		return fmt.Sprintf("fetching %s: %s", e.Name, e.Reason)
	}
	return fmt.Sprintf("fetching %s: %s", e.Name, list(e.Attempts))
}

// Unwrap returns the cause of each attempt.
func (e *Error) Unwrap() []error { return causes(e.Attempts) }

// NotFoundError says that servers answered and do not have the input (404 or 410), and that no
// URL gave another fault than that or an unknown host.
type NotFoundError struct {
	Name     string
	Attempts []Attempt
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("fetching %s: not there any more: %s", e.Name, list(e.Attempts))
}

// Unwrap returns the cause of each attempt.
func (e *NotFoundError) Unwrap() []error { return causes(e.Attempts) }

// OfflineError says that an input is not in the store and that nothing may be downloaded.
type OfflineError struct {
	Name string
	URLs []string
}

func (e *OfflineError) Error() string {
	return fmt.Sprintf("fetching %s: not in the store and --offline is set; fetch once without it (%s)",
		e.Name, strings.Join(e.URLs, ", "))
}

// StatusError is an answer other than success.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("server answered %d %s", e.Code, http.StatusText(e.Code)))
}

// StallError says that a server sent too little for too long.
type StallError struct{ After time.Duration }

func (e *StallError) Error() string {
	return fmt.Sprintf("server sent less than %d bytes in %s; name another mirror (--mirror PREFIX=URL)", minProgress, e.After)
}

// TooLargeError says that a body is longer than its request allows.
type TooLargeError struct{ Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("server sends more than the %d bytes allowed", e.Limit)
}

// rangeError says that a server did not continue where it was asked to.
type rangeError struct{ Asked, Got string }

func (e *rangeError) Error() string {
	return fmt.Sprintf("resuming with Range %q: server answered with Content-Range %q", e.Asked, e.Got)
}

func list(attempts []Attempt) string {
	var b strings.Builder
	for i, a := range attempts {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", a.URL, a.Err)
	}
	return b.String()
}

func causes(attempts []Attempt) []error {
	out := make([]error, len(attempts))
	for i, a := range attempts {
		out[i] = a.Err
	}
	return out
}

func conclude(name string, attempts []Attempt) error {
	if len(attempts) == 0 {
		return &Error{Name: name, Reason: "it has no URL"}
	}
	missing := 0
	for _, a := range attempts {
		var dns *net.DNSError
		switch {
		case notFound(a.Err):
			missing++
		case errors.As(a.Err, &dns):
		default:
			return &Error{Name: name, Attempts: attempts}
		}
	}
	if missing == 0 {
		return &Error{Name: name, Attempts: attempts}
	}
	return &NotFoundError{Name: name, Attempts: attempts}
}

func notFound(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusGone)
}

// passing reports whether the same URL may do a moment later. A name that does not resolve and
// wrong bytes do not get better by waiting.
func passing(err error) bool {
	var (
		status   *StatusError
		dns      *net.DNSError
		mismatch *cas.MismatchError
		large    *TooLargeError
		file     *fileError
		redirect *redirectError
	)
	switch {
	case errors.As(err, &status):
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
	case noRoom(err), errors.Is(err, fs.ErrPermission), // of our own disk
		errors.As(err, &dns), errors.As(err, &mismatch), errors.As(err, &large), errors.As(err, &file), errors.As(err, &redirect):
		return false
	}
	return true
}

// noRoom reports whether our own disk is at fault.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// explain turns what grab says into this package's errors.
func explain(err error, r Request, got int64) error {
	var status grab.StatusCodeError
	if errors.As(err, &status) {
		return &StatusError{Code: int(status)}
	}
	if errors.Is(err, grab.ErrBadLength) {
		return &cas.MismatchError{Name: r.Name, Want: r.Digest, WantSize: r.Size, GotSize: got}
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err // the URL is named beside it, without its password
	}
	return err
}

func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(unreadable URL)"
	}
	return u.Redacted()
}
