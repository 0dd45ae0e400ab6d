package initramfs

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/tree"
	"github.com/edgebake/edgebake/test/oracle"
)

func TestArchiveReadsBack(t *testing.T) {
	cpio := oracle.Need(t, "cpio")
	var out bytes.Buffer
	err := Archive(&out, []File{
		{Path: "a", Type: tree.Dir, Mode: 0o755},
		{Path: "a/odd", Mode: 0o640, Data: []byte("seven b")},
		{Path: "a/link", Type: tree.Symlink, Data: []byte("odd")},
		{Path: "a/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cpio, "-tv", "--numeric-uid-gid")
	cmd.Stdin = bytes.NewReader(out.Bytes())
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C"}
	got, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, got)
	}
	for _, want := range []string{"drwxr-xr-x   2 0", "-rw-r-----   1 0        0               7", "a/link -> odd", "crw-rw-rw-   1 0        0          1,   3"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("cpio -tv lacks %q:\n%s", want, got)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	for _, f := range []File{{Path: "/abs"}, {Path: ""}, {Path: "a", Type: tree.Hardlink}} {
		if err := Archive(&bytes.Buffer{}, []File{f}); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}

func TestParseModinfo(t *testing.T) {
	got := parseModinfo([]byte("license=GPL\x00softdep=pre: crc32c nls-utf8 post: other\x00depends=mbcache,jbd2,a-b\x00\x00intree=Y\x00"))
	if !slices.Equal(got.depends, []string{"mbcache", "jbd2", "a_b"}) || !slices.Equal(got.softPre, []string{"crc32c", "nls_utf8"}) {
		t.Errorf("got %+v", got)
	}
}

func FuzzReadModinfo(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Add(module("a,b", ""))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = readModinfo(data) })
}

func TestShellScripts(t *testing.T) {
	shellcheck := oracle.Need(t, "shellcheck")
	out, err := exec.Command(shellcheck, "scripts/guest-init.sh", "scripts/image-init.sh").CombinedOutput()
	if err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}
