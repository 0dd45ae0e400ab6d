// Package durable puts files in their places whole: whoever looks at a final name at any moment, also after this
// process was killed, finds the old file, no file, or all of the new one.
//
// A partial is a file that is being written, beside its place and under another name.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile puts b under path, readable for everybody, in one step.
func WriteFile(path string, b []byte) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(filepath.Clean(dir), "."+name+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first fault says more
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
