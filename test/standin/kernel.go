package standin

import (
	"context"
	"crypto/md5"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/aptrepo"
)

const modulesDir = "usr/lib/modules/"

// GenericKernel are linux-image-generic and what it leads to, split as Ubuntu's: the image without modules, and the
// modules in /lib without depmod's indexes. It is the base's kernel under another version, with the modules alone
// that a virtual machine with an ext4 disk needs. Whoever configures it fails: it must not get into an image.
func (b Base) GenericKernel(t testing.TB) []Package {
	t.Helper()
	version, err := b.kernel()
	if err != nil {
		t.Fatal(err)
	}
	generic := genericVersion(version)
	modules, err := b.guestModules(t.Context(), version, generic)
	if err != nil {
		t.Fatal(err)
	}
	from := newWardrobe(b.Tree, b.Reader, b.time())
	refuse := map[string]string{"postinst": "#!/bin/sh\necho 'this kernel is for guests' >&2\nexit 1\n"}
	debs := []aptrepo.Deb{
		{Name: "linux-modules-" + generic, Files: modules, Scripts: refuse},
		{Name: "linux-image-" + generic, Depends: "kmod, linux-base, linux-modules-" + generic, Scripts: refuse,
			Files: map[string]string{"boot/vmlinuz-" + generic: string(from.read("boot/vmlinuz-" + version))}},
		{Name: "linux-image-generic", Depends: "linux-image-" + generic},
	}
	if from.err != nil {
		t.Fatal(from.err)
	}
	var out []Package
	for _, d := range debs {
		d.Arch = b.Lock.Arch
		out = append(out, Package{Data: d.Build(t)})
	}
	return out
}

// genericVersion makes 6.1.0-9-generic of 6.1.0-9-cloud-amd64.
func genericVersion(version string) string {
	release, rest, _ := strings.Cut(version, "-")
	abi, _, _ := strings.Cut(rest, "-")
	return release + "-" + abi + "-generic"
}

func (b Base) guestModules(ctx context.Context, version, generic string) (map[string]string, error) {
	from := newWardrobe(b.Tree, b.Reader, b.time())
	files := map[string]string{}
	for _, name := range []string{"modules.builtin", "modules.order"} {
		files["lib/modules/"+generic+"/"+name] = string(from.read(modulesDir + version + "/" + name))
	}
	wanted := []string{"virtio_pci?", "virtio_mmio?", "virtio_blk", "crc32c_generic?", "crc32c_intel?", "ext4"}
	list, err := initramfs.Modules(ctx, initramfs.Source{Arch: b.Lock.Arch, Tree: b.Tree, Reader: b.Reader, Version: version}, wanted)
	if err != nil {
		return nil, fmt.Errorf("making a generic kernel: %w", err)
	}
	for _, m := range list {
		name, _, _ := strings.Cut(strings.TrimPrefix(m.Path, modulesDir+version), ".ko")
		files["lib/modules/"+generic+name+".ko"] = string(m.Data)
	}
	return files, from.err
}

// withoutVirtio takes the drivers for virtual machines out of a kernel's modules and of the lists of them that are text,
// dpkg's too.
func (w *wardrobe) withoutVirtio(version string) {
	dir, edited := modulesDir+version, map[string]bool{}
	for name, e := range w.entries {
		base := path.Base(name)
		switch {
		case !strings.HasPrefix(name, dir+"/") || e.Type != tree.File:
		case strings.Contains(base, ".ko") && strings.Contains(base, "virtio"):
			delete(w.entries, name)
		case isModuleList(base):
			w.edit(name, withoutLinesOf("virtio"))
			edited[name] = true
		}
	}
	const info = adminDir + "/info/linux-image-"
	for name := range w.entries {
		switch {
		case !strings.HasPrefix(name, info+version):
		case path.Ext(name) == ".list":
			w.edit(name, withoutLinesOf("virtio"))
		case path.Ext(name) == ".md5sums":
			w.edit(name, withoutLinesOf("virtio"))
			w.edit(name, w.summed(edited))
		}
	}
}

// isModuleList knows the lists that a kernel's package has, and depmod's.
func isModuleList(base string) bool {
	switch base {
	case "modules.builtin", "modules.order", "modules.dep", "modules.alias", "modules.softdep", "modules.symbols":
		return true
	}
	return false
}

func withoutLinesOf(word string) func(string) string {
	return func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			if !strings.Contains(line, word) {
				out.WriteString(line)
			}
		}
		return out.String()
	}
}

// summed gives dpkg's list of MD5 sums those that edited files have now.
func (w *wardrobe) summed(edited map[string]bool) func(string) string {
	return func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			if at := "usr/" + strings.TrimPrefix(name, "usr/"); edited[at] {
				line = fmt.Sprintf("%x  %s\n", md5.Sum(w.read(at)), name)
			}
			out.WriteString(line)
		}
		return out.String()
	}
}
