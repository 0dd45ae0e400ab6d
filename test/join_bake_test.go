package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/cloudcore"
	"github.com/edgebake/edgebake/test/standin"
)

// The tests of this file bake the Raspberry Pi's image with KubeEdge over stand-ins of keadm and
// edgecore, and go the whole way of a node: bake, seed, boot, joined.

const kubeEdgePi = "edge-rpi-debian-12-kubeedge"

// TestBakeKubeEdgeRaspberryPi boots the image twice with every check of its profile: it joins, its
// token goes, and it stays joined. Then its first boot is disturbed.
func TestBakeKubeEdgeRaspberryPi(t *testing.T) {
	t.Parallel()
	run := edgebake(t)
	b := bakeKubeEdge(t, run, kubeEdgePi)
	t.Run("joins", func(t *testing.T) {
		run("boot", b.image, "--check")
		positive(t, b)
		checkDisk(t, b.image)
	})
	t.Run("the hard way", func(t *testing.T) { hardWay(t, run, b.image) })
	t.Run("power cuts", func(t *testing.T) { powerCuts(t, b) })
}

// bakeKubeEdge bakes a profile over stand-ins of KubeEdge's releases, without booting it.
func bakeKubeEdge(t *testing.T, run func(...string) string, profile string) baked {
	t.Helper()
	arch := "arm64"
	if strings.Contains(profile, "amd64") {
		arch = "amd64"
	}
	up := standin.NewUpstream(t.TempDir(), time.Unix(0, 0))
	programs, err := standin.BuildPrograms(t.Context(), "standin", t.TempDir(), arch)
	must(t, err)
	must(t, up.Releases(programs))
	server := up.Serve()
	t.Cleanup(server.Close)
	s, locks, flags := shared(t), t.TempDir(), up.Mirrors(server.URL)
	plain := strings.TrimSuffix(profile, "-kubeedge") // has the same packages
	s.configured(t, run, s.locked(t, run, plain), plain)
	run(append([]string{"lock", profile, "--store", s.store, "-o", locks}, flags...)...)
	b := bake(t, run, profile, s.store, locks, append(flags, "--no-boot")...)
	t.Logf("%s: SHA-256 %s (%s)", profile, digestOf(t, b), filepath.Join(locks, profile+lock.Extension))
	return b
}

// newCloudCore is a CloudCore on this host's loopback, and what a machine has to know of it.
func newCloudCore(t *testing.T, log *console, faults ...cloudcore.Fault) (*cloudcore.Server, *verify.CloudCore) {
	t.Helper()
	s, err := cloudcore.New(cloudcore.Options{SANs: []string{verify.HostAddress}, Faults: faults, Log: func(e cloudcore.Event) {
		log.say("CloudCore: %s %s %s", e.Kind, e.Node, e.Text)
	}})
	must(t, err)
	must(t, s.Start(t.Context()))
	t.Cleanup(s.Close)
	return s, &verify.CloudCore{
		Address: fmt.Sprintf("%s:%d", verify.HostAddress, s.HubPort()), CertPort: s.CertPort(), Token: s.Token(cloudcore.TokenLifetime),
		Seen: func(name string) verify.Seen {
			n, _ := s.Node(name) // one that is unknown has done nothing
			return verify.Seen{Registered: n.Registrations > 0, Connections: n.Connections, Certificates: n.Certificates}
		},
	}
}

// console keeps what a machine and its CloudCore say.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when there is more text, and replaced
}

func newConsole() *console { return &console{more: make(chan struct{})} }

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.more)
	c.more = make(chan struct{})
	return c.text.Write(p)
}

func (c *console) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c, "\n[test] "+format+"\n", args...)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// The power cuts of a first boot: how many (EDGEBAKE_POWERCUTS, make powercut), from which seed
// (EDGEBAKE_POWERCUT_SEED), and where the consoles are kept (EDGEBAKE_POWERCUT_LOGS).
const defaultCuts = 1

// powerCuts lets a machine lose its power at random moments of its first boot. At the next one it has
// to join, whatever the first has left.
func powerCuts(t *testing.T, b baked) {
	seed, cuts := number(t, "EDGEBAKE_POWERCUT_SEED", int(time.Now().Unix())), number(t, "EDGEBAKE_POWERCUTS", defaultCuts)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	whole := firstBoot(t, b)
	t.Logf("an undisturbed first boot takes %s until it has joined; EDGEBAKE_POWERCUT_SEED=%d", whole, seed)
	for i := range cuts {
		// One moment in each of as many parts of the boot, up to a little after the join.
		at := time.Duration((float64(i) + random.Float64()) / float64(cuts) * float64(whole+whole/20))
		t.Run(fmt.Sprintf("%02d at %.1f s", i+1, at.Seconds()), func(t *testing.T) { powerCut(t, b.image, at) })
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// firstBoot is the time until a machine has joined, of the verdict beside the image or of a boot.
func firstBoot(t *testing.T, b baked) time.Duration {
	t.Helper()
	var v verify.Verdict
	if data, err := os.ReadFile(filepath.Join(b.dir, "verdict.json")); err == nil {
		must(t, json.Unmarshal(data, &v))
	} else {
		v = check(t, b.image, 0)
	}
	for _, m := range v.Milestones {
		if m.Name == verify.MilestoneJoined {
			return time.Duration(m.Seconds * float64(time.Second))
		}
	}
	t.Fatalf("it has not joined: %s", v)
	return 0
}

// powerCut cuts the power once and has the next boot checked, and the disk by e2fsck.
func powerCut(t *testing.T, image string, at time.Duration) {
	v := check(t, image, at)
	if !v.OK {
		t.Errorf("the boot after the cut: %s", v)
	}
}

// check boots an image with a CloudCore of its own; afterwards e2fsprogs and dosfstools judge the disk.
func check(t *testing.T, image string, cut time.Duration) verify.Verdict {
	t.Helper()
	dir, log := t.TempDir(), newConsole()
	server, core := newCloudCore(t, log)
	defer server.Close()
	defer keepLog(t, log)
	v, err := verify.Check(t.Context(), image, verify.CheckOptions{
		Options:   verify.Options{WorkDir: dir, Durable: true},
		Checks:    []string{verify.CheckMultiUser, verify.CheckCloudInit, verify.CheckJoined, verify.CheckTokenScrubbed},
		CloudCore: core, Cut: cut, Log: log,
	})
	must(t, err)
	t.Logf("%s", v)
	if cut > 0 {
		t.Logf("when the power went away: %s", state(log.String()))
	}
	disk := left(t, filepath.Join(dir, "overlay.qcow2"))
	fsck(t, disk)
	must(t, os.Remove(disk)) // now: there are many of them
	return v
}

// left is the disk of a machine that has powered off, as a raw image.
func left(t *testing.T, overlay string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "qemu-img", "convert", "-O", "raw", overlay, disk)
	return disk
}

// fsck has the file systems of a disk judged; nothing is repaired.
func fsck(t *testing.T, disk string) {
	t.Helper()
	img, err := image.Open(disk)
	must(t, err)
	defer img.Close()
	for _, p := range img.Partitions() {
		switch p.FS {
		case "ext4":
			tool(t, "e2fsck", "-fn", disk+"?offset="+decimal(p.Start))
		case "vfat":
			tool(t, "fsck.vfat", "-n", extract(t, disk, p.Start, p.Size))
		}
	}
}

// state is how far a machine had come when its power went away.
func state(log string) string {
	before, _, _ := strings.Cut(log, "[power cut")
	before = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\r`).ReplaceAllString(before, "")
	var found []string
	for _, pattern := range []string{`systemd\[1\]: .*|\[  OK  \] .*|Starting .*`, `cloud-init\[\d+\]: .*`, `edgebake: node .*`, `CloudCore: .*`} {
		if all := regexp.MustCompile(pattern).FindAllString(before, -1); len(all) > 0 {
			found = append(found, strings.TrimSpace(all[len(all)-1]))
		}
	}
	return strings.Join(found, " | ")
}

func keepLog(t *testing.T, log *console) {
	dir := os.Getenv("EDGEBAKE_POWERCUT_LOGS")
	if dir == "" {
		if t.Failed() {
			t.Logf("console:\n%s", lastPart(log.String()))
		}
		return
	}
	name := regexp.MustCompile(`[^A-Za-z0-9.]+`).ReplaceAllString(t.Name(), "-") + ".log"
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(log.String()), 0o644))
}
