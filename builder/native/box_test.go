package native

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// inside is testdata/inside, as a tree with one static program, usr/bin/inside.
func inside(t *testing.T) tree.Tree {
	t.Helper()
	at := filepath.Join(t.TempDir(), "inside")
	build := exec.Command("go", "build", "-o", at, "./testdata/inside")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building it: %v: %s", err, out)
	}
	program, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	b := tree.NewBuilder(tree.Time{})
	b.Add(tree.Entry{Path: "tmp", Type: tree.Dir, Mode: 0o755})
	b.Add(tree.Entry{Path: "usr/bin/inside", Type: tree.File, Mode: 0o755, Content: tree.InlineContent(program)})
	b.Add(tree.Entry{Path: "usr/share/doc/inside", Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte("not needed"))})
	return treeOf(t, b)
}

func treeOf(t *testing.T, b *tree.Builder) tree.Tree {
	t.Helper()
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func boxOf(t *testing.T, programs tree.Tree) Box {
	t.Helper()
	j := Job{Programs: programs, Reader: tree.NewReader(nil), Dir: t.TempDir()}
	b, err := NewBox(t.Context(), j, filepath.Join(j.Dir, "box"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if err := b.Run(t.Context(), nil, "/usr/bin/inside", "nothing"); errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC) {
		oracle.Missing(t, "the right to make user namespaces: "+err.Error())
	}
	return b
}

// TestBoxIsEmpty lets a program look for anything of this machine, or a right, that it could have.
func TestBoxIsEmpty(t *testing.T) {
	b := boxOf(t, inside(t))
	if err := b.Run(t.Context(), strings.NewReader("secret"), "/usr/bin/inside"); err != nil {
		t.Fatal(err)
	}
	if text, err := b.root.ReadFile("tmp/made"); err != nil || string(text) != "by it" {
		t.Errorf("what it wrote is %q (%v)", text, err)
	}
	if b.has("usr/share/doc/inside") {
		t.Error("documentation is in the box")
	}
}

func TestBoxSaysWhatFailed(t *testing.T) {
	b := boxOf(t, inside(t))
	err := b.Run(t.Context(), nil, "/usr/bin/inside", "fail")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.HasSuffix(err.Error(), ": last words") {
		t.Errorf("a program that fails: %v", err)
	}
	if err := b.Run(t.Context(), nil, "/usr/bin/absent"); errors.As(err, &exit) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestBoxEndsWithContext(t *testing.T) {
	b := boxOf(t, inside(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Run(ctx, nil, "/usr/bin/inside", "sleep"); err == nil {
		t.Error("a program that was stopped has not failed")
	}
}

// TestBoxPut writes entries that have something in their way, or want to leave.
func TestBoxPut(t *testing.T) {
	b := boxOf(t, inside(t))
	add := tree.NewBuilder(tree.Time{})
	for _, e := range []tree.Entry{
		{Path: "a/conf.dpkg-new", Type: tree.File, Mode: 0o640, MTime: tree.Time{Sec: 7}, Content: tree.InlineContent([]byte("new"))},
		{Path: "a/link", Type: tree.Symlink, Link: "/etc/passwd"},
		{Path: "a/other", Type: tree.Hardlink, Link: "a/first"},
		{Path: "a/first", Type: tree.File, Mode: 0o600, Content: tree.InlineContent([]byte("1"))},
		{Path: "a/pipe", Type: tree.Fifo, Mode: 0o600},
	} {
		add.Add(e)
	}
	list := treeOf(t, add)
	for range 2 { // the second time all is there
		if err := b.Put(t.Context(), list, tree.NewReader(nil), func(e tree.Entry) bool { return e.Type != tree.Dir }); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := b.root.Stat("a/conf"); err != nil || info.ModTime().Unix() != 7 || info.Size() != 3 {
		t.Errorf("a/conf is %v (%v)", info, err)
	}
	if text, err := b.root.ReadFile("a/other"); err != nil || string(text) != "1" {
		t.Errorf("a/other is %q (%v)", text, err)
	}
	if _, err := b.root.ReadFile("a/link"); err == nil {
		t.Error("a link leads out of the box")
	}
	through := tree.NewBuilder(tree.Time{})
	through.Add(tree.Entry{Path: "a/link", Type: tree.File, Mode: 0o600, Content: tree.InlineContent([]byte("x"))})
	if err := b.Put(t.Context(), treeOf(t, through), tree.NewReader(nil), func(e tree.Entry) bool { return e.Type == tree.File }); err == nil {
		t.Error("a file was written through a link that leads out of the box")
	}
}
