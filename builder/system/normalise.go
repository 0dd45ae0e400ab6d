// Package system turns a configured root file system into the one that a profile describes.
//
// Normalise removes what differs from run to run or belongs to one machine. Settings are the files
// that a profile's fields stand for: fstab, host name, users, enabled units, sysctls, modules. All of
// it is done on the Tree, without running anything of the image.
package system

import (
	"bytes"
	"context"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

const secondsPerDay = 24 * 60 * 60

// removed are the paths that no image carries: traces of the bake, caches that hold times or inode
// numbers, identities of a single machine. A pattern is matched by path.Match; one that ends in
// "/**" means everything inside a directory that itself stays.
var removed = [...]string{
	"dev/**", "proc/**", "sys/**", "run/**", "tmp/**", "var/tmp/**", "lost+found",
	"etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub",
	"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
	"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
	"var/lib/dpkg/*-old", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock", "var/lib/dpkg/updates/**",
	"var/cache/debconf/*-old", "var/cache/ldconfig/aux-cache", "var/cache/apt/**", "var/lib/apt/lists/**",
	"var/log/*.log", "var/log/apt/**", "var/log/journal/**", "var/log/btmp", "var/log/wtmp", "var/log/lastlog", "var/log/faillog",
	"var/lib/cloud/**", "root/.bash_history", "root/.rnd", "usr/sbin/policy-rc.d",
}

// Normalise returns root without what must not differ or leak, and with no time after epoch.
// Passwords' last change is the day of the epoch (shadow(5)); machine-id is empty, so that each
// machine makes its own at its first boot (machine-id(5)). Directories that packages brought stay, emptied: dpkg
// --verify misses them otherwise.
func Normalise(ctx context.Context, packages, root tree.Tree, src *tree.Reader, epoch int64) (tree.Tree, error) {
	var out []tree.Entry
	for i := range root.Len() {
		if err := ctx.Err(); err != nil {
			return tree.Tree{}, err
		}
		e := root.At(i)
		if isRemoved(e.Path) && !isDir(packages, e.Path) {
			continue
		}
		if e.Path == "etc/shadow" {
			var err error
			if e.Content, err = normaliseShadow(e.Content, src, epoch); err != nil {
				return tree.Tree{}, err
			}
		}
		e.MTime = notAfter(e.MTime, epoch)
		out = append(out, e)
	}
	out = append(out, tree.Entry{Path: "etc/machine-id", Type: tree.File, Mode: 0o644, MTime: tree.Time{Sec: epoch}})
	return tree.New(relink(root, out))
}

// relink gives a hard link whose target was removed the attributes of that target.
func relink(before tree.Tree, entries []tree.Entry) []tree.Entry {
	kept := make(map[string]bool, len(entries))
	for _, e := range entries {
		kept[e.Path] = true
	}
	promoted := map[string]string{}
	for i, e := range entries {
		if e.Type != tree.Hardlink || kept[e.Link] {
			continue
		}
		if first, ok := promoted[e.Link]; ok {
			entries[i].Link = first
			continue
		}
		target, _ := before.Lookup(e.Link)
		promoted[e.Link] = e.Path
		target.Path = e.Path
		entries[i] = target
	}
	return entries
}

func isDir(t tree.Tree, p string) bool {
	e, ok := t.Lookup(p)
	return ok && e.Type == tree.Dir
}

func isRemoved(p string) bool {
	for _, pattern := range removed {
		if inside, ok := strings.CutSuffix(pattern, "/**"); ok {
			if strings.HasPrefix(p, inside+"/") {
				return true
			}
			continue
		}
		if ok, _ := path.Match(pattern, p); ok { // the patterns are constants: none is malformed
			return true
		}
	}
	return false
}

func notAfter(t tree.Time, epoch int64) tree.Time {
	if t.Sec >= epoch {
		return tree.Time{Sec: epoch}
	}
	return t
}

func normaliseShadow(c tree.Content, src *tree.Reader, epoch int64) (tree.Content, error) {
	data, err := readAll(src, c)
	if err != nil {
		return c, err
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(line, ":")
		if len(fields) > 2 && fields[2] != "" && fields[2] != "0" {
			fields[2] = strconv.FormatInt(epoch/secondsPerDay, 10)
		}
		out.WriteString(strings.Join(fields, ":"))
	}
	return tree.InlineContent(out.Bytes()), nil
}

// maxConfig is the most that a configuration file read as a whole may have: such files have
// kilobytes, and a unit or passwd file of more is a mistake.
const maxConfig = 4 << 20

func readAll(src *tree.Reader, c tree.Content) ([]byte, error) {
	r, err := src.Open(c)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxConfig))
}
