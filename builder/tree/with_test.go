package tree

import "testing"

// TestWith compares With with a Builder that was given everything.
func TestWith(t *testing.T) {
	now := Time{Sec: 7}
	below := NewBuilder(Time{Sec: 1})
	below.Add(Entry{Path: "a/file", Type: File, Mode: 0o600})
	below.Add(Entry{Path: "a/link", Type: Hardlink, Link: "a/file"})
	start, err := below.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for _, added := range [][]Entry{
		nil,
		{{Path: "a/file", Type: File, Mode: 0o644}},                            // replaced
		{{Path: "a/b/c/new", Type: File}, {Path: "a/b/c/new", Type: Symlink}},  // with directories; the later counts
		{{Path: "x", Type: Dir, Mode: 0o700}, {Path: "x/y", Type: Fifo}},       // described and not implied
		{{Path: ".", Type: Dir, Mode: 0o711}, {Path: "a", Type: Dir, Mode: 0}}, // directories that exist
	} {
		b := NewBuilder(now)
		for _, e := range append(start.Entries(), added...) {
			b.Add(e)
		}
		want, err := b.Tree()
		if err != nil {
			t.Fatal(err)
		}
		got, err := With(start, now, added...)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := digest(t, got), digest(t, want); g != w {
			t.Errorf("with %+v it has %+v, want %+v", added, got.Entries(), want.Entries())
		}
	}
	if _, err := With(start, now, Entry{Path: "a/file/below", Type: File}); err == nil {
		t.Error("a file is a directory")
	}
}
