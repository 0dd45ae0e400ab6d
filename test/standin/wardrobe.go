package standin

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// wardrobe changes a tree. The first fault is kept, and the changes after it do nothing.
type wardrobe struct {
	src     *tree.Reader
	time    tree.Time
	entries map[string]tree.Entry
	err     error
}

func newWardrobe(t tree.Tree, src *tree.Reader, now tree.Time) *wardrobe {
	w := &wardrobe{src: src, time: now, entries: make(map[string]tree.Entry, t.Len())}
	for i := range t.Len() {
		w.entries[t.At(i).Path] = t.At(i)
	}
	return w
}

func (w *wardrobe) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// put writes a file, and the directories above it.
func (w *wardrobe) put(name string, mode uint32, c tree.Content) {
	w.dir(path.Dir(name))
	w.entries[name] = tree.Entry{Path: name, Type: tree.File, Mode: mode, MTime: w.time, Content: c}
}

func (w *wardrobe) text(name, text string) { w.put(name, 0o644, tree.InlineContent([]byte(text))) }

func (w *wardrobe) dir(name string) {
	if _, ok := w.entries[name]; ok {
		return
	}
	if name != "." {
		w.dir(path.Dir(name))
	}
	w.entries[name] = tree.Entry{Path: name, Type: tree.Dir, Mode: 0o755, MTime: w.time}
}

func (w *wardrobe) link(name, target string) {
	w.dir(path.Dir(name))
	w.entries[name] = tree.Entry{Path: name, Type: tree.Symlink, Mode: 0o777, MTime: w.time, Link: target}
}

// enable links a unit into the wants of another, as "systemctl enable" does.
func (w *wardrobe) enable(by, unit string) {
	w.link("etc/systemd/system/"+by+".wants/"+unit, "/lib/systemd/system/"+unit)
}

// remove takes out what the patterns of path.Match match. Hard links to it must not stay behind.
func (w *wardrobe) remove(patterns ...string) {
	for name := range w.entries {
		for _, p := range patterns {
			if ok, _ := path.Match(p, name); ok || strings.HasPrefix(name, p+"/") {
				delete(w.entries, name)
			}
		}
	}
}

func (w *wardrobe) read(name string) []byte {
	e, ok := w.entries[name]
	if !ok || e.Type != tree.File {
		w.fail("reading /%s: it is not there, or no file", name)
		return nil
	}
	r, err := w.src.Open(e.Content)
	if err != nil {
		w.fail("reading /%s: %w", name, err)
		return nil
	}
	b, err := io.ReadAll(r)
	if err != nil {
		w.fail("reading /%s: %w", name, err)
	}
	return b
}

// edit changes a file's text and keeps its owner and mode.
func (w *wardrobe) edit(name string, change func(string) string) {
	text := change(string(w.read(name)))
	e := w.entries[name]
	e.Content = tree.InlineContent([]byte(text))
	if w.err == nil {
		w.entries[name] = e
	}
}

// withoutAccount removes a user and its group.
func (w *wardrobe) withoutAccount(name string) {
	for _, file := range []string{"passwd", "group", "shadow", "gshadow"} {
		w.edit("etc/"+file, func(text string) string {
			lines := slices.DeleteFunc(slices.Collect(strings.Lines(text)), func(line string) bool {
				return strings.HasPrefix(line, name+":")
			})
			return strings.Join(lines, "")
		})
	}
}

// replace changes words that must be there.
func (w *wardrobe) replace(name string, pairs ...string) {
	w.edit(name, func(text string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				w.fail("editing /%s: it has no %q", name, pairs[i])
			}
			text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
		}
		return text
	})
}

func (w *wardrobe) tree() (tree.Tree, error) {
	if w.err != nil {
		return tree.Tree{}, w.err
	}
	return tree.New(slices.Collect(maps.Values(w.entries)))
}

// gzipped compresses; the header has no time and no name.
func gzipped(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
