package system

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Enabling knows what deb-systemd-helper does when the package of a unit is installed for the first time: "systemctl
// preset", and what it keeps of that to undo it. It is for units that ask for nothing but WantedBy= and RequiredBy=, of packages, whose file is
// all that there is to say about them; of others it knows nothing. See systemd.preset(5), systemd.unit(5).
type Enabling struct {
	root    tree.Tree
	read    func(p string) (string, error)
	rules   []rule
	unknown bool // whether there is something in this system that is not understood
}

// rule is a line of a preset file.
type rule struct {
	verb, pattern string
	words         int
}

// helpers are the SHA-256 of known deb-systemd-helper: Debian 12's (init-system-helpers 1.65.2).
func helpers() []string {
	return []string{"a895d5f077651960b6ca4ed9c53f8b36eae422ae170f61c972d0c6579e9f8732"}
}

// NewEnabling reads the presets of a system that no script has run in.
func NewEnabling(root tree.Tree, src *tree.Reader) (Enabling, error) {
	e := Enabling{root: root, read: func(p string) (string, error) { return (&settings{root: root, src: src}).read(p) }}
	lib, _ := root.Lookup("lib")
	_, hasSystemctl := root.Lookup("usr/bin/systemctl")
	if _, ok := root.Lookup("usr/bin/deb-systemd-helper"); !ok || !hasSystemctl || lib.Type != tree.Symlink || lib.Link != "usr/lib" {
		e.unknown = true
		return e, nil
	}
	helper, err := e.read("usr/bin/deb-systemd-helper")
	if err != nil {
		return e, err
	}
	sum := sha256.Sum256([]byte(helper))
	e.unknown = !slices.Contains(helpers(), hex.EncodeToString(sum[:]))
	for i := range root.Len() {
		p := root.At(i).Path
		dir, name := path.Split(p)
		if !strings.HasSuffix(dir, "/systemd/system-preset/") || path.Ext(name) != ".preset" {
			continue
		}
		if err := e.preset(p); err != nil {
			return e, err
		}
	}
	return e, nil
}

// preset reads a file of presets: they come in the order of their names. Where packages are not alone in having some it takes more to
// know which of them hold.
func (e *Enabling) preset(p string) error {
	at, _ := e.root.Lookup(p)
	if path.Dir(p) != "usr/lib/systemd/system-preset" || at.Type != tree.File {
		e.unknown = true
		return nil
	}
	text, err := e.read(p)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			e.unknown = true
			return nil
		}
		e.rules = append(e.rules, rule{words[0], words[1], len(words)})
	}
	return nil
}

// Links are the links below /etc/systemd/system, to the unit in /lib/systemd/system, in the order of its file: "multi-user.target.wants/acme.service".
// There are none when it is not known what enabling the unit does, or when that is more than such links.
func (e Enabling) Links(unit string) []string {
	if e.unknown || !plainUnit(unit) || !e.alone(unit) || !e.wanted(unit) {
		return nil
	}
	text, err := e.read("usr/lib/systemd/system/" + unit)
	if err != nil {
		return nil
	}
	var links []string
	for _, dir := range plainInstall(text) {
		links = append(links, dir+"/"+unit)
	}
	return links
}

// alone reports whether a unit is one file of a package.
func (e Enabling) alone(unit string) bool {
	const packaged = "usr/lib/systemd/system"
	if at, ok := e.root.Lookup(packaged + "/" + unit); !ok || at.Type != tree.File {
		return false
	}
	for _, dir := range []string{"etc/systemd/system", "usr/local/lib/systemd/system", packaged} {
		for _, name := range []string{unit, unit + ".d", strings.TrimPrefix(path.Ext(unit), ".") + ".d"} {
			if _, ok := e.root.Lookup(dir + "/" + name); ok && (dir != packaged || name != unit) {
				return false
			}
		}
	}
	return true
}

// wanted reports whether the presets want a unit enabled: the first rule that fits decides, and without one it is.
func (e Enabling) wanted(unit string) bool {
	for _, r := range e.rules {
		fits, err := path.Match(r.pattern, unit)
		if err != nil || strings.Contains(r.pattern, `\`) {
			return false
		}
		if fits {
			return r.verb == "enable" && r.words == 2
		}
	}
	return true
}

func plainUnit(name string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:_.-]*\.(service|socket|timer|path|mount|target)$`).MatchString(name)
}

// plainInstall returns the directories of a unit's links, or nil when its file says more or says it in another way than
// packages do.
func plainInstall(text string) (dirs []string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "["):
			if section == "[Install]" || strings.TrimSpace(line) != line {
				return nil // two of them, or something behind it
			}
			section = line
		case section != "[Install]":
			if installKey(key) { // deb-systemd-helper reads it, systemd does not
				return nil
			}
		case line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";"):
		case key != "WantedBy" && key != "RequiredBy":
			return nil
		default:
			for _, by := range strings.Split(value, " ") {
				dir := by + map[string]string{"WantedBy": ".wants", "RequiredBy": ".requires"}[key]
				if !plainUnit(by) || slices.Contains(dirs, dir) {
					return nil
				}
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// installKey reports whether deb-systemd-helper knows a key of [Install].
func installKey(key string) bool {
	return slices.Contains([]string{"wantedby", "requiredby", "also", "alias", "defaultinstance"}, strings.ToLower(strings.TrimSpace(key)))
}
