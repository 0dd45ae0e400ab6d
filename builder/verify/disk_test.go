package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/oracle"
)

// written is an overlay of a Raspberry Pi's image that QEMU's own tool has written to: the file
// secret.txt of the FAT gets text, and free clusters behind it get zeros, garbage and the text again.
func written(t *testing.T, text string) string {
	t.Helper()
	io := oracle.Need(t, "qemu-io")
	base := piImage(t, map[string]string{"user-data": "#cloud-config\n", "secret.txt": "nothing to be seen here"})
	image, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(image, []byte("nothing to be seen"))
	over := filepath.Join(t.TempDir(), "over.qcow2")
	patch := verify.Patch{Offset: 200_000, Length: 3, Data: bytes.NewReader([]byte("abc"))}
	if err := verify.Overlay(context.Background(), over, base, 64<<20, []verify.Patch{patch}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", "qcow2",
		"-c", fmt.Sprintf("write -s %s %d %d", file, at, len(text)),
		"-c", "write -P 0x5a 60M 64k", "-c", "write -z 30M 64k", "-c", fmt.Sprintf("write -s %s 50M %d", file, len(text)), over}
	if out, err := exec.Command(io, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return over
}

func TestDiskReadsWhatQEMUWrote(t *testing.T) {
	over, raw := written(t, "a token"), filepath.Join(t.TempDir(), "raw")
	if out, err := exec.Command(oracle.Need(t, "qemu-img"), "convert", "-O", "raw", over, raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := verify.OpenDisk(over)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	got, err := io.ReadAll(io.NewSectionReader(disk, 0, disk.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes instead of %d, or others (%v)", len(got), len(want), err)
	}
	if _, err := disk.ReadAt(make([]byte, 2), disk.Size()-1); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %v", err)
	}
}

func TestFindTellsFilesFromFreedBlocks(t *testing.T) {
	disk, err := verify.OpenDisk(written(t, "a token"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for secret, want := range map[string]verify.Traces{
		"a token":  {Files: []string{"1:/secret.txt"}, Freed: 1},
		"no token": {},
	} {
		got, err := verify.Find(context.Background(), disk, []byte(secret))
		if err != nil || !slices.Equal(got.Files, want.Files) || got.Freed != want.Freed {
			t.Errorf("%s: %+v (%v), want %+v", secret, got, err, want)
		}
	}
}

// A secret that is none of the check's own is found by the linter, whoever left it.
func TestSecrets(t *testing.T) {
	token := strings.Repeat("0a", 32) + ".eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE2fQ.TmV2ZXIgYSByZWFsIG9uZSwgbm90IGhlcmU"
	for content, want := range map[string]int{"nothing to be seen here": 0, "TOKEN=" + token: 1} {
		base := piImage(t, map[string]string{"sbin": "this is the root", "notes.txt": content})
		over := filepath.Join(t.TempDir(), "over")
		if err := verify.Overlay(context.Background(), over, base, 0, nil); err != nil {
			t.Fatal(err)
		}
		disk, err := verify.OpenDisk(over)
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		if found, err := verify.Secrets(context.Background(), disk); err != nil || len(found) != want || want == 1 && !strings.Contains(found[0], "notes.txt") {
			t.Errorf("%v, %v; want %d", found, err, want)
		}
	}
}

func TestOpenDiskRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	for _, text := range []string{"", "QFI\xfb", string(make([]byte, 4096))} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := verify.OpenDisk(name); err == nil {
			t.Errorf("%d bytes were taken for an overlay", len(text))
			_ = d.Close()
		}
	}
}
