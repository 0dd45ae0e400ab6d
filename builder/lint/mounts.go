package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// checkMounts compares what is mounted with the partitions that there are.
func checkMounts(s *system) []Finding {
	found := s.duplicateLabels()
	text, ok := s.text("etc/fstab")
	if !ok {
		found = append(found, caution("/etc/fstab", "write one with the root file system", "there is none: root stays read-only, and nothing else is mounted"))
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0][0] == '#' {
			continue
		}
		options := append(strings.Split(strings.Join(f[3:min(len(f), 4)], ""), ","), f[2])
		if finding, bad := s.checkDevice("/etc/fstab", f[0], "mounted at "+f[1]); bad && !word(options, "noauto") && !word(options, "nofail") {
			found = append(found, finding)
		}
	}
	lines, _ := s.commandLines() // its findings belong to another rule
	for _, l := range lines {
		for _, w := range l.words {
			if spec, ok := strings.CutPrefix(w, "root="); ok {
				if finding, bad := s.checkDevice(l.path, spec, "the root file system for "+l.who); bad {
					found = append(found, finding)
				}
			}
		}
	}
	return dedupe(append(found, s.checkSearches()...))
}

// checkSwap: a kubelet does not start while there is swap (--fail-swap-on), and kubeadm refuses the machine.
func checkSwap(s *system) []Finding {
	kubelet := s.program("kubelet")
	if kubelet == "" {
		return nil
	}
	var found []Finding
	text, _ := s.text("etc/fstab")
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0][0] == '#' || f[2] != "swap" || len(f) > 3 && word(strings.Split(f[3], ","), "noauto") {
			continue
		}
		found = append(found, fault("/etc/fstab", "remove the line, and mask swap.target (services: mask) so that nothing else turns on swap",
			"it asks for swap on %s, and /%s does not start while there is swap", f[0], kubelet))
	}
	return found
}

// checkSearches reads how GRUB finds the file system with its menu and the kernels: the first
// stage from a grub.cfg on the EFI system partition, the rest from the menu itself.
func (s *system) checkSearches() []Finding {
	texts := map[string]string{}
	for _, f := range s.fats {
		for _, e := range f.tree.Entries() {
			if e.Type == tree.File && path.Base(e.Path) == "grub.cfg" {
				texts[f.path(e.Path)], _ = s.content(e)
			}
		}
	}
	if text, ok := s.text(grubCfg); ok {
		texts["/"+grubCfg] = text
	}
	var found []Finding
	for _, where := range sortedKeys(texts) {
		for line := range strings.Lines(texts[where]) {
			if spec := searched(strings.Fields(line)); spec != "" {
				if finding, bad := s.checkDevice(where, spec, "where GRUB looks for its files"); bad {
					found = append(found, finding)
				}
			}
		}
	}
	return found
}

// searched is what a search command of GRUB looks for: the last word that is no option, or for
// search.fs_uuid the first.
func searched(words []string) string {
	if len(words) < 3 || !strings.HasPrefix(words[0], "search") {
		return ""
	}
	last := strings.Trim(words[len(words)-1], `"'`)
	switch {
	case words[0] == "search.fs_uuid":
		return "UUID=" + words[1]
	case words[0] == "search.fs_label":
		return "LABEL=" + words[1]
	case strings.HasPrefix(last, "-") || strings.Contains(last, "$"):
		return ""
	case word(words, "--fs-uuid") || word(words, "-u"):
		return "UUID=" + last
	case word(words, "--label") || word(words, "-l"):
		return "LABEL=" + last
	}
	return ""
}

// checkDevice looks for the partition that spec names; what is no partition is left alone.
func (s *system) checkDevice(where, spec, use string) (Finding, bool) {
	kind, value, ok := strings.Cut(spec, "=")
	if !ok || !slices.Contains([]string{"LABEL", "UUID", "PARTUUID", "PARTLABEL"}, kind) {
		return Finding{}, false
	}
	if _, ok := s.device(spec); ok {
		return Finding{}, false
	}
	fix := "write the " + kind + " of one of the partitions: " + s.namesOf(kind)
	for _, p := range s.partitions {
		if strings.EqualFold(name(p, kind), strings.Trim(value, `"'`)) {
			fix = "labels count with their case: write " + kind + "=" + name(p, kind)
		}
	}
	return fault(where, fix, "%s is %s, but no partition of the image has that %s", spec, use, kind), true
}

func name(p image.Partition, kind string) string {
	switch kind {
	case "LABEL":
		return p.Label
	case "UUID":
		return p.UUID
	case "PARTUUID":
		return p.PartUUID
	}
	return p.Name
}

func (s *system) namesOf(kind string) string {
	var names []string
	for _, p := range s.partitions {
		if n := name(p, kind); n != "" {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return "(none has one)"
	}
	return strings.Join(names, ", ")
}

func (s *system) duplicateLabels() []Finding {
	var found []Finding
	seen := map[string]bool{}
	for _, p := range s.partitions {
		if p.Label != "" && seen[p.Label] {
			found = append(found, fault("partition table", "give every file system its own label", "two file systems have the label %s: which one is mounted is chance", p.Label))
		}
		seen[p.Label] = true
	}
	return found
}

func dedupe(found []Finding) []Finding {
	var out []Finding
	for _, f := range found {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

const mebibyte = 1 << 20

// Room below which a file system is as good as full, and below which a person should know.
const (
	rootFull, rootLow     = 16 * mebibyte, 128 * mebibyte
	inodesFull, inodesLow = 512, 8192
	fatFull               = 1 * mebibyte
)

// checkFreeSpace looks at every file system. A root that the first boot grows to the whole disk
// needs no more room than that boot itself.
func checkFreeSpace(s *system) []Finding {
	var found []Finding
	for _, p := range s.partitions {
		u, ok := s.usage[p.Number]
		if !ok {
			continue
		}
		where := "/" + s.mountedAt(p.Number)
		if where == "/." {
			where = "/"
		}
		if u.State != "clean" {
			found = append(found, fault(where, "run e2fsck on partition "+p.Label, "the file system says of itself that it is: %s", u.State))
		}
		if p.FS == "vfat" {
			found = append(found, s.checkFATSpace(p, u, where)...)
			continue
		}
		found = append(found, checkRoom(where, "raise disk.size", "MiB", u.Free/mebibyte, rootFull/mebibyte, rootLow/mebibyte)...)
		found = append(found, checkRoom(where, "make the file system with more inodes", "inodes", u.FreeInodes, inodesFull, inodesLow)...)
	}
	return found
}

func checkRoom(where, fix, unit string, free, full, low int64) []Finding {
	switch {
	case free < full:
		return []Finding{fault(where, fix, "%d %s are free: the system cannot even start without running full (at least %d)", free, unit, full)}
	case free < low:
		return []Finding{caution(where, fix, "only %d %s are free (less than %d)", free, unit, low)}
	}
	return nil
}

// checkFATSpace: a kernel upgrade writes the new kernel and initrd beside the old ones.
func (s *system) checkFATSpace(p image.Partition, u image.Usage, where string) []Finding {
	if u.Free < fatFull {
		return []Finding{fault(where, "make the boot partition larger", "%d KiB are free on the boot partition", u.Free>>10)}
	}
	var largest int64
	for _, f := range s.firmware() {
		if f.partition.Number == p.Number {
			for _, n := range []string{"vmlinuz", "kernel8.img", "initrd.img"} {
				if e, ok := f.tree.Lookup(n); ok {
					largest += e.Content.Size
				}
			}
		}
	}
	if u.Free < largest {
		return []Finding{caution(where, "make the boot partition larger", "%d MiB are free, but kernel and initrd take %d: an upgrade of the kernel will fail", u.Free>>20, largest>>20)}
	}
	return nil
}
