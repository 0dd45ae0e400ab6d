package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	t.Run("power cuts", func(t *testing.T) { powerCuts(t, run, b) })
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
