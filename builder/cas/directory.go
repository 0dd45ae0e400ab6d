package cas

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// tagName marks a directory as a cache for backup programs (bford.info/cachedir), and as a store for us.
const (
	tagName = "CACHEDIR.TAG"
	tag     = "Signature: 8a477f597d28d172789f06886806bc55\n# This is a store of edgebake: blobs named by their SHA-256. edgebake gc cleans it.\n"
)

// ForeignError says that a directory is not a store and has something else in it.
type ForeignError struct{ Dir, Entry string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("opening store: %s has %s in it, which is not of a store", e.Dir, e.Entry)
}

// checkDir wants a directory that is absent, empty or a store.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening store: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("opening store: %s is a file; name a directory", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("opening store: %w", err)
	}
	foreign := ""
	for _, e := range entries {
		if e.Name() == tagName && ownTag(filepath.Join(dir, tagName)) {
			return nil
		}
		// A new file system has lost+found; a tag may be there without its text yet.
		if !slices.Contains([]string{"blobs", "results", "tmp", "locks", "lost+found", tagName}, e.Name()) {
			foreign = e.Name()
		}
	}
	if foreign != "" {
		return &ForeignError{Dir: dir, Entry: foreign}
	}
	return nil
}

func ownTag(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && string(text) == tag
}

// make makes a directory of the store, and before the first one the tag.
func (s *Store) make(dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(s.dir, tagName)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_, err = f.WriteString(tag)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}
