package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

// memory is a Device that notes what was written.
type memory struct {
	b   []byte
	ops []op
}

// op is a write, or a Sync when it has no bytes.
type op struct {
	at int64
	b  []byte
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, at) }

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(m.b)) {
		return 0, fmt.Errorf("writing %d bytes at %d of %d", len(p), at, len(m.b))
	}
	m.ops = append(m.ops, op{at, bytes.Clone(p)})
	return copy(m.b[at:], p), nil
}

func (m *memory) Sync() error {
	m.ops = append(m.ops, op{})
	return nil
}

// contents are all files of a volume by their path.
func contents(t testing.TB, volume []byte) map[string]string {
	t.Helper()
	fs, err := Open(bytes.NewReader(volume), int64(len(volume)))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := fs.Tree(context.Background(), blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for i := range tr.Len() {
		e := tr.At(i)
		var b []byte
		for _, x := range e.Content.Extents {
			b = append(b, volume[x.Offset:x.Offset+x.Length]...)
		}
		files[e.Path] = string(b)
	}
	return files
}

// mkfs makes a volume with the real tool, and copies files into it with mtools.
func mkfs(t testing.TB, kib int, files map[string]string, args ...string) []byte {
	t.Helper()
	oracle.Need(t, "mcopy")
	dir := t.TempDir()
	img := filepath.Join(dir, "img")
	run(t, oracle.Need(t, "mkfs.vfat"), append(append([]string{"-C"}, args...), img, fmt.Sprint(kib))...)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "/") {
			run(t, "mmd", "-i", img, "::"+strings.TrimSuffix(name, "/"))
			continue
		}
		src := filepath.Join(dir, "src")
		if err := os.WriteFile(src, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "mcopy", "-i", img, src, "::"+name)
	}
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// save writes a sparse file.
func save(t testing.TB, path string, volume []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(volume))); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 64<<10)
	for at := 0; at < len(volume); at += len(zeros) {
		part := volume[at:min(at+len(zeros), len(volume))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

// clean lets fsck.vfat look at a volume.
func clean(t testing.TB, volume []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	save(t, path, volume)
	out := run(t, oracle.Need(t, "fsck.vfat"), "-n", path)
	for _, bad := range []string{"differ", "wrong", "unused", "reclaim", "Orphan", "Bad", "Truncat"} {
		if strings.Contains(out, bad) {
			t.Fatalf("fsck.vfat: %s", out)
		}
	}
}

func kinds() map[string][]string {
	return map[string][]string{
		"Raspberry Pi": {"40000", "-F", "32", "-s", "1", "-n", "system-boot"},
		"FAT16":        {"20000", "-F", "16", "-s", "1"},
		"FAT16 large":  {"20000", "-F", "16", "-s", "4", "-r", "512"},
		"one FAT":      {"40000", "-F", "32", "-s", "1", "-f", "1"},
		"1 KiB":        {"67600", "-F", "32", "-s", "2"},
	}
}

func makeKind(t testing.TB, args []string, files map[string]string) []byte {
	t.Helper()
	var kib int
	if _, err := fmt.Sscan(args[0], &kib); err != nil {
		t.Fatal(err)
	}
	return mkfs(t, kib, files, args[1:]...)
}

func usual() map[string]string {
	return map[string]string{
		"config.txt": "arm_64bit=1\n", "overlays/": "", "overlays/x.dtbo": strings.Repeat("x", 3000), "user-data": strings.Repeat("old user-data\n", 200),
		"meta-data": "instance-id: nocloud\n", "network-config": "version: 2\n", "kernel8.img": strings.Repeat("k", 70000), "LONGNA~1.TXT": "short", "longname-one.txt": "long",
	}
}

func TestChange(t *testing.T) {
	now := tree.Time{Sec: 1800000000}
	files := map[string][]byte{
		"user-data": []byte(strings.Repeat("#cloud-config\n", 500)), "META-DATA": []byte("instance-id: iid-1\n"), "network-config": nil, "absent": nil,
		"edgebake-token": []byte("secret"), "empty": {}, "UPPER.TXT": []byte("u"), "ünï.cöde-lang.ext": bytes.Repeat([]byte{7}, 100000),
	}
	for name, args := range kinds() {
		t.Run(name, func(t *testing.T) {
			before := makeKind(t, args, usual())
			want := contents(t, before)
			d := &memory{b: append(append(bytes.Repeat([]byte{0xaa}, 1024), before...), 0xbb)}
			if err := Change(t.Context(), d, 1024, int64(len(before)), files, now); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(d.b[:1024], bytes.Repeat([]byte{0xaa}, 1024)) || d.b[len(d.b)-1] != 0xbb {
				t.Error("bytes outside of the volume changed")
			}
			after := d.b[1024 : len(d.b)-1]
			clean(t, after)
			delete(want, "network-config")
			for name, content := range files {
				if content != nil {
					want[strings.Replace(name, "META-DATA", "meta-data", 1)] = string(content)
				}
			}
			if got := contents(t, after); !maps.Equal(got, want) {
				t.Errorf("files are %v, want %v", keys(got), keys(want))
			}
			if bytes.Contains(after, []byte("old user-data")) {
				t.Error("the old content is still on the medium")
			}
			readWithMtools(t, after, files)
			d.ops = nil
			if err := Change(t.Context(), d, 1024, int64(len(before)), files, tree.Time{Sec: 1900000000}); err != nil || len(d.ops) > 0 {
				t.Errorf("the same once more: %d writes, %v", len(d.ops), err)
			}
		})
	}
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func readWithMtools(t *testing.T, volume []byte, files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	img := filepath.Join(dir, "img")
	save(t, img, volume)
	for name, content := range files {
		if content == nil || strings.Contains(name, "ü") { // mtools' view of those depends on the locale
			continue
		}
		out := filepath.Join(dir, "out")
		run(t, "mcopy", "-n", "-o", "-i", img, "::"+name, out)
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, content) {
			t.Errorf("mtools reads %d bytes of %s instead of %d (%v)", len(got), name, len(content), err)
		}
	}
}

// TestChangeFillsTheRoot adds files until the root directory of a FAT16 is full, and makes that of a FAT32
// grow, over garbage behind the end marker.
func TestChangeFillsTheRoot(t *testing.T) {
	for name, tt := range map[string]struct {
		args           []string
		fails, garbage bool
	}{
		"FAT16":             {[]string{"20000", "-F", "16", "-s", "1", "-r", "64"}, true, false},
		"FAT32":             {[]string{"40000", "-F", "32", "-s", "1"}, false, false},
		"FAT16 and garbage": {[]string{"20000", "-F", "16", "-s", "1", "-r", "64"}, true, true},
		"FAT32 and garbage": {[]string{"40000", "-F", "32", "-s", "1"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &memory{b: makeKind(t, tt.args, map[string]string{"a": "1"})}
			if tt.garbage {
				garbage(t, d.b)
			}
			want := contents(t, d.b)
			var err error
			for i := 0; i < 60 && err == nil; i++ {
				name := fmt.Sprintf("some file with a long name %d", i)
				d.ops = nil
				if err = Change(t.Context(), d, 0, int64(len(d.b)), map[string][]byte{name: []byte(name)}, tree.Time{}); err == nil {
					want[name] = name
				} else if len(d.ops) > 0 {
					t.Error("it failed and wrote")
				}
			}
			var room *NoRoomError
			if errors.As(err, &room) != tt.fails || err != nil && !tt.fails {
				t.Errorf("error %v", err)
			}
			if !tt.garbage { // fsck.vfat looks for entries behind the end marker, too
				clean(t, d.b)
			}
			if got := contents(t, d.b); !maps.Equal(got, want) || len(want) < 15 {
				t.Errorf("files are %v, want %v", keys(got), keys(want))
			}
		})
	}
}

// garbage fills the root directory behind its end marker with what is no entry.
func garbage(t *testing.T, volume []byte) {
	t.Helper()
	c, err := openChange(t.Context(), &memory{b: volume}, 0, int64(len(volume)))
	if err != nil {
		t.Fatal(err)
	}
	for i := c.dir.end + 1; i < c.dir.count(); i++ {
		copy(volume[c.dirOffset(int64(i*entrySize)):], bytes.Repeat([]byte{'G'}, entrySize))
	}
}

// TestChangeOften adds, replaces and removes files of all sizes until the free space is in pieces, and compares with
// a map after each step.
func TestChangeOften(t *testing.T) {
	for name, args := range map[string][]string{"FAT16": {"20000", "-F", "16", "-s", "2"}, "FAT32": {"40000", "-F", "32", "-s", "1"}} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 4))
			ballast := strings.Repeat("b", 38<<20)
			if name == "FAT16" {
				ballast = ballast[:19<<20]
			}
			d := &memory{b: makeKind(t, args, map[string]string{"ballast": ballast})}
			want := contents(t, d.b)
			full := 0
			for range 150 {
				files := map[string][]byte{}
				for range 1 + random.IntN(3) {
					name := fmt.Sprintf("file-%d.with a name", random.IntN(12))
					files[name] = bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(60_000))
					if random.IntN(3) == 0 {
						files[name] = nil
					}
				}
				var room *NoRoomError
				err := Change(t.Context(), d, 0, int64(len(d.b)), files, tree.Time{})
				if errors.As(err, &room) {
					full++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				for name, content := range files {
					if want[name] = string(content); content == nil {
						delete(want, name)
					}
				}
			}
			if got := contents(t, d.b); !maps.Equal(got, want) || full == 0 {
				t.Errorf("files are %v, want %v; it was full %d times", keys(got), keys(want), full)
			}
			clean(t, d.b)
		})
	}
}

func TestChangeWithoutRoom(t *testing.T) {
	d := &memory{b: mkfs(t, 20000, map[string]string{"big": strings.Repeat("b", 19<<20)}, "-F", "16", "-s", "1")}
	before := bytes.Clone(d.b)
	files := map[string][]byte{"fits": []byte("x"), "user-data": make([]byte, 400<<10), "more": make([]byte, 600<<10)}
	var room *NoRoomError
	err := Change(t.Context(), d, 0, int64(len(d.b)), files, tree.Time{})
	if !errors.As(err, &room) || room.Need <= room.Have || room.Have <= 0 {
		t.Errorf("error %v", err)
	}
	if len(d.ops) > 0 || !bytes.Equal(d.b, before) {
		t.Error("something was written")
	}
}

func TestChangeRefuses(t *testing.T) {
	good := mkfs(t, 40000, usual(), "-F", "32", "-s", "1")
	le := func(at int, b ...byte) func([]byte) { return func(v []byte) { copy(v[at:], b) } }
	fat1 := 32 * sectorSize
	for name, tt := range map[string]struct {
		damage func([]byte)
		file   string
		says   string
	}{
		"a directory":      {func([]byte) {}, "OVERLAYS", "is a directory"},
		"a bad name":       {func([]byte) {}, "a:b", "forbids"},
		"FATs that differ": {le(fat1+4*100, 1, 2, 3, 4), "x", "copies of its FAT differ"},
		"one active FAT":   {le(40, 0x81), "x", "not kept alike"},
		"no FAT":           {le(510, 0), "x", "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &memory{b: bytes.Clone(good)}
			tt.damage(d.b)
			err := Change(t.Context(), d, 0, int64(len(d.b)), map[string][]byte{tt.file: []byte("x")}, tree.Time{})
			if err == nil || !strings.Contains(err.Error(), tt.says) || len(d.ops) > 0 {
				t.Errorf("%d writes, error %v; want one that says %q", len(d.ops), err, tt.says)
			}
		})
	}
	twice := map[string][]byte{"a": nil, "A": nil}
	if err := Change(t.Context(), &memory{b: good}, 0, int64(len(good)), twice, tree.Time{}); err == nil {
		t.Error("two names that FAT cannot tell apart are taken")
	}
	small := mkfs(t, 1440, nil)
	if err := Change(t.Context(), &memory{b: small}, 0, int64(len(small)), map[string][]byte{"a": {1}}, tree.Time{}); err == nil || !strings.Contains(err.Error(), "FAT12") {
		t.Errorf("FAT12: %v", err)
	}
}

// TestChangeInterrupted cuts the power after every write, and loses any of those that no Sync followed.
func TestChangeInterrupted(t *testing.T) {
	for name, args := range kinds() {
		t.Run(name, func(t *testing.T) {
			before := makeKind(t, args, usual())
			files := map[string][]byte{"user-data": []byte(strings.Repeat("new\n", 800)), "network-config": nil}
			for i := range 8 { // the root directory of the FAT32 grows
				files[fmt.Sprintf("another long name of a file %d", i)] = []byte("added")
			}
			d := &memory{b: bytes.Clone(before)}
			if err := Change(t.Context(), d, 0, int64(len(before)), files, tree.Time{}); err != nil {
				t.Fatal(err)
			}
			old, changed := contents(t, before), contents(t, d.b)
			random := rand.New(rand.NewPCG(1, 2))
			for n := range len(d.ops) + 1 {
				either(t, crash(before, d.ops[:n], random), old, changed)
			}
			if t.Failed() {
				t.Logf("of %d operations", len(d.ops))
			}
		})
	}
}

// crash is the medium after these operations; of the writes behind the last Sync only some arrive.
func crash(before []byte, ops []op, random *rand.Rand) []byte {
	b := bytes.Clone(before)
	synced := 0
	for i, o := range ops {
		if o.b == nil {
			synced = i
		}
	}
	for i, o := range ops {
		if i < synced || random.IntN(2) == 0 {
			copy(b[o.at:], o.b)
		}
	}
	return b
}

// either checks that every file is as it was or as it shall be. An alias may show while a name is written.
func either(t *testing.T, volume []byte, old, changed map[string]string) {
	t.Helper()
	files := contents(t, volume)
	for name, content := range files {
		was, had := old[name]
		is, has := changed[name]
		switch {
		case had && content == was, has && content == is:
		case !had && !has && strings.Contains(name, "~") && content == "added":
		default:
			t.Errorf("%s has %d bytes that are neither old nor new", name, len(content))
		}
	}
	for name := range old {
		if _, stays := changed[name]; stays && name != "user-data" && files[name] != old[name] {
			t.Errorf("%s is lost", name)
		}
	}
}

// FuzzChange writes into arbitrary volumes: it ends, does not panic, and what it takes can be read afterwards.
func FuzzChange(f *testing.F) {
	small := Options{Size: 2650624, ClusterSize: 512, Label: "seed"}
	b := tree.NewBuilder(tree.Time{})
	b.Add(tree.Entry{Path: "user-data", Type: tree.File, Content: tree.InlineContent([]byte("old"))})
	b.Add(tree.Entry{Path: "dir/file", Type: tree.File, Content: tree.InlineContent([]byte("other"))})
	tr, err := b.Tree()
	if err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(write(f, tr, small))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, uint32(0), []byte{}, "user-data", []byte("new"))
	f.Add(uint32(4*sectorSize), []byte{0xf8, 0xff, 0xff, 0xff, 3, 0, 2, 0}, uint32(21*sectorSize), []byte{1, 0, 1, 0}, "edgebake-token", []byte("new"))
	f.Fuzz(func(t *testing.T, at1 uint32, patch1 []byte, at2 uint32, patch2 []byte, name string, content []byte) {
		d := &memory{b: bytes.Clone(raw)}
		copy(d.b[int(at1)%len(d.b):], patch1)
		copy(d.b[int(at2)%len(d.b):], patch2)
		before := bytes.Clone(d.b)
		err := Change(t.Context(), d, 0, int64(len(d.b)), map[string][]byte{name: content}, tree.Time{})
		if err != nil {
			if len(d.ops) > 0 {
				t.Errorf("it wrote and failed: %v", err)
			}
			return
		}
		old, got := contents(t, before), contents(t, d.b)
		found := content == nil
		for path, text := range got {
			if old[path] != text && fold(path) != fold(name) && !strings.Contains(name, "~") { // which may be another one's short name
				t.Errorf("%s changed", path)
			}
			found = found || text == string(content)
		}
		if !found {
			t.Errorf("%q does not have its content", name)
		}
	})
}
