package deb

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

const adminDir = "var/lib/dpkg"

// newInstalled reads what the database needs to know from a package's control members.
func newInstalled(x Extracted) (*installed, error) {
	data, ok := x.Member("control")
	if !ok {
		return nil, fmt.Errorf("reading control of %s: the package has none", x.Data.Short())
	}
	c, err := ParseStanza(data)
	if err != nil {
		return nil, fmt.Errorf("reading control of %s: %w", x.Data.Short(), err)
	}
	p := &installed{Extracted: x, control: c, lost: map[string]bool{},
		name: c.Get("Package"), version: c.Get("Version"), arch: c.Get("Architecture")}
	if err := p.checkNames(); err != nil {
		return nil, fmt.Errorf("reading control of %s: %w", x.Data.Short(), err)
	}
	p.qualified = p.name
	if c.Get("Multi-Arch") == "same" {
		p.qualified += ":" + p.arch
	}
	if p.replaces, err = ParseRelations(c.Get("Replaces")); err != nil {
		return nil, fmt.Errorf("reading Replaces of %s: %w", p.name, err)
	}
	if list, ok := x.Member("conffiles"); ok {
		p.conffiles = conffiles(list)
	}
	return p, nil
}

// checkNames refuses what must not get into names of files and lines of the guest's script: dpkg's rule
// (lib/dpkg/parsehelp.c, pkg_name_is_illegal), and for the architecture Debian's (Policy, 5.6.8).
func (p *installed) checkNames() error {
	letters := func(r rune) bool {
		return r < 128 && (isDigit(byte(r)) || isLetter(byte(r)) || strings.ContainsRune("+-._", r))
	}
	for _, f := range [][2]string{{"Package", p.name}, {"Architecture", p.arch}} {
		field, value := f[0], f[1]
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return !letters(r) }) || !isDigit(value[0]) && !isLetter(value[0]) {
			return fmt.Errorf("%s is %.80q: letters, digits and \"+-._\" are allowed, and the first is none of these signs; take the package from elsewhere, or leave it out of the profile", field, value)
		}
	}
	_, err := ParseVersion(p.version)
	return err
}

// conffiles lists the paths of a conffiles member; those with the flag remove-on-upgrade are
// not in the package (deb-conffiles(5)).
func conffiles(list []byte) []string {
	var out []string
	for line := range strings.Lines(string(list)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "/") {
			out = append(out, line)
		}
	}
	return out
}

// sumFiles makes the md5sums of a package that brings none, as dpkg does when it unpacks one
// (dpkg src/main/unpack.c, write_filehash_except).
func (p *installed) sumFiles(files tree.Tree, src *tree.Reader) error {
	if _, ok := p.Member("md5sums"); ok {
		return nil
	}
	var sums bytes.Buffer
	for i := range files.Len() {
		e := files.At(i)
		if e.Type != tree.File {
			continue
		}
		r, err := src.Open(e.Content)
		if err != nil {
			return err
		}
		h := md5.New()
		if _, err := io.Copy(h, r); err != nil {
			return fmt.Errorf("summing /%s: %w", e.Path, err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", h.Sum(nil), e.Path)
	}
	if sums.Len() > 0 {
		p.Control = append(p.Control, ControlMember{Name: "md5sums", Mode: 0o644, Data: sums.Bytes()})
	}
	return nil
}

func (p *installed) replacesPackage(other *installed) bool {
	for _, alternatives := range p.replaces {
		for _, r := range alternatives {
			if r.Name == other.name && r.Matches(other.version) {
				return true
			}
		}
	}
	return false
}

func (p *installed) preinst() Preinst {
	out := Preinst{Package: p.name, Arch: p.arch, Version: p.version, Qualified: p.qualified}
	relations, err := ParseRelations(p.control.Get("Pre-Depends"))
	if err != nil {
		return out // the solver has read the same field and would have refused it
	}
	for _, alternatives := range relations {
		for _, r := range alternatives {
			out.PreDepends = append(out.PreDepends, r.Name)
		}
	}
	return out
}

// addTriggers notes the package's interests: lines of triggers/File for paths, and of a file
// named after the trigger for the others (deb-triggers(5), dpkg's doc/triggers.txt).
func (in *installer) addTriggers(p *installed) error {
	data, _ := p.Member("triggers")
	for line := range strings.Lines(string(data)) {
		directive, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(directive, "interest") {
			continue
		}
		name = strings.TrimSpace(name)
		if !strings.HasPrefix(name, "/") && strings.Contains(name, "/") {
			return fmt.Errorf("reading triggers of %s: %.80q is neither an absolute path nor a name; take the package from elsewhere, or leave it out of the profile", p.name, name)
		}
		who := p.qualified
		if directive == "interest-noawait" {
			who += "/noawait"
		}
		if strings.HasPrefix(name, "/") {
			in.triggers["File"] = append(in.triggers["File"], name+" "+who)
			continue
		}
		in.triggers[name] = append(in.triggers[name], who)
	}
	return nil
}

// database writes what dpkg keeps below /var/lib/dpkg.
func (in *installer) database() {
	for _, d := range []string{"var", "var/lib", adminDir, adminDir + "/info", adminDir + "/updates", adminDir + "/triggers",
		adminDir + "/parts", adminDir + "/alternatives"} {
		if _, ok := in.entries[d]; !ok {
			in.put(tree.Entry{Path: d, Type: tree.Dir, Mode: 0o755, MTime: in.epoch}, -1)
		}
	}
	var status bytes.Buffer
	for _, p := range in.packages {
		p.writeStatus(&status)
		in.infoFiles(p)
	}
	in.file("status", status.Bytes(), 0o644)
	in.file("info/format", []byte("1\n"), 0o644)
	for _, empty := range []string{"available", "diversions", "statoverride", "triggers/Unincorp"} {
		in.file(empty, nil, 0o644)
	}
	for _, name := range slices.Sorted(maps.Keys(in.triggers)) {
		in.file("triggers/"+name, []byte(strings.Join(in.triggers[name], "\n")+"\n"), 0o644)
	}
}

func (in *installer) file(name string, data []byte, mode uint32) {
	in.put(tree.Entry{Path: path.Join(adminDir, name), Type: tree.File, Mode: mode, MTime: in.epoch,
		Content: tree.InlineContent(data)}, -1)
}

func (in *installer) infoFiles(p *installed) {
	for _, m := range p.Control {
		if m.Name != "control" && m.Name != "." {
			in.file("info/"+p.qualified+"."+m.Name, m.Data, m.Mode&0o755)
		}
	}
	var list bytes.Buffer
	for _, name := range p.list {
		if !p.lost[name] {
			list.WriteString(name + "\n")
		}
	}
	in.file("info/"+p.qualified+".list", list.Bytes(), 0o644)
}

// writeStatus appends the package's stanza of the status file. A configuration file of an
// unpacked package has the word newconffile in place of a hash (dpkg lib/dpkg/dump.c).
func (p *installed) writeStatus(w *bytes.Buffer) {
	fmt.Fprintf(w, "Package: %s\nStatus: install ok unpacked\n", p.name)
	for _, f := range p.control.Fields {
		switch strings.ToLower(f.Name) {
		case "package", "status", "description", "conffiles":
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", f.Name, f.Value)
	}
	if len(p.conffiles) > 0 {
		w.WriteString("Conffiles:\n")
		for _, c := range p.conffiles {
			fmt.Fprintf(w, " %s newconffile\n", c)
		}
	}
	fmt.Fprintf(w, "Description: %s\n\n", p.control.Get("Description"))
}
