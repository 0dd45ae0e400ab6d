package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/artifact"
)

const otherOutput = "name another directory with -o"

// claim makes the output directory and keeps every other edgebake from writing into it until
// release is called or the process dies. It is asked for before the long work begins.
func claim(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making output directory: %w; %s", err, otherOutput)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("preparing to write into %s: %w; %s", dir, err, otherOutput)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening output directory: %w; %s", err, otherOutput)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("claiming output directory %s: another edgebake writes into it; wait for its end, or %s", dir, otherOutput)
	}
	// Some network file systems cannot lock a directory: there two bakes are not kept apart.
	return func() { f.Close() }, nil
}

// bakingName is the file that is in an output directory while a bake writes into it, and after one
// that was killed: what lies there without a manifest is then a bake's.
const bakingName = ".edgebake-baking"

// claimForBake is claim for a bake that writes files of these names. It refuses to write over what
// no bake made: files in a directory with neither a manifest of ours nor a bake that was cut short,
// and anything that is not a plain file.
func claimForBake(dir string, names []string) (release func(), err error) {
	unlock, err := claim(dir)
	if err != nil {
		return nil, err
	}
	marker := filepath.Join(dir, bakingName)
	if err = mayReplace(dir, names); err == nil {
		err = os.WriteFile(marker, nil, 0o644)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return func() {
		if _, none := existing(dir, names); none || hasManifest(dir) {
			_ = os.Remove(marker) // it stays where its text is true, and harms nowhere
		}
		unlock()
	}, nil
}

func mayReplace(dir string, names []string) error {
	if err := onlyFiles(dir, names); err != nil {
		return err
	}
	found, none := existing(dir, names)
	if none || hasManifest(dir) || isFile(filepath.Join(dir, bakingName)) {
		return nil
	}
	return &refusedError{fmt.Sprintf("preparing to write into %s: it has %s and no %s of edgebake, so a bake would write over a file of somebody else",
		dir, found, artifact.ManifestName), otherOutput + ", or move the file away"}
}

// onlyFiles refuses names in dir that are there and no plain files: writing would go through a
// link or into a device.
func onlyFiles(dir string, names []string) error {
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err == nil && !info.Mode().IsRegular() {
			return &refusedError{fmt.Sprintf("preparing to write %s: it is a %s and not a plain file", filepath.Join(dir, name), kindOf(info.Mode())),
				otherOutput + ", or remove it"}
		}
	}
	return nil
}

// existing returns the first of the names that is in dir.
func existing(dir string, names []string) (found string, none bool) {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return name, false
		}
	}
	return "", true
}

func hasManifest(dir string) bool {
	_, err := artifact.ReadManifest(dir)
	return err == nil
}

func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
