package main

import (
	"errors"

	"github.com/edgebake/edgebake/builder/fetch"
)

// supplyError says that an input could not be had from upstream while a profile was locked, and how a
// person who has a copy supplies it.
type supplyError struct {
	err error
	how string
}

func (e *supplyError) Error() string { return e.err.Error() }
func (e *supplyError) Unwrap() error { return e.err }

const (
	byMirror = "a copy of it is taken with --mirror PREFIX=file:///DIR, where PREFIX is how its address begins; or "
	// One for each kind of input.
	supplyBase      = byMirror + "name another image in base.image of the profile"
	supplyComponent = byMirror + "name another address of it, or a file of this machine (source: debs, source: archive), in the component"
	supplyArchive   = byMirror + "take the source out of the profile and add its packages as files: a component of kind debs:"
)

// supply adds how to what upstream does not serve any more, or cannot be reached.
func supply(err error, how string) error {
	var gone *fetch.NotFoundError
	var failed *fetch.Error
	switch {
	case errors.As(err, &gone):
		return &supplyError{err, how}
	case errors.As(err, &failed):
		return &supplyError{err, "check the network (edgebake doctor); if upstream is gone, " + how}
	}
	return err
}
