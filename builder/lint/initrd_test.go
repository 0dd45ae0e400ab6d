package lint

import (
	"bufio"
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

func read(b []byte) (string, error) {
	in := &initrd{r: bufio.NewReader(bytes.NewReader(b))}
	defer in.close()
	return in.version()
}

// Archives of the real tools, with microcode in front as initramfs-tools puts it.
func TestInitrdVersion(t *testing.T) {
	archive := func(file, text string) []byte {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(oracle.Need(t, "sh"), "-c", "find . | LC_ALL=C sort | "+oracle.Need(t, "cpio")+" -o -H newc --quiet")
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	packed := func(tool string, b []byte, args ...string) []byte {
		cmd := exec.Command(oracle.Need(t, tool), append(args, "-c")...)
		cmd.Stdin = bytes.NewReader(b)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	early := archive("kernel/x86/microcode/GenuineIntel.bin", strings.Repeat("m", 1001))
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	large := archive("usr/share/noise", strings.Repeat(string(noise), 9))
	modules := archive("usr/lib/modules/6.1.0-9-amd64/kernel/fs/ext4.ko.xz", "x")
	for name, tc := range map[string]struct {
		initrd []byte
		want   string
	}{
		"plain":          {modules, "6.1.0-9-amd64"},
		"gzip":           {packed("gzip", modules), "6.1.0-9-amd64"},
		"xz":             {packed("xz", modules), "6.1.0-9-amd64"},
		"zstd":           {packed("zstd", modules), "6.1.0-9-amd64"},
		"early and gzip": {append(bytes.Clone(early), packed("gzip", modules)...), "6.1.0-9-amd64"},
		"padding":        {append(append(bytes.Clone(early), make([]byte, 4096)...), modules...), "6.1.0-9-amd64"},
		"vermagic":       {archive("modules/a.ko", "\x7fELF\x00license=GPL\x00vermagic=5.4.0-1-raspi SMP mod_unload aarch64\x00"), "5.4.0-1-raspi"},
		"no modules":     {packed("gzip", early), ""},
		"empty":          {nil, ""},
		"lzma":           {packed("xz", modules, "--format=lzma"), "6.1.0-9-amd64"},
		"large lzma":     {packed("xz", slices.Concat(large, modules), "--format=lzma"), "6.1.0-9-amd64"},
		"lz4":            {packed("lz4", modules), "6.1.0-9-amd64"},
		"legacy lz4":     {packed("lz4", modules, "-9", "-l"), "6.1.0-9-amd64"}, // as initramfs-tools calls it
		"large lz4":      {packed("lz4", slices.Concat(large, modules)), "6.1.0-9-amd64"},
		"large legacy":   {packed("lz4", slices.Concat(large, modules), "-l"), "6.1.0-9-amd64"}, // more than one block of 8 MiB
		"early and lz4":  {slices.Concat(early, packed("lz4", modules, "-l")), "6.1.0-9-amd64"},
		"two microcodes": {slices.Concat(early, make([]byte, 512), early, packed("lz4", modules, "-l")), "6.1.0-9-amd64"},
		"two compressed": {slices.Concat(packed("gzip", early), packed("lz4", modules, "-l")), "6.1.0-9-amd64"},
		"three":          {slices.Concat(packed("gzip", early), make([]byte, 8), packed("gzip", early), packed("zstd", modules)), "6.1.0-9-amd64"},
	} {
		if got, err := read(tc.initrd); got != tc.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, tc.want)
		}
	}
	if _, err := read(modules[:len(modules)/4]); err == nil {
		t.Error("an archive that is cut off is taken for whole")
	}
	for _, args := range [][]string{{"lz4", "-l"}, {"lz4"}, {"xz", "--format=lzma"}, {"gzip"}} {
		b := packed(args[0], slices.Concat(early, large[:1<<20]), args[1:]...)
		if _, err := read(b[:len(b)/2]); err == nil {
			t.Errorf("an archive of %v that is cut off is taken for whole", args)
		}
	}
	if _, err := read([]byte("\x89LZO\x00\x0d\x0a\x1a\x0a")); !errors.Is(err, errCompression) {
		t.Errorf("lzo is %v", err)
	}
}

func FuzzInitrd(f *testing.F) {
	f.Add([]byte("070701" + strings.Repeat("0", 104)))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte("\x02\x21\x4c\x18\x04\x00\x00\x00abcd"))
	f.Add([]byte("\x04\x22\x4d\x18\x64\x40\xa7"))
	f.Add([]byte("\x5d\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if version, err := read(b); strings.Contains(version, "/") {
			t.Errorf("the version is %q, %v", version, err)
		}
	})
}

func FuzzKernelVersion(f *testing.F) {
	f.Add(append(make([]byte, 0x202), "HdrS"...))
	f.Add([]byte("Linux version 5.4.0-1052-raspi (buildd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v := bzImageVersion(b); strings.ContainsAny(v, " \x00") {
			t.Errorf("the version of a bzImage is %q", v)
		}
		if v := bannerVersion(bytes.NewReader(b)); v != "" && (v[0] < '0' || v[0] > '9') {
			t.Errorf("the version is %q", v)
		}
		elfMachine(b)
		kernelArch(b)
	})
}

func TestBannerVersion(t *testing.T) {
	banner := "Linux version 5.4.0-1052-raspi (buildd@bos02) (gcc version 9)"
	for name, tc := range map[string]struct{ text, want string }{
		"at once":          {banner, "5.4.0-1052-raspi"},
		"after its format": {"Linux version %s (%s)\x00" + banner, "5.4.0-1052-raspi"},
		"over a boundary":  {strings.Repeat("x", 1<<18-7) + banner, "5.4.0-1052-raspi"},
		"at a boundary":    {strings.Repeat("x", 1<<18-len(banner)) + banner, "5.4.0-1052-raspi"},
		"far behind":       {strings.Repeat("Linux version ?", 1<<16) + banner, "5.4.0-1052-raspi"},
		"cut off":          {"xx" + banner[:20], ""},
		"none":             {strings.Repeat("x", 1<<19), ""},
	} {
		if got := bannerVersion(strings.NewReader(tc.text)); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"1.20.3", "1.26", true}, {"1.26", "1.26", false}, {"1.26.1", "1.26", false}, {"2.0", "1.26", false},
		{"4.15.0-212-generic", "4.19", true}, {"5.4.0", "4.19", false}, {"1", "1.0", true}, {"0.8.7", "1.0", true},
	} {
		if got := older(tc.a, tc.b); got != tc.want {
			t.Errorf("older(%s, %s) is %v", tc.a, tc.b, got)
		}
	}
}

func TestVersionsFromLibraries(t *testing.T) {
	cri, cni := "k8s.io/cri-api", "github.com/containernetworking/cni"
	for _, tc := range []struct {
		dep      debug.Module
		cri, cni string
	}{
		{debug.Module{Path: cri, Version: "v0.0.0", Replace: &debug.Module{Path: cri, Version: "v0.20.1"}}, "1.20", ""},
		{debug.Module{Path: cri, Version: "v0.26.0-beta.0"}, "1.26", ""},
		{debug.Module{Path: "k8s.io/api", Version: "v0.26.0"}, "", ""},
		{debug.Module{Path: cni, Version: "v0.6.0"}, "", "0.3.1"},
		{debug.Module{Path: cni, Version: "v0.8.0"}, "", "0.4.0"}, // plugins v0.8.7
		{debug.Module{Path: cni, Version: "v1.0.1"}, "", "1.0.0"},
		{debug.Module{Path: cni, Version: "v1.2.3"}, "", "1.1.0"},
	} {
		deps := []*debug.Module{{Path: "example.org/x", Version: "v1.0.0"}, &tc.dep}
		if gotCRI, gotCNI := criVersion(deps), spokenByLibrary(deps); gotCRI != tc.cri || gotCNI != tc.cni {
			t.Errorf("%v: got %q and %q", tc.dep, gotCRI, gotCNI)
		}
	}
}
