package test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/test/oracle"
	"github.com/edgebake/edgebake/test/standin"
)

// The tests of this file bake from cloud images that somebody has used before.

// republish publishes a file as the cloud image of another serial.
func (u *ubuntu) republish(serial, file string) {
	u.t.Helper()
	url := standin.Cloud{}.URLs()[0]
	before, after, ok := strings.Cut(url, "release-")
	if !ok {
		u.t.Fatalf("%s has no serial", url)
	}
	_, name, _ := strings.Cut(after, "/")
	must(u.t, u.up.Publish(file, u.signing(), before+"release-"+serial+"/"+name))
}

// rawCloud is the published cloud image, decoded by others, to be changed.
func (u *ubuntu) rawCloud() string {
	u.t.Helper()
	from, err := u.up.Path(standin.Cloud{}.URLs()[0])
	must(u.t, err)
	raw := filepath.Join(u.t.TempDir(), "disk.raw")
	tool(u.t, "qemu-img", "convert", "-O", "raw", from, raw)
	return raw
}

// staleLocks are the files that dpkg and apt leave behind when they are killed.
func staleLocks() []string {
	return []string{"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"}
}

// journal is the first file in which dpkg notes what its database does not say yet.
const journal = "var/lib/dpkg/updates/0001"

// interruptIn enlarges an image, and leaves its system as somebody who pulled the plug while dpkg
// configured tzdata, and less, of which only the journal knows. The backup of the partition table stays
// where it was.
func interruptIn(t testing.TB, raw string, epoch int64) {
	t.Helper()
	info, err := os.Stat(raw)
	must(t, err)
	must(t, os.Truncate(raw, info.Size()+64<<20))
	dir := t.TempDir()
	status := filepath.Join(dir, "status")
	root := rootPartition(t, raw)
	debugfs(t, epoch, root, "dump /var/lib/dpkg/status "+status)
	text, err := os.ReadFile(status)
	must(t, err)
	must(t, os.WriteFile(status, halfConfigured(t, text), 0o644))
	entry := filepath.Join(dir, "entry")
	must(t, os.WriteFile(entry, journaled(t, text), 0o644))
	empty := filepath.Join(dir, "empty")
	must(t, os.WriteFile(empty, nil, 0o640))
	commands := []string{"cd /var/lib/dpkg", "rm status", "write " + status + " status", "cd /" + filepath.Dir(journal), "write " + entry + " " + filepath.Base(journal)}
	for _, name := range staleLocks() {
		commands = append(commands, "cd /"+filepath.Dir(name), "rm "+filepath.Base(name), "write "+empty+" "+filepath.Base(name))
	}
	debugfs(t, epoch, root, commands...)
}

// journaled is what dpkg's journal says while less is configured: all of its stanza.
func journaled(t testing.TB, status []byte) []byte {
	t.Helper()
	const installed, half = "Status: install ok installed\n", "Status: install ok half-configured\n"
	s := stanza(string(status), "less")
	if !strings.Contains(s, installed) {
		t.Fatal("less is not installed")
	}
	return []byte(strings.Replace(s, installed, half, 1) + "\n")
}

// rootPartition is how e2fsprogs are told where a file system is in an image.
func rootPartition(t testing.TB, raw string) string {
	t.Helper()
	img, err := image.Open(raw)
	must(t, err)
	defer img.Close()
	for _, p := range img.Partitions() {
		if p.FS == "ext4" {
			return raw + "?offset=" + decimal(p.Start)
		}
	}
	t.Fatalf("%s has no ext4", raw)
	return ""
}

func debugfs(t testing.TB, epoch int64, filesystem string, commands ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), oracle.Need(t, "debugfs"), "-w", "-f", "-", filesystem)
	cmd.Env = append(os.Environ(), "E2FSPROGS_FAKE_TIME="+decimal(epoch)) // the same image in each run
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
}

// interrupted bakes twice from a system that needs repair, once in a store that knows no results;
// then it bakes the image that came out once more, and boots it.
func interrupted(t *testing.T, u *ubuntu) {
	raw := u.rawCloud()
	interruptIn(t, raw, u.base.Lock.Epoch)
	u.republish("interrupted", raw)
	p := u.pin(u.kubic("interrupted"))
	b := u.bakeIn(shared(t).store, p, noBoot)
	crioFromPackages(t, u.run, b, p.lock)
	repaired(t, u.run, b)
	flaggedOnce(t, u.run, b)
	untouched(t, b, p.lock, []int{1}, append(installing(), append(staleLocks(), "boot/grub/grub.cfg", "etc/timezone", "etc/localtime")...))
	t.Run("twice", func(t *testing.T) { bakeAgain(t, u.in(t), p, b) })
	t.Run("over itself", func(t *testing.T) {
		u := u.in(t)
		u.republish("baked", b.image)
		bakeOver(t, u, b, u.pin(u.kubic("baked")))
	})
	u.run("boot", b.image, "--check", "--machine", "pc", "--checks", "multi-user,cri")
	positive(t, b)
}

// bakeAgain bakes the same lock in a store that has the inputs and no results.
func bakeAgain(t *testing.T, u *ubuntu, p pinned, first baked) {
	dir := t.TempDir()
	linkBlobs(t, shared(t).store, dir)
	store, err := cas.Open(dir)
	must(t, err)
	c := builder.Config{Lock: p.lock, Store: store}
	if _, ok := c.ConfiguredTree(); ok {
		t.Fatal("the store has results")
	}
	same(t, first, u.bakeIn(dir, p, noBoot))
}

// bakeOver bakes a profile whose base is the image that it has made: nothing is left to do, no guest runs.
func bakeOver(t *testing.T, u *ubuntu, first baked, p pinned) {
	if p.lock.Base.Raw == "" || string(p.lock.Base.Raw) != digestOf(t, first) {
		t.Fatalf("the base is %s and not the image that was baked", p.lock.Base.Raw)
	}
	if len(p.lock.Packages) != 0 {
		t.Errorf("packages are to be installed again: %v", p.lock.Packages)
	}
	same(t, first, u.bakeIn(shared(t).store, p, noBoot))
}

// linkBlobs gives a new store the blobs of another one, without a copy.
func linkBlobs(t testing.TB, from, to string) {
	t.Helper()
	top := filepath.Join(from, "blobs")
	must(t, filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rest, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		link := filepath.Join(to, rest)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		return os.Link(name, link)
	}))
}

func same(t testing.TB, a, b baked) {
	t.Helper()
	if x, y := digestOf(t, a), digestOf(t, b); x != y {
		difference, _, err := image.Diff(t.Context(), a.image, b.image)
		t.Errorf("the images differ: %s and %s: %v %v", x, y, difference, err)
	}
}

// repaired looks for what was wrong before.
func repaired(t testing.TB, run func(...string) string, b baked) {
	t.Helper()
	status := run("inspect", b.image, "cat", "/var/lib/dpkg/status")
	for _, name := range []string{"tzdata", "less"} {
		if s := stanza(status, name); !strings.Contains(s, "Status: install ok installed") {
			t.Errorf("%s is not repaired: %s", name, s)
		}
	}
	img, err := image.Open(b.image)
	must(t, err)
	defer img.Close()
	root, err := img.Root(t.Context())
	must(t, err)
	none(t, root.Tree, append(staleLocks(), journal)...)
}

// flaggedOnce counts the flags on each line that GRUB starts Linux with.
func flaggedOnce(t testing.TB, run func(...string) string, b baked) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(run("inspect", b.image, "cat", "/boot/grub/grub.cfg")) {
		if !strings.HasPrefix(strings.TrimSpace(line), "linux") {
			continue
		}
		lines++
		for _, flag := range flags() {
			if n := strings.Count(line, " "+flag); n != 1 {
				t.Errorf("%s is there %d times: %s", flag, n, line)
			}
		}
	}
	if lines == 0 {
		t.Error("grub.cfg has no lines")
	}
}
