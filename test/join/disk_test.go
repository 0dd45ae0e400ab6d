package join_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A file system that is really full, at each step that writes: the reason is told, and the next attempt
// after room was made joins. Each is a small tmpfs in the machine, which is made larger; /etc/kubeedge's is
// taken away, because keadm makes a hard link from there to systemd's directory.
func TestDiskFull(t *testing.T) {
	const golden = "{golden}" // KiB of the release
	for _, c := range []struct{ step, dir, options, detail string }{
		{"looking for room", "/etc", "size=8m", "joining needs"},
		{"copying the release", "/etc/kubeedge", "size=2m", "copying " + tarball},
		{"copying beside the release", "/etc/kubeedge", "size=500m,nr_inodes=2", "copying " + tarball},
		{"unpacking", "/etc/kubeedge", "size=" + golden + "k", "keadm: no space left"},
		{"copying the program", "/usr/local/bin", "size=1m", "keadm: no space left"},
		{"the settings", "/etc/kubeedge/config", "size=4k", "writing " + yamlFile},
		{"the certificates", "/etc/kubeedge/certs", "nr_inodes=1", "no space left on device"},
		{"the begin of a join", "/var/lib/edgebake", "nr_inodes=1", "writing /var/lib/edgebake/instance"},
		{"the mark of a join", "/var/lib/edgebake", "size=4k", "writing " + joinMark},
	} {
		t.Run(c.step, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.boot()
			info, err := os.Stat(m.path(goldenDir + tarball))
			check(t, err)
			m.mount(c.dir, strings.ReplaceAll(c.options, golden, fmt.Sprint(info.Size()/1024+1024)))
			j := m.join()
			if s := m.until("failed", "disk-full"); !strings.Contains(s.Detail, c.detail) || s.Next == "" || m.has(joinMark) {
				t.Errorf("%+v, joined: %v", s, m.has(joinMark))
			}
			m.untilSays("/boot/firmware/join-status.txt", "(disk-full)", "make room")
			if c.dir == "/etc/kubeedge" {
				m.does("umount -l " + c.dir)
			} else {
				m.does("mount -o remount,size=500m,nr_inodes=1000 " + c.dir)
			}
			j.ended()
			m.checkJoined("edge-1")
			if m.read(joinMark) == "" {
				t.Error("the join is not marked")
			}
		})
	}
}

// mount lays a tmpfs over a directory; what is in there stays.
func (m *machine) mount(dir, options string) {
	m.t.Helper()
	m.does("mkdir -p /new " + dir + " && mount -t tmpfs -o mode=755," + options + " tmpfs /new && cp -a " + dir + "/. /new && mount --move /new " + dir)
}

// A full card can't say how the node stands; it joins all the same, and its seed is whole.
func TestCardFull(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.mount("/boot/firmware", "size=8k") // the token and user-data
	m.join().ended()
	if m.has("/boot/firmware/join-status.txt.new") || m.read("/boot/firmware/user-data") == "" {
		t.Error("the card has half a status, or has lost its seed")
	}
	if s := m.status(); s.State != "joined" {
		t.Errorf("%+v", s)
	}
	m.checkScrubbed()
}
