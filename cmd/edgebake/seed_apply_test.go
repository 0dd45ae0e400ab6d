package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/test/oracle"
)

// A token that expires in 2100.
const testToken = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a.eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDB9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

const cardFAT, cardFATSize = 1 << 20, 40 << 20 // bytes

// makeCard makes an image like a Raspberry Pi's with the real tools: an MBR, a FAT and a second partition.
func makeCard(t testing.TB, label string) string {
	t.Helper()
	dir := t.TempDir()
	path, fat := filepath.Join(dir, "card.img"), filepath.Join(dir, "fat")
	tool(t, nil, "mkfs.vfat", "-C", "-F", "32", "-s", "1", "-n", label, fat, fmt.Sprint(cardFATSize/1024))
	config := filepath.Join(dir, "config.txt")
	if err := os.WriteFile(config, []byte("arm_64bit=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, nil, "mcopy", "-i", fat, config, "::config.txt")
	tool(t, nil, "mcopy", "-i", fat, config, "::user-data")
	tool(t, nil, "mcopy", "-i", fat, config, "::network-config")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := os.ReadFile(fat)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt(content, cardFAT); err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte("root"), 1<<18), cardFAT+cardFATSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	tool(t, strings.NewReader("label: dos\nstart=2048, size=81920, type=c\ntype=83\n"), "sfdisk", "-q", path)
	return path
}

func tool(t testing.TB, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(oracle.Need(t, name), args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// edgebake runs a command line with a token on standard input.
func edgebake(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("EDGEBAKE_STORE", t.TempDir())
	var out, err bytes.Buffer
	code = Main(t.Context(), args, strings.NewReader(testToken+"\n"), &out, &err)
	for _, text := range []string{out.String(), err.String()} {
		if strings.Contains(text, testToken[len(testToken)-43:]) {
			t.Errorf("edgebake %v shows the token", args)
		}
	}
	return code, out.String(), err.String()
}

func fatFiles(t testing.TB, path string) map[string]string {
	t.Helper()
	img, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	tr, err := img.Tree(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for i := range tr.Len() {
		e := tr.At(i)
		r, err := img.Reader().Open(e.Content)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[e.Path] = string(b)
	}
	return files
}

func TestApplySeed(t *testing.T) {
	path := makeCard(t, seedLabel)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	node := []string{"seed", "--name", "edge-1", "--cloudcore", "192.0.2.1:10000", "--token-file", "-", "--apply", path}
	if code, _, stderr := edgebake(t, append(node, "--dry-run")...); code != exitDone {
		t.Fatal(stderr)
	}
	if same, err := os.ReadFile(path); err != nil || !bytes.Equal(same, before) {
		t.Error("a dry run changed the image")
	}
	code, stdout, stderr := edgebake(t, append(node, "--json")...)
	var report seedReport
	if err := json.Unmarshal([]byte(stdout), &report); code != exitDone || err != nil || len(report.Seeds) != 1 || report.Seeds[0].Node != "edge-1" {
		t.Fatalf("exit code %d, %s%s", code, stdout, stderr)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before[:cardFAT], after[:cardFAT]) || !bytes.Equal(before[cardFAT+cardFATSize:], after[cardFAT+cardFATSize:]) || len(before) != len(after) {
		t.Error("bytes outside of the FAT changed")
	}
	files := fatFiles(t, path)
	want := []string{".", "config.txt", "edgebake-token", "meta-data", "network-config", "user-data"}
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
		t.Errorf("the FAT has %v", got)
	}
	if files["config.txt"] != "arm_64bit=1\n" || files["edgebake-token"] != testToken+"\n" || !strings.Contains(files["user-data"], "NODE_NAME=edge-1") {
		t.Errorf("the files are %v", files)
	}
	checkFAT(t, after)
}

// A FAT without room is left as it is: not even a smaller file of the seed is written.
func TestApplyWithoutRoom(t *testing.T) {
	path := makeCard(t, seedLabel)
	at := fmt.Sprintf("%s@@%d", path, cardFAT)
	big := filepath.Join(t.TempDir(), "big")
	for size := int64(cardFATSize); size > 0; size /= 2 {
		if err := os.WriteFile(big, make([]byte, size-512), 0o600); err != nil {
			t.Fatal(err)
		}
		// What does not fit is not copied.
		_ = exec.Command(oracle.Need(t, "mcopy"), "-i", at, big, fmt.Sprintf("::%d", size)).Run()
		if size < 1024 {
			break
		}
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := edgebake(t, "seed", "--name", "edge-1", "--cloudcore", "192.0.2.1:10000", "--token-file", "-", "--apply", path)
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(after, before) {
		t.Errorf("the card changed, %v", err)
	}
	if code == exitDone || stdout != "" || !strings.Contains(stderr, "free") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// A mark "read-only" on a file of an earlier seed does not keep it from being replaced.
func TestApplyOverReadOnlyFile(t *testing.T) {
	path := makeCard(t, seedLabel)
	tool(t, nil, "mattrib", "-i", fmt.Sprintf("%s@@%d", path, cardFAT), "+r", "::user-data")
	code, _, stderr := edgebake(t, "seed", "--name", "edge-1", "--cloudcore", "192.0.2.1:10000", "--token-file", "-", "--apply", path)
	if text := fatFiles(t, path)["user-data"]; code != exitDone || !strings.Contains(text, "NODE_NAME=edge-1") {
		t.Errorf("exit code %d, %s: user-data is %q", code, stderr, text)
	}
}

func checkFAT(t *testing.T, disk []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat")
	if err := os.WriteFile(path, disk[cardFAT:cardFAT+cardFATSize], 0o600); err != nil {
		t.Fatal(err)
	}
	if out := tool(t, nil, "fsck.vfat", "-n", path); strings.Contains(out, "wrong") || strings.Contains(out, "differ") {
		t.Error(out)
	}
}

// TestApplyFreshToken puts a token alone onto a card that has its seed, and then a seed without one.
func TestApplyFreshToken(t *testing.T) {
	path := makeCard(t, seedLabel)
	before := fatFiles(t, path)
	if code, _, stderr := edgebake(t, "seed", "--token-file", "-", "--apply", path); code != exitDone {
		t.Fatal(stderr)
	}
	before["edgebake-token"] = testToken + "\n"
	if got := fatFiles(t, path); !maps.Equal(got, before) {
		t.Errorf("the files are %v", got)
	}
	code, _, stderr := edgebake(t, "seed", "--name", "edge-1", "--cloudcore", "c:10000", "--apply", path)
	if files := fatFiles(t, path); code != exitDone || files["edgebake-token"] != "" || !strings.Contains(stderr, "no token") {
		t.Errorf("the old token is still there: %s", stderr)
	}
}

func TestApplyRefuses(t *testing.T) {
	good := makeCard(t, seedLabel)
	dir := t.TempDir()
	other := makeCard(t, "OTHER")
	for name, content := range map[string][]byte{"text": bytes.Repeat([]byte("hello "), 1000), "x.xz": []byte("\xfd7zXZ\x00 and more of it, enough to be read as the beginning"), "x.qcow2": append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 2000)...)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	locked := makeCard(t, seedLabel)
	f, err := os.OpenFile(locked, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// QEMU locks single bytes of an image in this way.
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		path string
		code int
		says string
	}{
		"no file":        {filepath.Join(dir, "absent"), exitUsage, "absent"},
		"a directory":    {dir, exitRefused, "is a directory"},
		"a pipe":         {"/dev/null", exitRefused, "neither an image nor a card"},
		"text":           {filepath.Join(dir, "text"), exitRefused, "partition table"},
		"another label":  {other, exitRefused, `"OTHER" (vfat)`},
		"xz":             {filepath.Join(dir, "x.xz"), exitRefused, "xz -dk"},
		"qcow2":          {filepath.Join(dir, "x.qcow2"), exitRefused, "qemu-img convert"},
		"a running disk": {locked, exitRefused, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := edgebake(t, "seed", "--token-file", "-", "--force", "--apply", tt.path)
			if code != tt.code || !strings.Contains(stderr, tt.says) || stdout != "" {
				t.Errorf("exit code %d, %q; want %d and %q", code, stderr, tt.code, tt.says)
			}
		})
	}
	if code, _, stderr := edgebake(t, "seed", "--token-file", "-", "--kind", "iso", "--apply", good); code != exitUsage {
		t.Errorf("an ISO is applied: %s", stderr)
	}
}

// fakeMachine lays out /sys and /proc with a disk of this machine, a card, an SD card in a built-in reader, and a disk
// of 4 TB.
func fakeMachine(t *testing.T) machine {
	t.Helper()
	root := t.TempDir()
	m := machine{filepath.Join(root, "sys"), filepath.Join(root, "proc")}
	files := map[string]string{
		"proc/swaps": "Filename Type Size Used Priority\n/dev/nvme0n1p3 partition 1 0 -2\n",
		"proc/self/mountinfo": "1 0 0:30 / / rw - btrfs /dev/sda2 rw\n2 1 8:17 / /media/boot rw shared:1 - vfat /dev/sdb1 rw\n" +
			"broken\n3 1 0:5 / /proc rw - proc proc rw\n",
	}
	disk := func(name, number, sectors, removable string, parts ...string) {
		dir := "sys/devices/pci/block/" + name
		files[dir+"/size"], files[dir+"/removable"], files[dir+"/dev"], files[dir+"/ro"] = sectors, removable, number, "0"
		for i, p := range parts {
			files[dir+"/"+p+"/partition"], files[dir+"/"+p+"/dev"] = fmt.Sprint(i+1), strings.Split(number, ":")[0]+fmt.Sprintf(":%d", i+1+16*(len(name)-3)+map[string]int{"sdb": 16, "sdc": 32, "sdd": 48}[name])
		}
	}
	disk("sda", "8:0", "1000000", "0", "sda1", "sda2")
	disk("sdb", "8:16", "60000000", "1", "sdb1")
	disk("sdc", "8:32", "60000000", "1", "sdc1", "sdc2")
	disk("sdd", "8:48", "8000000000", "1", "sdd1")
	disk("sde", "8:64", "60000000", "0")
	disk("mmcblk0", "179:0", "60000000", "0")
	disk("nvme0n1", "259:0", "60000000", "0", "nvme0n1p3")
	disk("sdf", "8:80", "60000000", "1")
	disk("sdg", "8:96", "60000000", "1")
	files["sys/devices/pci/block/mmcblk0/device/type"] = "SD"
	files["sys/devices/pci/block/sdf/ro"] = "1"
	files["sys/devices/pci/block/sdg/holders/dm-0/x"] = ""
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	numbers := filepath.Join(m.sys, "dev", "block")
	if err := os.MkdirAll(numbers, 0o755); err != nil {
		t.Fatal(err)
	}
	devices, _ := filepath.Glob(filepath.Join(m.sys, "devices/pci/block/*"))
	parts, _ := filepath.Glob(filepath.Join(m.sys, "devices/pci/block/*/*/partition"))
	for _, p := range parts {
		devices = append(devices, filepath.Dir(p))
	}
	for _, d := range devices {
		if err := os.Symlink(d, filepath.Join(numbers, attribute(d, "dev"))); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestJudgeDevices(t *testing.T) {
	m := fakeMachine(t)
	for name, tt := range map[string]struct {
		number string
		force  bool
		says   string // "" is allowed
	}{
		"a card":                       {"8:32", false, ""},
		"a partition of a card":        {"8:33", false, ""},
		"an SD card, built-in reader":  {"179:0", false, ""},
		"a disk that is not removable": {"8:64", false, "not removable"},
		"the same with --force":        {"8:64", true, ""},
		"the disk with the system":     {"8:0", true, "sda2 is mounted at /"},
		"a partition beside it":        {"8:1", true, "sda2 is mounted at /"},
		"a mounted card":               {"8:16", true, "sdb1 is mounted at /media/boot"},
		"4 TB":                         {"8:48", true, "no card has more"},
		"swap":                         {"259:0", true, "swapping"},
		"write-protected":              {"8:80", true, "write-protected"},
		"part of a mapper":             {"8:96", true, "part of dm-0"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := m.disk(tt.number)
			if err != nil {
				t.Fatal(err)
			}
			err = m.judge("/dev/x", d, tt.force)
			code, _ := outcome(err)
			if tt.says == "" && err != nil || tt.says != "" && (code != exitRefused || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v; want %q", err, tt.says)
			}
		})
	}
	if _, err := m.disk("1:1"); err == nil {
		t.Error("an unknown device is taken")
	}
}
