package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
)

func TestOutcome(t *testing.T) {
	tests := map[string]struct {
		err  error
		code int
		hint string
	}{
		"done":      {nil, 0, ""},
		"failed":    {errors.New("x"), 1, ""},
		"no QEMU":   {&vm.MissingQEMUError{Binary: "qemu-system-aarch64"}, 1, "doctor"},
		"usage":     {usagef("x"), 2, "--help"},
		"faults":    {&profile.FaultsError{Name: "mine"}, 2, "edgebake validate mine"},
		"hash":      {&cas.MismatchError{}, 3, "--mirror"},
		"signature": {&apt.SignatureError{}, 3, "fingerprints"},
		"stale":     {&lock.StaleError{Profile: "mine"}, 4, "edgebake lock PROFILE"},
		"no lock":   {&lock.MissingError{Profile: "mine"}, 4, "edgebake lock PROFILE"},
		"verdict":   {&verdictError{"x"}, 5, "console"},
		"interrupt": {fmt.Errorf("fetching: %w", context.Canceled), 130, "same command"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.err
			if err != nil {
				err = fmt.Errorf("doing: %w", err)
			}
			code, hint := outcome(err)
			if code != test.code || !strings.Contains(hint, test.hint) {
				t.Errorf("got %d %q, want %d %q", code, hint, test.code, test.hint)
			}
		})
	}
}

func TestInterruptedIs130(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("EDGEBAKE_STORE", t.TempDir())
	var stdout, stderr bytes.Buffer
	code := Main(ctx, []string{"lock", "minimal-debian-12-amd64", "-o", t.TempDir()}, nil, &stdout, &stderr)
	if code != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") || stdout.Len() > 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
}
