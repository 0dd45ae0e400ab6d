package initramfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/edgebake/edgebake/builder/tree"
)

// module returns the smallest ELF file with a .modinfo section.
func module(depends, softdep string) []byte {
	info := "depends=" + depends + "\x00"
	if softdep != "" {
		info += "softdep=" + softdep + "\x00"
	}
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	infoAt, namesAt := uint64(header), uint64(header+len(info))
	sectionsAt := namesAt + uint64(len(names))
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	put([]uint16{1, 183})
	put(uint32(1))
	put([]uint64{0, 0, sectionsAt})
	put(uint32(0))
	put([]uint16{header, 0, 0, section, 3, 2})
	b.WriteString(info + names)
	put(make([]byte, section))
	for _, s := range []struct {
		name, kind uint32
		at, size   uint64
	}{{1, 1, infoAt, uint64(len(info))}, {10, 3, namesAt, uint64(len(names))}} {
		put([]uint32{s.name, s.kind})
		put([]uint64{0, 0, s.at, s.size})
		put([]uint32{0, 0})
		put([]uint64{1, 0})
	}
	return b.Bytes()
}

func kernel(t *testing.T, files map[string][]byte) Source {
	t.Helper()
	seen := map[string]bool{}
	var entries []tree.Entry
	for name, data := range files {
		entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Content: tree.InlineContent(data)})
		for dir := path.Dir(name); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			entries = append(entries, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
		}
	}
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Arch: "arm64", Tree: made, Reader: tree.NewReader(nil)}
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func TestModulesInLoadingOrder(t *testing.T) {
	const dir = "usr/lib/modules/6.1/"
	s := kernel(t, map[string][]byte{
		dir + "modules.builtin":              []byte("kernel/drivers/virtio/virtio.ko\n"),
		dir + "kernel/fs/ext4.ko":            module("jbd2,mb-cache", "pre: crc32c"),
		dir + "kernel/fs/jbd2.ko.gz":         gz(module("mb-cache", "")),
		dir + "kernel/fs/mb-cache.ko.zst":    zst(module("", "")),
		dir + "kernel/crc/crc32c_generic.ko": module("", ""),
		dir + "kernel/virtio_blk.ko":         module("virtio", ""),
		dir + "kernel/broken.ko":             module("absent", ""),
	})
	got, err := Modules(context.Background(), s, []string{"ext4", "virtio-blk", "nothing?", "jbd2"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if want := []string{"crc32c_generic", "mb_cache", "jbd2", "ext4", "virtio_blk"}; !slices.Equal(names, want) {
		t.Errorf("order %q, want %q", names, want)
	}
	if !bytes.HasPrefix(got[1].Data, []byte("\x7fELF")) {
		t.Error("mb_cache is not decompressed")
	}
	_, err = Modules(context.Background(), s, []string{"broken"})
	if err == nil || !strings.Contains(err.Error(), "finding module absent of kernel 6.1") || !strings.Contains(err.Error(), "needed by broken") {
		t.Errorf("a missing dependency gave %v", err)
	}
}

// TestForImageTakesMoreModules has a profile's own modules in the archive, after what they need.
func TestForImageTakesMoreModules(t *testing.T) {
	files := map[string][]byte{"bin/busybox": []byte("busybox"), "lib/modules/6.1/modules.builtin": nil,
		"lib/modules/6.1/kernel/fs/f2fs.ko": module("lz4", ""), "lib/modules/6.1/kernel/lib/lz4.ko": module("", "")}
	for _, name := range imageModules("arm64") {
		files["lib/modules/6.1/kernel/drivers/"+strings.TrimSuffix(name, "?")+".ko"] = module("", "")
	}
	s := kernel(t, files)
	for _, more := range [][]string{nil, {"f2fs"}} {
		raw, err := ForImage(context.Background(), s, None, more...)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(raw, []byte("\nlz4\nf2fs\n")); got != (more != nil) {
			t.Errorf("more modules %v: in the order %v", more, got)
		}
	}
	if _, err := ForImage(context.Background(), s, None, "zfs"); err == nil || !strings.Contains(err.Error(), "zfs") {
		t.Errorf("a module that the kernel lacks: %v", err)
	}
}
