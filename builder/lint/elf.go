package lint

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/tree"
)

// machine is what an ELF header says about who can run it (System V ABI, e_machine).
type machine struct {
	code  uint16
	bits  byte // EI_CLASS: 1 for 32, 2 for 64
	order byte // EI_DATA: 1 for little endian
}

func machines() map[string]machine {
	return map[string]machine{
		"amd64": {62, 2, 1}, "arm64": {183, 2, 1}, "i386": {3, 1, 1}, "armhf": {40, 1, 1},
		"riscv64": {243, 2, 1}, "ppc64el": {21, 2, 1}, "s390x": {22, 2, 2},
	}
}

// bpf is code for the kernel's own machine, which is the same on all architectures.
const bpf = 247

// strangersAllowed are directories whose programs are for other processors, or for nobody to run.
func strangersAllowed() map[string]string {
	return map[string]string{
		"usr/lib/firmware":             "loaded into devices",
		"lib/firmware":                 "loaded into devices",
		"usr/lib/raspi-firmware":       "runs on the VideoCore of a Raspberry Pi",
		"usr/lib/linux-firmware-raspi": "runs on the VideoCore of a Raspberry Pi", "usr/lib/linux-firmware-raspi2": "runs on the VideoCore of a Raspberry Pi",
		"usr/lib/grub": "boot code", "usr/lib/syslinux": "boot code", "usr/lib/u-boot": "boot code", "usr/lib/shim": "boot code",
		"boot/grub": "boot code", "usr/share": "data, such as firmware for virtual machines", "usr/lib/debug": "debugging symbols",
	}
}

// checkELF reads the header of everything that looks like a program, a library or a module.
func checkELF(s *system) []Finding {
	native, ok := machines()[s.arch]
	if !ok {
		return []Finding{caution("/"+statusFile, "say which architecture the image is for", "the image's architecture %q is not known, so nothing can be said about its programs", s.arch)}
	}
	accepted := map[machine]bool{native: true}
	if text, ok := s.text("var/lib/dpkg/arch"); ok {
		for _, a := range strings.Fields(text) {
			accepted[machines()[a]] = true
		}
	}
	allowed := strangersAllowed()
	for _, f := range s.fats {
		allowed[f.dir] = "firmware and boot code"
	}
	delete(allowed, "") // a FAT that is not mounted
	for _, e := range s.list("lib/modules") {
		allowed[e.Path+"/vdso"] = "for debuggers of 32-bit programs"
	}
	programs := slices.Collect(s.programs(allowed))
	var found []Finding
	for i, head := range s.heads(programs, elfHead) {
		m, ok := elfMachine(head)
		if ok && m.code != bpf && !accepted[m] {
			found = append(found, fault("/"+programs[i].Path, "take the file for "+s.arch, "it is a program for %s in an image for %s", m, s.arch))
		}
	}
	return found
}

// readers is how many files are read at once: thousands of small reads wait for the disk.
const readers = 16

// heads returns the first n bytes of each file.
func (s *system) heads(files []tree.Entry, n int64) [][]byte {
	out := make([][]byte, len(files))
	var group errgroup.Group
	group.SetLimit(readers)
	for i, e := range files {
		group.Go(func() (err error) {
			if out[i], err = s.readHead(e, n); err != nil {
				err = fmt.Errorf("reading /%s: %w", e.Path, err)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil && s.err == nil {
		s.err = err
	}
	return out
}

const elfHead = 20

// programs yields the files that an ELF header is to be expected in.
func (s *system) programs(skip map[string]string) func(func(tree.Entry) bool) {
	return func(yield func(tree.Entry) bool) { s.walkPrograms(".", skip, yield) }
}

func (s *system) walkPrograms(dir string, skip map[string]string, yield func(tree.Entry) bool) bool {
	for e := range s.in(dir) {
		if e.Type == tree.Dir {
			if _, no := skip[e.Path]; !no && !s.walkPrograms(e.Path, skip, yield) {
				return false
			}
			continue
		}
		name := path.Base(e.Path)
		program := e.Mode&0o111 != 0 || strings.Contains(name, ".so") || strings.HasSuffix(name, ".ko")
		if e.Type == tree.File && program && e.Content.Size >= elfHead && !yield(e) {
			return false
		}
	}
	return true
}

func elfMachine(head []byte) (machine, bool) {
	if len(head) < elfHead || string(head[:4]) != "\x7fELF" {
		return machine{}, false
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 {
		order = binary.BigEndian
	}
	return machine{order.Uint16(head[18:]), head[4], head[5]}, true
}

func (m machine) String() string {
	for arch, known := range machines() {
		if known == m {
			return arch
		}
	}
	return fmt.Sprintf("machine %d (%d bit)", m.code, 32*int(m.bits))
}
