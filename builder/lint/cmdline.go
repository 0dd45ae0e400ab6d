package lint

import (
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/boot"
)

// commandLine is what a kernel is started with.
type commandLine struct {
	path  string // of the file
	who   string // reads it
	words []string
	pi    bool // the firmware adds words of its own in front
}

// commandLines are those of the Raspberry Pi's firmware and of GRUB's menu.
func (s *system) commandLines() ([]commandLine, []Finding) {
	var lines []commandLine
	var found []Finding
	for _, f := range s.firmware() {
		read, err := boot.CommandLines(f.tree, s.src)
		if err != nil {
			found = append(found, fault(f.path("config.txt"), "add the file, or correct cmdline= in config.txt", "the kernel's command line cannot be found: %v", err))
		}
		for _, l := range read {
			who := "the firmware"
			if len(read) > 1 {
				who += " of " + strings.Join(l.Models, ", ")
			}
			lines = append(lines, commandLine{f.path(l.File), who, l.Words, true})
		}
	}
	if e, ok := s.file(grubCfg); ok {
		entries, _ := boot.GrubEntries(s.src, e) // without one, the rule "kernel" says so
		for _, entry := range entries {
			who := "GRUB"
			if entry.Recovery {
				who = "GRUB's recovery mode"
			}
			lines = append(lines, commandLine{path: "/" + grubCfg, who: who, words: entry.Parameters})
		}
	}
	return lines, found
}

// needsCgroups reports whether something in the image counts containers' memory.
func (s *system) needsCgroups() bool {
	return s.role == Edge || s.role == Master || len(s.runtimes()) > 0 || s.program("kubelet") != ""
}

// checkCgroupFlags looks at the words that decide over the memory controller. The firmware of a
// Raspberry Pi puts cgroup_disable=memory in front, and the kernels of the Raspberry Pi have it off
// by themselves, so that it has to be switched on; elsewhere it is on unless somebody says no.
func checkCgroupFlags(s *system) []Finding {
	if !s.needsCgroups() {
		return nil
	}
	lines, found := s.commandLines()
	for _, l := range lines {
		on := boot.InForce(l.words, "cgroup_enable=memory") || boot.InForce(l.words, "cgroup_memory=1")
		off := slices.ContainsFunc([]string{"cgroup_disable=memory", "cgroup_memory=0"}, func(w string) bool { return boot.InForce(l.words, w) })
		switch {
		case off:
			found = append(found, fault(l.path, "take out cgroup_disable=memory, or put cgroup_enable=memory behind it", "%s starts the kernel with the memory cgroup off: %s", l.who, strings.Join(l.words, " ")))
		case l.pi && !on:
			found = append(found, fault(l.path, "put cgroup_enable=memory cgroup_memory=1 at the end of its one line", "%s reads this file, and nothing in it switches the memory cgroup on%s", l.who, s.flagsElsewhere(l.path)))
		}
	}
	return append(found, s.checkGrubDefaults(lines)...)
}

// flagsElsewhere names a file that somebody took for the command line.
func (s *system) flagsElsewhere(not string) string {
	for _, f := range s.fats {
		for _, e := range f.tree.Entries() {
			if p := f.path(e.Path); p != not && strings.HasSuffix(e.Path, ".txt") {
				if text, ok := s.content(e); ok && strings.Contains(text, "cgroup_enable=memory") {
					return "; the flags are in " + p + ", which it does not read"
				}
			}
		}
	}
	for _, p := range []string{"boot/cmdline.txt", "boot/firmware/cmdline.txt"} {
		if text, ok := s.text(p); ok && "/"+p != not && strings.Contains(text, "cgroup_enable=memory") {
			return "; the flags are in /" + p + ", which it does not read"
		}
	}
	return ""
}

// checkGrubDefaults compares the menu with what the next update-grub would write into it.
func (s *system) checkGrubDefaults(lines []commandLine) []Finding {
	always, normal, known, err := boot.GrubDefaults(s.root.Tree, s.src)
	if err != nil || !known {
		return nil
	}
	var found []Finding
	for _, l := range lines {
		if l.who != "GRUB" {
			continue
		}
		for _, w := range append(always, normal...) {
			if word(l.words, w) {
				continue
			}
			f := caution(l.path, "run update-grub, or add it to every linux line", "%s is in /etc/default/grub or its grub.d, but not in the menu that GRUB reads", w)
			if strings.Contains(w, "cgroup") || strings.HasPrefix(w, "swapaccount") {
				f.Severity = Error
			}
			found = append(found, f)
		}
		break // the entries of a menu are alike
	}
	return found
}
