package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/bundle"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/component"
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

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // usage, or a fault in a profile
	exitUnverified  = 3 // an input does not verify
	exitStale       = 4 // the lock is not one of the profile as it is
	exitVerdict     = 5 // the image was examined and found bad
	exitRefused     = 6 // refused for safety
	exitInterrupted = 130
)

// exitCodes is what every command's help says.
const exitCodes = `Exit codes:
  0 done   1 failed   2 usage or profile fault   3 an input does not verify
  4 stale lock   5 negative verdict   6 refused for safety   130 interrupted`

// usageError is a mistake in the command line, the environment or the configuration file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// verdictError says that something was examined and found bad.
type verdictError struct{ what string }

func (e *verdictError) Error() string { return e.what }

// refusedError says that a command could do what it was asked for and destroy something by it.
type refusedError struct{ what, remedy string }

func (e *refusedError) Error() string { return e.what }

// lockError says that a lock file cannot be read.
type lockError struct{ err error }

func (e *lockError) Error() string { return e.err.Error() }
func (e *lockError) Unwrap() error { return e.err }

// silentError ends a command with exit code 1 whose result on stdout already says why.
type silentError struct{}

func (silentError) Error() string { return "" }

// outcome maps an error to an exit code and to a line that says what to do next.
func outcome(err error) (code int, hint string) {
	if err == nil {
		return exitDone, ""
	}
	for _, r := range remedies() {
		if hint, ok := r.fits(err); ok {
			return r.code, hint
		}
	}
	return exitFailed, ""
}

// remedy is what to do about one kind of error.
type remedy struct {
	code int
	fits func(error) (hint string, ok bool)
}

// remedies are asked in this order. A PROFILE in a hint becomes the one that was typed.
func remedies() []remedy {
	return []remedy{
		{exitInterrupted, is(context.Canceled, "the store is as it should be: run the same command to go on")},
		{exitRefused, with(func(e *refusedError) string { return e.remedy })},
		{exitRefused, as[*cas.ForeignError]("name an empty directory, or one that edgebake made, with --store")},
		{exitRefused, as[*bundle.ForeignError]("name another file or directory with -o, or move it away")},
		{exitUsage, as[*usageError]("see: edgebake COMMAND --help")},
		{exitUsage, cobraUsage},
		{exitUsage, with(func(e *profile.FaultsError) string { return "correct the profile, then: edgebake validate " + e.Name })},
		{exitUsage, as[*inventory.FaultsError]("correct the inventory and run the same command again: nothing was written")},
		{exitUsage, as[*token.FormatError]("nothing was written")},
		{exitRefused, as[*token.ExpiredError]("get a fresh one: CloudCore makes one every 12 hours, valid for 24 (keadm gettoken, or --kubeconfig); a node also takes a token that is put beside its seed later")},
		{exitUnverified, as[*token.WrongCAError]("take the token of the cluster whose certificate this is, or the certificate of the token's cluster (https://CLOUDCORE:10002/ca.crt)")},
		{exitStale, as[*lock.StaleError]("edgebake lock PROFILE takes what the archives have now; with --keep it keeps every version")},
		{exitStale, as[*lock.MissingError]("edgebake lock PROFILE")},
		{exitFailed, as[*lock.OnTopError]("the lock stays as it is: the same command without --on-top makes one whose bake configures all packages anew")},
		{exitStale, as[*lockError]("restore it, or write it anew: edgebake lock PROFILE")},
		{exitUnverified, as[*apt.RollbackError]("nothing was changed: name another mirror (--mirror PREFIX=URL), or try again later; who wants the older packages removes the lock first")},
		{exitUnverified, as[*cas.MismatchError]("nothing of it was kept: try again, or another mirror (--mirror PREFIX=URL); if the archive changed: edgebake lock PROFILE")},
		{exitUnverified, as[*apt.SignatureError]("nothing of it was used: try another mirror, or compare the keyring and the fingerprints in the profile with what the archive publishes")},
		{exitUnverified, as[*cas.DamagedError]("run the same command again: it is fetched or made anew; a disk that does this twice is failing")},
		{exitUnverified, as[*bundle.DamagedError]("copy it again from where it was made, or make it anew: edgebake vendor PROFILE")},
		{exitVerdict, as[*verdictError]("the console log says more")},
		{exitVerdict, as[*lintError]("each finding says how to correct it; the profile is the place to do so")},
		{exitUsage, as[*bundle.NotBundleError]("make one where there is a network: edgebake vendor PROFILE -o DIR (or NAME.tar)")},
		{exitFailed, full},
		{exitFailed, notPermitted},
		{exitFailed, as[*cas.InUseError]("wait for the other edgebake to end, or use another store (--store DIR)")},
		{exitFailed, as[*cas.NotFoundError]("run the same command again: it is fetched or made anew")},
		{exitFailed, as[*builder.BaseError](otherBase)},
		{exitFailed, as[*builder.BaseRoomError]("put less on it (overlays, boot.configTxt, packages with kernels or firmware), or name an image with a larger one in base.image; then: edgebake lock PROFILE")},
		{exitFailed, with(func(e *supplyError) string { return e.how })},
		{exitFailed, as[*fetch.NotFoundError]("if the archive dropped it: edgebake lock PROFILE pins what the archive has now")},
		{exitFailed, as[*fetch.OfflineError]("run edgebake fetch PROFILE once without --offline, or bring the inputs with --vendor (edgebake vendor --help)")},
		{exitFailed, as[*fetch.Error]("check the network and the address (edgebake doctor), or name a mirror: --mirror PREFIX=URL")},
		{exitFailed, as[*disk.SizeError](raiseSize)},
		{exitFailed, as[*ext4.TooSmallError](raiseSize)},
		{exitFailed, as[*fat.TooSmallError](raiseSize)},
		{exitFailed, as[*fat.NoRoomError]("nothing was written")},
		{exitFailed, as[*apt.UnknownPackageError]("correct the name in the profile, or add the source that has the package")},
		{exitFailed, as[*apt.UnsatisfiableError]("drop or change one of the packages in this chain, or add the source that has what they need")},
		{exitFailed, as[*tree.CollisionError]("rename the path in one of them, or leave one of them out of the profile")},
		{exitFailed, as[*guest.ScriptError]("correct the package's configuration or leave it out of the profile; the guest's console log says more")},
		{exitFailed, as[*guest.HangError]("the script may wait for an answer or for the network, and there is neither: preseed the package or leave it out; the guest's console log says more")},
		{exitFailed, as[*guest.CrashError]("the guest's console log says more; a full disk or too little memory ends QEMU too: edgebake doctor")},
		{exitFailed, as[*vm.MissingQEMUError]("then run the same command again; edgebake doctor shows what else is missing")},
		{exitFailed, as[*component.MissingGoError]("then run the same command again; edgebake doctor shows what else is missing")},
		{exitFailed, as[*verify.MissingFirmwareError]("then run the same command again; edgebake doctor shows what else is missing")},
		{exitFailed, as[*verify.MissingBoardError]("name a board that it has with --machine; edgebake doctor lists them")},
		{exitFailed, as[*vm.TimeoutError]("give it more with --timeout, or see at which point the console stops")},
		{exitFailed, as[*vm.ExitError]("edgebake doctor tests this QEMU")},
		{exitFailed, as[*boot.MissingFileError]("add the package that brings it to the profile; for an image: edgebake inspect IMAGE ls / shows what is there")},
		{exitFailed, as[*ext4.NeedsRecoveryError]("it was not unmounted cleanly: run e2fsck on a copy, or boot it once")},
	}
}

const raiseSize = "raise disk.size or the partition's size in the profile, then: edgebake lock PROFILE"

const otherBase = "name another image in base.image of the profile, or mend a copy of this one and name that (file:///..., with its sha256); then: edgebake lock PROFILE"

// as fits every error of a type.
func as[T error](hint string) func(error) (string, bool) {
	return with(func(T) string { return hint })
}

// with fits every error of a type and makes the hint of it.
func with[T error](hint func(T) string) func(error) (string, bool) {
	return func(err error) (string, bool) {
		var e T
		if !errors.As(err, &e) {
			return "", false
		}
		return hint(e), true
	}
}

// is fits one error.
func is(target error, hint string) func(error) (string, bool) {
	return func(err error) (string, bool) { return hint, errors.Is(err, target) }
}

func cobraUsage(err error) (string, bool) { return "see: edgebake COMMAND --help", isCobraUsage(err) }

// full fits a full file system, a quota and a limit on the size of files: it says how much is free, and where.
func full(err error) (string, bool) {
	switch {
	case errors.Is(err, syscall.EFBIG):
		return "the file system or ulimit -f does not allow a file of this size: use another directory (--store, -o, TMPDIR)", true
	case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT):
		return "", false
	}
	const remedy = "make room there (edgebake gc cleans the store), or use another disk: --store DIR, -o DIR, TMPDIR"
	var at *fs.PathError
	if !errors.As(err, &at) {
		return remedy, true
	}
	free, dir, known := freeSpace(at.Path)
	if !known {
		return remedy, true
	}
	return fmt.Sprintf("%s has %.1f MiB free: %s", dir, mebi(free), remedy), true
}

// freeSpace is what the file system of a path has for us in bytes; dir is the part of the path that exists.
func freeSpace(path string) (free int64, dir string, ok bool) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return 0, "", false
	}
	for dir = filepath.Dir(dir); ; dir = filepath.Dir(dir) {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil {
			return int64(s.Bavail) * s.Bsize, dir, true
		}
		if dir == filepath.Dir(dir) {
			return 0, "", false
		}
	}
}

// notPermitted fits what the user or the file system forbids.
func notPermitted(err error) (string, bool) {
	switch {
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only: use another directory (--store DIR, -o DIR, TMPDIR)", true
	case errors.Is(err, fs.ErrPermission):
		return "no root is needed: use files and directories of your own (--store DIR, -o DIR, TMPDIR), or change the owner of this one", true
	}
	return "", false
}
