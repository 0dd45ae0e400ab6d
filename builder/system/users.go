package system

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

const firstUID = 1000 // login.defs(5) UID_MIN

// users adds accounts with a locked password, as useradd(8) would.
func (s *settings) users(users []profile.User) error {
	for _, u := range users {
		if err := s.user(u); err != nil {
			return fmt.Errorf("adding user %s: %w", u.Name, err)
		}
	}
	return nil
}

func (s *settings) user(u profile.User) error {
	passwd, err := s.read("etc/passwd")
	if err != nil {
		return err
	}
	if hasName(passwd, u.Name) {
		return fmt.Errorf("the packages have made an account of that name already; choose another")
	}
	uid := u.UID
	if uid == 0 {
		uid = nextID(passwd)
	}
	home, shell := u.Home, u.Shell
	if home == "" {
		home = "/home/" + u.Name
	}
	if shell == "" {
		shell = "/bin/bash"
	}
	day := s.epoch.Sec / secondsPerDay
	for file, line := range map[string]string{
		"etc/passwd":  fmt.Sprintf("%s:x:%d:%d::%s:%s\n", u.Name, uid, uid, home, shell),
		"etc/shadow":  fmt.Sprintf("%s:!:%d:0:99999:7:::\n", u.Name, day),
		"etc/group":   fmt.Sprintf("%s:x:%d:\n", u.Name, uid),
		"etc/gshadow": fmt.Sprintf("%s:!::\n", u.Name),
	} {
		if err := s.appendLine(file, line); err != nil {
			return err
		}
	}
	for _, g := range u.Groups {
		if err := s.joinGroup(u.Name, g); err != nil {
			return err
		}
	}
	s.home(u, home, uint32(uid))
	return nil
}

func (s *settings) appendLine(file, line string) error {
	text, err := s.read(file)
	if err == nil {
		s.file(file, 0o644, text+line)
	}
	return err
}

func (s *settings) joinGroup(user, group string) error {
	for _, file := range []string{"etc/group", "etc/gshadow"} {
		text, err := s.read(file)
		if err != nil {
			return err
		}
		lines := strings.Split(text, "\n")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, group+":") })
		if i < 0 {
			return fmt.Errorf("there is no group %s in the image; install the package that makes it or leave the group out", group)
		}
		if strings.HasSuffix(lines[i], ":") {
			lines[i] += user
		} else {
			lines[i] += "," + user
		}
		s.file(file, 0o644, strings.Join(lines, "\n"))
	}
	return nil
}

func (s *settings) home(u profile.User, home string, uid uint32) {
	at := strings.TrimPrefix(home, "/")
	s.dir(at, 0o700, uid, uid)
	if len(u.AuthorizedKeys) > 0 {
		s.dir(at+"/.ssh", 0o700, uid, uid)
		s.add(tree.Entry{Path: at + "/.ssh/authorized_keys", Type: tree.File, Mode: 0o600, UID: uid, GID: uid,
			Content: tree.InlineContent([]byte(strings.Join(u.AuthorizedKeys, "\n") + "\n"))})
	}
	if u.Sudo {
		s.file("etc/sudoers.d/90-"+strings.ReplaceAll(u.Name, ".", "_"), 0o440, u.Name+" ALL=(ALL) NOPASSWD:ALL\n")
	}
}

func hasName(passwd, name string) bool {
	return strings.HasPrefix(passwd, name+":") || strings.Contains(passwd, "\n"+name+":")
}

func nextID(passwd string) int {
	next := firstUID
	for line := range strings.Lines(passwd) {
		if f := strings.Split(line, ":"); len(f) > 2 {
			if id, err := strconv.Atoi(f[2]); err == nil && id >= next && id < 60000 {
				next = id + 1
			}
		}
	}
	return next
}
