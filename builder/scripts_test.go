package builder

import (
	"io"
	"testing"

	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/tree"
)

func treeOf(t *testing.T, entries ...tree.Entry) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{})
	for _, e := range entries {
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func file(path, text string) tree.Entry {
	return tree.Entry{Path: path, Type: tree.File, Mode: 0o755, Content: tree.InlineContent([]byte(text))}
}

func link(path, target string) tree.Entry {
	return tree.Entry{Path: path, Type: tree.Symlink, Mode: 0o777, Link: target}
}

// TestPayload lets the tools, whose /usr is merged, meet systems with and without a merged /usr. Of what is on both
// sides of one that is not merged, one is often a link to the other.
func TestPayload(t *testing.T) {
	tools := treeOf(t, link("bin", "usr/bin"), link("lib", "usr/lib"), file("usr/bin/busybox", "static"), file("usr/lib/tools", ""))
	roots := map[string]tree.Tree{
		"merged": treeOf(t, link("bin", "usr/bin"), link("lib", "usr/lib"), file("usr/lib/modules/5.4/modules.builtin", ""), file("usr/bin/busybox", "dynamic")),
		"not merged": treeOf(t, file("lib/modules/4.15/modules.builtin", ""), file("lib/terminfo/l/linux", ""), link("usr/lib/terminfo", "/lib/terminfo"),
			file("bin/busybox", "dynamic"), link("usr/bin/busybox", "/bin/busybox")),
	}
	for name, version := range map[string]string{"merged": "5.4", "not merged": "4.15"} {
		src := tree.NewReader(nil)
		s, err := payload("amd64", src, tools, roots[name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := initramfs.KernelVersion(s); err != nil || got != version {
			t.Errorf("%s: the kernel is %q, %v", name, got, err)
		}
		busybox, err := initramfs.Busybox(s.Tree)
		if err != nil {
			t.Fatal(err)
		}
		r, err := src.Open(busybox.Content)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r); err != nil || string(text) != "static" {
			t.Errorf("%s: the guest gets a busybox that is %q, %v", name, text, err)
		}
	}
}
