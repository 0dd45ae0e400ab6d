package system

import (
	"context"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const epoch = 1_700_000_000

func file(p, text string) tree.Entry {
	return tree.Entry{Path: p, Type: tree.File, Mode: 0o644, MTime: tree.Time{Sec: epoch + 60}, Content: tree.InlineContent([]byte(text))}
}

func build(t *testing.T, entries ...tree.Entry) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: epoch})
	for _, e := range entries {
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func text(t *testing.T, root tree.Tree, p string) string {
	t.Helper()
	e, ok := root.Lookup(p)
	if !ok {
		t.Fatalf("%s is missing", p)
	}
	b, err := readAll(tree.NewReader(nil), e.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func accounts() []tree.Entry {
	return []tree.Entry{
		file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"), file("etc/shadow", "root:*:20000:0:99999:7:::\n"),
		file("etc/group", "root:x:0:\nsudo:x:27:\nadm:x:4:syslog\n"), file("etc/gshadow", "root:*::\nsudo:*::\nadm:*::syslog\n"),
	}
}

func TestNormaliseRemovesWhatIdentifiesAMachine(t *testing.T) {
	entries := append(accounts(), file("etc/machine-id", "0123\n"), file("etc/ssh/ssh_host_rsa_key", "secret"), file("etc/passwd-", "old"),
		file("var/log/dpkg.log", "x"), file("tmp/left", "x"), file("var/cache/ldconfig/aux-cache", "x"), file("usr/bin/tool", "x"),
		tree.Entry{Path: "usr/bin/again", Type: tree.Hardlink, Link: "tmp/left"})
	cache := []tree.Entry{{Path: "var/cache/apt/archives", Type: tree.Dir, Mode: 0o755}, {Path: "var/cache/apt/archives/partial", Type: tree.Dir, Mode: 0o700, UID: 42}}
	entries = append(append(entries, cache...), file("var/cache/apt/archives/partial/x", "x"), file("var/lib/apt/lists/auxfiles/x", "x"))
	got, err := Normalise(context.Background(), build(t, cache...), build(t, entries...), tree.NewReader(nil), epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"etc/ssh/ssh_host_rsa_key", "etc/passwd-", "var/log/dpkg.log", "tmp/left", "var/cache/ldconfig/aux-cache", "var/cache/apt/archives/partial/x", "var/lib/apt/lists/auxfiles"} {
		if _, ok := got.Lookup(p); ok {
			t.Errorf("%s is still there", p)
		}
	}
	if e, ok := got.Lookup("var/cache/apt/archives/partial"); !ok || e.Mode != 0o700 || e.UID != 42 {
		t.Errorf("the directory of a package is not as it was: %v %+v", ok, e)
	}
	if e, ok := got.Lookup("etc/machine-id"); !ok || e.Content.Size != 0 {
		t.Errorf("machine-id is not there and empty: %v %v", ok, e)
	}
	if e, _ := got.Lookup("usr/bin/tool"); e.MTime.Sec != epoch {
		t.Errorf("a time after the epoch stayed: %d", e.MTime.Sec)
	}
	if e, _ := got.Lookup("usr/bin/again"); e.Type != tree.File || text(t, got, "usr/bin/again") != "x" {
		t.Errorf("the hard link lost its content with its removed target: %v", e)
	}
	if s := text(t, got, "etc/shadow"); s != "root:*:19675:0:99999:7:::\n" {
		t.Errorf("shadow keeps the day of the bake: %q", s)
	}
}

func TestSettingsAddsUsers(t *testing.T) {
	p := profile.Profile{Users: []profile.User{{Name: "edge", Groups: []string{"sudo", "adm"}, Sudo: true, AuthorizedKeys: []string{"ssh-ed25519 AAAA me"}}}}
	got, err := Settings(build(t, accounts()...), tree.NewReader(nil), p, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"etc/passwd": "edge:x:1000:1000::/home/edge:/bin/bash\n", "etc/shadow": "edge:!:19675:0:99999:7:::\n",
		"etc/group": "sudo:x:27:edge\nadm:x:4:syslog,edge\n", "etc/gshadow": "adm:*::syslog,edge\n",
		"home/edge/.ssh/authorized_keys": "ssh-ed25519 AAAA me\n",
	} {
		if s := text(t, got, file); !strings.Contains(s, want) {
			t.Errorf("%s lacks %q:\n%s", file, want, s)
		}
	}
	if e, _ := got.Lookup("home/edge/.ssh"); e.UID != 1000 || e.Mode != 0o700 {
		t.Errorf("wrong owner or mode of .ssh: %+v", e)
	}
}

func TestSettingsRefuses(t *testing.T) {
	tests := map[string]struct {
		p    profile.Profile
		want string
	}{
		"no such group": {profile.Profile{Users: []profile.User{{Name: "a", Groups: []string{"docker"}}}}, "no group docker"},
		"existing user": {profile.Profile{Users: []profile.User{{Name: "root"}}}, "already"},
		"no such unit":  {profile.Profile{Services: profile.Services{Enable: []string{"no.service"}}}, "brings this unit"},
		"static unit":   {profile.Profile{Services: profile.Services{Enable: []string{"static.service"}}}, "no [Install] section"},
	}
	for name, tt := range tests {
		root := build(t, append(accounts(), file("usr/lib/systemd/system/static.service", "[Service]\nExecStart=/bin/true\n"))...)
		if _, err := Settings(root, tree.NewReader(nil), tt.p, epoch); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServices(t *testing.T) {
	unit := "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\nAlias=other.service\nAlso=more.socket\n"
	root := build(t, append(accounts(), file("usr/lib/systemd/system/a.service", unit),
		file("lib/systemd/system/more.socket", "[Install]\nWantedBy=sockets.target\n"),
		file("usr/lib/systemd/system/more.socket", "[Install]\nWantedBy=other.target\n"),
		tree.Entry{Path: "etc/systemd/system/multi-user.target.wants/off.service", Type: tree.Symlink, Link: "/lib/systemd/system/off.service"})...)
	p := profile.Profile{Services: profile.Services{Enable: []string{"a.service"}, Disable: []string{"off.service"}, Mask: []string{"bad.service"}}}
	got, err := Settings(root, tree.NewReader(nil), p, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		"etc/systemd/system/multi-user.target.wants/a.service": "/usr/lib/systemd/system/a.service",
		"etc/systemd/system/other.service":                     "/usr/lib/systemd/system/a.service",
		"etc/systemd/system/sockets.target.wants/more.socket":  "/lib/systemd/system/more.socket", // as systemd finds it
		"etc/systemd/system/bad.service":                       "/dev/null",
	} {
		if e, ok := got.Lookup(at); !ok || e.Link != want {
			t.Errorf("%s -> %q, want %q", at, e.Link, want)
		}
	}
	if _, ok := got.Lookup("etc/systemd/system/multi-user.target.wants/off.service"); ok {
		t.Error("off.service is still enabled")
	}
}

// A machine without a clock starts at the time of its image, not in 1970.
func TestClockStartsAtEpoch(t *testing.T) {
	state := tree.Entry{Path: "var/lib/systemd/timesync", Type: tree.Dir, Mode: 0o755, UID: 101, GID: 102, MTime: tree.Time{Sec: epoch}}
	root, err := Settings(build(t, append(accounts(), state)...), tree.NewReader(nil), profile.Profile{}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for path, owner := range map[string]uint32{"usr/lib/clock-epoch": 0, "var/lib/systemd/timesync/clock": 101} {
		e, ok := root.Lookup(path)
		if !ok || e.MTime.Sec != epoch || e.UID != owner {
			t.Errorf("%s: %v, time %d, owner %d", path, ok, e.MTime.Sec, e.UID)
		}
	}
}

// What the guest did not change in a published image stays as it was, machine-id and logs included.
func TestNormaliseChangesKeepsThePublishers(t *testing.T) {
	before := build(t, append(accounts(), file("var/log/old.log", "x"), file("usr/bin/tool", "old"), file("etc/machine-id", ""), file("var/lib/dpkg/lock", ""), file("var/lib/dpkg/updates/0001", "x"))...)
	after := build(t, append(accounts(), tree.Entry{Path: "var/lib/dpkg/updates", Type: tree.Dir, Mode: 0o755}, file("var/log/dpkg.log", "x"), file("usr/bin/tool", "old"), file("etc/machine-id", "0123\n"),
		tree.Entry{Path: "usr/bin/new", Type: tree.File, Mode: 0o755, MTime: tree.Time{Sec: epoch + 99}})...)
	got, err := NormaliseChanges(t.Context(), before, after, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for path, there := range map[string]bool{"var/log/old.log": true, "var/log/dpkg.log": false, "usr/bin/new": true, "var/lib/dpkg/lock": false,
		"var/lib/dpkg/updates": true, "var/lib/dpkg/updates/0001": false} {
		if _, ok := got.Lookup(path); ok != there {
			t.Errorf("%s: %v, want %v", path, ok, there)
		}
	}
	tool, _ := got.Lookup("usr/bin/tool")
	fresh, _ := got.Lookup("usr/bin/new")
	if tool.MTime.Sec != epoch+60 || fresh.MTime.Sec != epoch || text(t, got, "etc/machine-id") != "" {
		t.Errorf("tool %d, new %d, machine-id %q", tool.MTime.Sec, fresh.MTime.Sec, text(t, got, "etc/machine-id"))
	}
}
