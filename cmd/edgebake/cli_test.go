package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/disk/ext4"
	"github.com/edgebake/edgebake/builder/disk/fat"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/cloudinit/inventory"
	"github.com/edgebake/edgebake/cloudinit/token"
)

func TestOutcome(t *testing.T) {
	tests := map[string]struct {
		err  error
		code int
		hint string
	}{
		"done":        {nil, 0, ""},
		"failed":      {errors.New("x"), 1, ""},
		"no QEMU":     {&vm.MissingQEMUError{Binary: "qemu-system-aarch64"}, 1, "doctor"},
		"no firmware": {&verify.MissingFirmwareError{}, 1, "doctor"},
		"no board":    {&verify.MissingBoardError{}, 1, "--machine"},
		"hang":        {&guest.HangError{}, 1, "console log"},
		"crash":       {&guest.CrashError{}, 1, "console log"},
		"script":      {&guest.ScriptError{}, 1, "console log"},
		"timeout":     {&vm.TimeoutError{}, 1, "--timeout"},
		"QEMU fault":  {&vm.ExitError{Cause: errors.New("x")}, 1, "doctor"},
		"in use":      {&cas.InUseError{}, 1, "--store"},
		"blob gone":   {&cas.NotFoundError{}, 1, "again"},
		"offline":     {&fetch.OfflineError{}, 1, "edgebake fetch PROFILE"},
		"network":     {&fetch.Error{Reason: "x"}, 1, "--mirror"},
		"gone":        {&fetch.NotFoundError{}, 1, "edgebake lock PROFILE"},
		"small disk":  {&disk.SizeError{}, 1, "disk.size"},
		"small ext4":  {&ext4.TooSmallError{}, 1, "disk.size"},
		"small FAT":   {&fat.TooSmallError{}, 1, "disk.size"},
		"full FAT":    {&fat.NoRoomError{}, 1, "nothing was written"},
		"unknown":     {&apt.UnknownPackageError{}, 1, "profile"},
		"chain":       {&apt.UnsatisfiableError{}, 1, "packages"},
		"collision":   {&tree.CollisionError{}, 1, "profile"},
		"no file":     {&boot.MissingFileError{}, 1, "edgebake inspect"},
		"journal":     {&ext4.NeedsRecoveryError{}, 1, "e2fsck"},
		"full":        {&fs.PathError{Op: "write", Path: "/absent/file", Err: syscall.ENOSPC}, 1, "/ has "},
		"full, where": {syscall.ENOSPC, 1, "edgebake gc"},
		"quota":       {syscall.EDQUOT, 1, "edgebake gc"},
		"ulimit":      {syscall.EFBIG, 1, "ulimit"},
		"forbidden":   {&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 1, "no root is needed"},
		"read-only":   {syscall.EROFS, 1, "read-only"},
		"usage":       {usagef("x"), 2, "--help"},
		"faults":      {&profile.FaultsError{Name: "mine"}, 2, "edgebake validate mine"},
		"hash":        {&cas.MismatchError{}, 3, "--mirror"},
		"damage":      {&cas.DamagedError{}, 3, "again"},
		"signature":   {&apt.SignatureError{}, 3, "fingerprints"},
		"bad CA":      {&token.WrongCAError{}, 3, "ca.crt"},
		"old token":   {&token.ExpiredError{}, 6, "fresh"},
		"no token":    {&token.FormatError{}, 2, "nothing"},
		"inventory":   {&inventory.FaultsError{}, 2, "inventory"},
		"stale":       {&lock.StaleError{Profile: "mine"}, 4, "edgebake lock PROFILE"},
		"no lock":     {&lock.MissingError{Profile: "mine"}, 4, "edgebake lock PROFILE"},
		"bad lock":    {&lockError{errors.New("x")}, 4, "edgebake lock PROFILE"},
		"verdict":     {&verdictError{"x"}, 5, "console"},
		"findings":    {&lintError{"x", 2}, 5, "finding"},
		"refused":     {&refusedError{"x", "do y"}, 6, "do y"},
		"no store":    {&cas.ForeignError{}, 6, "--store"},
		"interrupt":   {fmt.Errorf("fetching: %w", context.Canceled), 130, "same command"},
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
