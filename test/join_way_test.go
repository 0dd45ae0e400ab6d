package test

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/test/cloudcore"
)

// wayLimit is for one boot until the node has joined, with all that stands in its way here.
const wayLimit = 15 * time.Minute

// cloudCoreDown is for how long CloudCore refuses connections.
const cloudCoreDown = time.Minute

// attendant stands for the time server that QEMU's network does not have: when the machine's clock is
// in the past it waits until the node has said that it waits for the time, and sets the clock. It
// powers the machine off when the node has joined. Sent along as vendor-data, it runs in every boot.
const attendant = `now=%d
if [ "$(date +%%s)" -lt "$now" ]; then
	until grep -q waiting-time /run/edgebake/join.json; do sleep 1; done
	date -s "@$((now + $(cut -d . -f 1 /proc/uptime)))"
fi
mkdir -p /run/systemd/timesync
: >/run/systemd/timesync/synchronized
until grep -q '"state":"joined"' /run/edgebake/join.json; do sleep 1; done
systemctl poweroff
`

// hardWay is a first boot in 1970, without a time server and with a CloudCore that is down for a
// minute; then the card is copied, gets the seed of another node, and is booted.
func hardWay(t *testing.T, run func(...string) string, image string) {
	log := newConsole()
	defer keepLog(t, log)
	server, core := newCloudCore(t, log, cloudcore.FaultClosed)
	first, dir := cloudinit.Node{Name: "edge-1", CloudCore: core.Address, CertPort: core.CertPort, Token: core.Token}, t.TempDir()
	t.Run("in 1970 and CloudCore is down", func(t *testing.T) {
		boot := way{t: t, log: log, image: image, dir: dir, seed: attended(t, first), rtc: "1970-01-01T00:00:10"}
		machine, ctx := boot.start()
		boot.says(ctx, "waiting: waiting-time", "waiting: connection-refused")
		must(t, wait(ctx, cloudCoreDown))
		must(t, server.SetFaults(ctx))
		boot.joined(ctx, server, first.Name)
		must(t, machine.Wait())
	})
	before, _ := server.Node(first.Name)
	t.Run("as a copied card", func(t *testing.T) {
		token, card := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "card.img")
		must(t, server.WriteTokenFile(token, cloudcore.TokenLifetime))
		tool(t, "qemu-img", "convert", "-O", "raw", filepath.Join(dir, "overlay.qcow2"), card)
		run("seed", "--name", "edge-2", "--cloudcore", core.Address, "--cert-port", decimal(int64(core.CertPort)), "--token-file", token, "--apply", card, "--force")
		boot := way{t: t, log: log, image: card, dir: t.TempDir()}
		machine, ctx := boot.start()
		boot.joined(ctx, server, "edge-2")
		must(t, machine.Wait())
		disk := left(t, filepath.Join(boot.dir, "overlay.qcow2"))
		fsck(t, disk)
		run("lint", "--booted", disk) // no secrets, whoever may read them
	})
	after, _ := server.Node(first.Name)
	if second, _ := server.Node("edge-2"); second.Certificates != 1 || after.Connections != before.Connections || after.Certificates != 1 {
		t.Errorf("of the first node there was %+v and is %+v, of the second %+v", before, after, second)
	}
}

// attended is the seed of a node whose machine has an attendant.
func attended(t *testing.T, n cloudinit.Node) map[string][]byte {
	t.Helper()
	seed, err := verify.NodeSeed(n, true)
	must(t, err)
	script := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, attendant, time.Now().Unix()))
	vendor, err := cloudinit.NoCloud(cloudinit.Seed{Meta: cloudinit.MetaData{InstanceID: n.Name}, User: cloudinit.UserData{
		BootCmd: [][]string{{"sh", "-c", "echo " + script + " | base64 -d >/run/attendant; systemd-run --no-block --collect sh /run/attendant"}},
	}})
	must(t, err)
	seed["vendor-data"] = vendor["user-data"]
	return seed
}

// way is one boot.
type way struct {
	t          *testing.T
	log        *console
	image, dir string
	seed       map[string][]byte // nil leaves what is on the card
	rtc        string
}

// start starts the machine; ctx ends when it has ended.
func (w way) start() (*vm.VM, context.Context) {
	w.t.Helper()
	plan, err := verify.Plan(w.t.Context(), w.image, verify.Options{WorkDir: w.dir, Seed: w.seed})
	must(w.t, err)
	plan.Machine.RTC = w.rtc
	machine, err := vm.Start(w.t.Context(), plan.Machine, vm.Options{Console: w.log, Timeout: wayLimit})
	must(w.t, err)
	ctx, cancel := context.WithCancelCause(w.t.Context())
	go func() {
		<-machine.Done()
		cancel(fmt.Errorf("the machine has ended"))
	}()
	w.t.Cleanup(func() { machine.Kill(); <-machine.Done() })
	return machine, ctx
}

// says waits until the console has shown each of these.
func (w way) says(ctx context.Context, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if err := w.log.wait(ctx, word); err != nil {
			w.t.Fatalf("the console has not said %q: %v\n%s", word, err, lastPart(w.log.String()))
		}
	}
}

func (w way) joined(ctx context.Context, server *cloudcore.Server, name string) {
	w.t.Helper()
	start := time.Now()
	if _, err := server.WaitNode(ctx, name); err != nil {
		w.t.Fatalf("%v: %v\n%s", err, context.Cause(ctx), lastPart(w.log.String()))
	}
	w.says(ctx, "node "+name+": joined")
	w.t.Logf("%s has joined %s after it could", name, time.Since(start).Round(time.Second))
}

// wait is for a time that is what the test is about.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait waits until the console has shown a text.
func (c *console) wait(ctx context.Context, text string) error {
	for {
		c.mu.Lock()
		found, more := strings.Contains(c.text.String(), text), c.more
		c.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
