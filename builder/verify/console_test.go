package verify_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/test/oracle"
)

const goodBoot = "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd034]\r\n" +
	"[    0.000000] Linux version 6.1.0-56-arm64 (debian-kernel@lists.debian.org)\r\n" +
	"[    2.100000] EXT4-fs (vda2): mounted filesystem with ordered data mode. Quota mode: none.\r\n" +
	"[    3.000000] systemd[1]: systemd 252.39-1~deb12u1 running in system mode (+PAM)\r\n" +
	"[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n" +
	"[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mx.service\x1b[0m - X.\r\n" +
	"[   61.0] cloud-init[700]: Cloud-init v. 22.4.2 finished at Sat, 01 Jan 2022 00:00:00 +0000. Datasource DataSourceNoCloud\r\n" +
	"\r\n@@EB {\"check\":\"clock\",\"ok\":false,\"detail\":\"too early\"}\r\n" +
	"\r\n@@EB {\"check\":\"cri\",\"ok\":tr[   70.1] audit: something\r\n" +
	"\r\n@@EB {\"check\":\"cri\",\"ok\":true,\"detail\":\"containerd 1.6\"}\r\n" +
	"half a line @@EB {\"check\":\"clock\",\"ok\":true,\"detail\":\"later\"}\r\n" +
	"\r\n@@EB {\"end\":true}\r\n"

// feed writes text in pieces of n bytes; every call of elapsed is a second later.
func feed(t *testing.T, c *verify.Console, text string, n int) {
	t.Helper()
	for b := []byte(text); len(b) > 0; b = b[min(n, len(b)):] {
		if _, err := c.Write(b[:min(n, len(b))]); err != nil {
			t.Fatal(err)
		}
	}
}

func ticks() func() time.Duration {
	n := 0
	return func() time.Duration { n++; return time.Duration(n) * time.Second }
}

func isDone(c *verify.Console) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

func TestConsoleFollowsABoot(t *testing.T) {
	for _, n := range []int{1, 7, 100000} {
		var log bytes.Buffer
		c := verify.NewConsole(&log, ticks())
		feed(t, c, strings.TrimSuffix(goodBoot, "@@EB {\"end\":true}\r\n"), n)
		if isDone(c) {
			t.Error("done before the script's last word")
		}
		feed(t, c, "@@EB {\"end\":true}\r\n", n)
		s := c.State()
		want := []verify.Milestone{{Name: "kernel", Seconds: 1}, {Name: "root mounted", Seconds: 2}, {Name: "systemd", Seconds: 3}, {Name: "multi-user", Seconds: 4}, {Name: "cloud-init", Seconds: 5}, {Name: "checks", Seconds: 6}}
		if d := cmp.Diff(want, s.Milestones); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]verify.Result{{Name: "clock", OK: true, Detail: "later"}, {Name: "cri", OK: true, Detail: "containerd 1.6"}}, s.Results); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"x.service - X."}, s.FailedUnits); d != "" {
			t.Error(d)
		}
		if !s.Finished || s.Fatal != "" || !isDone(c) || log.String() != goodBoot {
			t.Errorf("pieces of %d: finished %v, fatal %q, log of %d bytes", n, s.Finished, s.Fatal, log.Len())
		}
	}
}

func TestConsoleRecognisesLostBoots(t *testing.T) {
	for text, want := range map[string]string{
		"[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n": "kernel panic",
		"You are in emergency mode. After logging in, type \"journalctl -xb\"\n":                     "emergency mode",
		"Cannot open access to console, the root account is locked.\n":                               "emergency mode",
		"ALERT!  LABEL=writable does not exist.  Dropping to a shell!\n":                             "initrd shell: root was not found",
		"BusyBox v1.35.0\r\n\r\n(initramfs) ":                                                        "initrd shell: root was not found",
		"\x1b[2J\x1b[01;01Hgrub> ":                                                                   "GRUB prompt: its configuration was not found",
		"error: no such device: writable.\r\ngrub rescue> ":                                          "GRUB prompt: its configuration was not found",
		"BdsDxe: No bootable option or device was found.\r\n":                                        "firmware: nothing to boot",
		"\x1b[=3h\r\n>>Start PXE over IPv4.":                                                         "firmware: nothing to boot",
		"nothing special, grub> is only mentioned\n":                                                 "",
	} {
		c := verify.NewConsole(nil, ticks())
		feed(t, c, text, 3)
		if s := c.State(); s.Fatal != want || isDone(c) != (want != "") || s.Finished {
			t.Errorf("%q: fatal %q, want %q; done %v, finished %v", text, s.Fatal, want, isDone(c), s.Finished)
		}
	}
}

func TestConsoleTakesThePanicsWholeLine(t *testing.T) {
	c := verify.NewConsole(nil, ticks())
	feed(t, c, "[    6.8] Kernel panic - not syncing", 1)
	if isDone(c) {
		t.Error("done before the kernel said why")
	}
	feed(t, c, ": Attempted to kill init!\n", 1)
	if lines := c.State().LastLines; !isDone(c) || !strings.HasSuffix(lines[len(lines)-1], "Attempted to kill init!") {
		t.Error(lines)
	}
}

func TestConsoleUntilMilestone(t *testing.T) {
	c := verify.NewConsole(nil, ticks())
	c.Until(verify.MilestoneMultiUser)
	feed(t, c, "Debian GNU/Linux 12 minimal ttyS0\r\n\r\nminimal login", 1)
	if isDone(c) {
		t.Error("done before the prompt")
	}
	feed(t, c, ": ", 1)
	if s := c.State(); !s.Finished || s.LastLines[len(s.LastLines)-1] != "minimal login: " {
		t.Errorf("%+v", s)
	}
}

func TestConsoleKeepsTheLastLines(t *testing.T) {
	c := verify.NewConsole(nil, ticks())
	feed(t, c, strings.Repeat("x", 10000)+"\n"+strings.Repeat("line\n", 500)+"last", 1000)
	s := c.State()
	if n := len(s.LastLines); n > 61 || s.LastLines[n-1] != "last" || s.LastLines[0] != "line" {
		t.Errorf("%d lines, from %q to %q", n, s.LastLines[0], s.LastLines[n-1])
	}
}

func FuzzConsole(f *testing.F) {
	f.Add([]byte(goodBoot))
	f.Add([]byte("@@EB {\"check\":1}\n@@EB null\n\x1b["))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := verify.NewConsole(nil, ticks())
		if n, err := c.Write(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		if s := c.State(); s.Finished && s.Fatal != "" {
			t.Errorf("both finished and lost: %+v", s)
		}
	})
}

func TestCheckScriptIsClean(t *testing.T) {
	if out, err := exec.Command(oracle.Need(t, "shellcheck"), "-s", "sh", "check.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
