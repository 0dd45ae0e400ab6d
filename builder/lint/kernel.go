package lint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// start is a kernel that the image boots, with what goes with it.
type start struct {
	who            string // that starts it, for people
	kernel, initrd tree.Entry
	initrdName     string // for people; empty when there is none
	kernelName     string
}

// checkKernels looks at everything that the firmware or GRUB would start.
func checkKernels(s *system) []Finding {
	var found []Finding
	starts := map[string]start{} // by kernel and initrd: one kernel may be in many menu entries
	order := []string{}
	add := func(st start) {
		key := st.kernelName + "\n" + st.initrdName
		if _, ok := starts[key]; !ok {
			order = append(order, key)
			starts[key] = st
		}
	}
	for _, f := range s.firmware() {
		found = append(found, s.firmwareStarts(f, add)...)
	}
	found = append(found, s.grubStarts(add)...)
	for _, key := range order {
		found = append(found, s.checkStart(starts[key])...)
	}
	return found
}

// firmware are the FATs that a Raspberry Pi would boot from.
func (s *system) firmware() []fatTree {
	var out []fatTree
	for _, f := range s.fats {
		if _, ok := f.tree.Lookup("config.txt"); ok {
			out = append(out, f)
		}
	}
	return out
}

func (s *system) firmwareStarts(f fatTree, add func(start)) []Finding {
	var found []Finding
	started := 0
	var last error
	for _, board := range []boot.Board{boot.RaspberryPi3, boot.RaspberryPi4} {
		eff, err := boot.Evaluate(f.tree, s.src, board)
		if err != nil {
			if last = err; eff.Kernel != "" {
				found = append(found, fault(f.path("config.txt"), "add the missing file, or correct config.txt", "a %s finds its kernel %s, but: %v", board, eff.Kernel, err))
			}
			continue
		}
		started++
		found = append(found, s.checkDeviceTree(f, board, eff)...)
		st := start{who: string(board), kernelName: f.path(eff.Kernel)}
		st.kernel, _ = f.tree.Lookup(eff.Kernel)
		if eff.Initrd != "" {
			st.initrd, _ = f.tree.Lookup(eff.Initrd)
			st.initrdName = f.path(eff.Initrd)
		}
		add(st)
	}
	if started == 0 && len(found) == 0 {
		found = append(found, fault(f.path("config.txt"), "add the kernel that config.txt names", "neither a Raspberry Pi 3 nor a 4 finds a kernel: %v", last))
	}
	return found
}

// dtbMagic begins a flattened device tree (devicetree.org specification, section 5.2).
const dtbMagic = 0xd00dfeed

func (s *system) checkDeviceTree(f fatTree, board boot.Board, eff boot.Effective) []Finding {
	const fix = "copy the device trees of the kernel that boots into the boot partition"
	if eff.DTB == "" {
		return []Finding{fault(f.path("config.txt"), fix, "there is no device tree for %s", board)}
	}
	e, _ := f.tree.Lookup(eff.DTB)
	head := s.head(e, 4)
	if len(head) < 4 || binary.BigEndian.Uint32(head) != dtbMagic {
		return []Finding{fault(f.path(eff.DTB), fix, "it is not a device tree")}
	}
	kernel, _ := f.tree.Lookup(eff.Kernel)
	version := s.kernelVersion(kernel)
	for _, dir := range []string{"usr/lib/linux-image-" + version + "/broadcom", "usr/lib/firmware/" + version + "/device-tree/broadcom", "usr/lib/firmware/" + version + "/device-tree", "lib/firmware/" + version + "/device-tree"} {
		own, ok := s.file(dir + "/" + path.Base(eff.DTB))
		if !ok || version == "" {
			continue
		}
		if same, err := tree.Equal(s.src, own.Content, e.Content); err == nil && !same {
			return []Finding{fault(f.path(eff.DTB), fix, "it differs from /%s, which belongs to the kernel that boots (%s)", own.Path, version)}
		}
		return nil
	}
	return nil
}

const grubCfg = "boot/grub/grub.cfg"

func (s *system) grubStarts(add func(start)) []Finding {
	e, ok := s.file(grubCfg)
	if !ok {
		return nil
	}
	entries, err := boot.GrubEntries(s.src, e)
	if err != nil {
		return []Finding{fault("/"+grubCfg, "run update-grub", "GRUB would start nothing: %v", err)}
	}
	var found []Finding
	for _, entry := range entries {
		st := start{who: "GRUB", kernelName: entry.Kernel, initrdName: entry.Initrd}
		if st.kernel, ok = s.grubFile(entry.Kernel); !ok {
			found = append(found, fault("/"+grubCfg, "install the kernel, or run update-grub", "it starts the kernel %s, which is not there", entry.Kernel))
			continue
		}
		if st.initrd, ok = s.grubFile(entry.Initrd); entry.Initrd != "" && !ok {
			found = append(found, fault("/"+grubCfg, "make the initrd, or run update-grub", "it loads the initrd %s, which is not there", entry.Initrd))
			st.initrdName = ""
		}
		add(st)
	}
	return found
}

// grubFile finds a path of GRUB, whose root may be a boot partition of its own.
func (s *system) grubFile(name string) (tree.Entry, bool) {
	if i := strings.IndexByte(name, ')'); i >= 0 {
		name = name[i+1:] // (hd0,1)/path, $root)/path
	}
	if name == "" {
		return tree.Entry{}, false
	}
	if e, ok := s.file(name); ok {
		return e, true
	}
	return s.file("boot/" + name)
}

func (s *system) checkStart(st start) []Finding {
	var found []Finding
	head := s.head(st.kernel, kernelHead)
	if arch := kernelArch(head); arch != "" && arch != s.arch && s.arch != "" {
		found = append(found, fault(st.kernelName, "install the kernel for "+s.arch, "the kernel that %s starts is for %s, the image is for %s", st.who, arch, s.arch))
	}
	version := s.kernelVersion(st.kernel)
	if version == "" {
		return append(found, caution(st.kernelName, "look whether it is a kernel at all", "its version could not be read, so that nothing is known about what belongs to it"))
	}
	modules, err := image.Resolve(s.root.Tree, "lib/modules/"+version, true)
	switch {
	case err != nil && s.modular():
		found = append(found, fault("/lib/modules", "install the modules of "+version+", or copy the kernel of the modules that are there", "the kernel %s is version %s, for which there are no modules", st.kernelName, version))
	case err == nil && !s.exists(modules.Path+"/modules.dep"):
		found = append(found, fault("/lib/modules/"+version, "run depmod "+version, "there is no modules.dep, so that no module can be loaded by name"))
	}
	if st.initrdName == "" {
		return found
	}
	inside, err := s.initrdVersion(st.initrd)
	switch {
	case errors.Is(err, errCompression):
		found = append(found, caution(st.initrdName, "compress it with gzip, xz, zstd or lz4", "nothing is known about the modules in the initrd: %v", err))
	case err != nil:
		found = append(found, fault(st.initrdName, "make the initrd again", "the initrd cannot be read: %v", err))
	case inside != "" && inside != version:
		found = append(found, fault(st.initrdName, "make the initrd for "+version, "its modules are for the kernel %s, but it is loaded with %s (%s)", inside, st.kernelName, version))
	}
	return found
}

// modular reports whether the image has modules, for any kernel.
func (s *system) modular() bool {
	return len(s.list("lib/modules")) > 0 || len(boot.Kernels(s.root.Tree)) > 0
}

const kernelHead = 1024

// kernelArch tells by the magic numbers of Documentation/arch/arm64/booting.rst and x86/boot.rst.
func kernelArch(head []byte) string {
	at := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	switch {
	case at(0x202, "HdrS"):
		return "amd64"
	case at(56, "ARM\x64"):
		return "arm64"
	}
	return ""
}

// maxKernel bounds what is read of a kernel, decompressed.
const maxKernel = 256 << 20

// kernelVersion is the release of a kernel, as in /lib/modules; empty when it is not to be found.
func (s *system) kernelVersion(e tree.Entry) string {
	head := s.head(e, 1<<16)
	if kernelArch(head) == "amd64" {
		return bzImageVersion(head)
	}
	r, err := s.src.Open(e.Content)
	if err != nil {
		s.fail(e.Path, err)
		return ""
	}
	if bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		if r, err = deb.Decompress(".gz", r); err != nil {
			return ""
		}
	}
	return bannerVersion(io.LimitReader(r, maxKernel))
}

// bzImageVersion follows the pointer at 0x20e (Documentation/arch/x86/boot.rst).
func bzImageVersion(head []byte) string {
	if len(head) < 0x210 {
		return ""
	}
	at := int(binary.LittleEndian.Uint16(head[0x20e:])) + 0x200
	if at == 0x200 || at >= len(head) {
		return ""
	}
	text, _, _ := bytes.Cut(head[at:], []byte{0})
	version, _, _ := strings.Cut(string(text), " ")
	return version
}

// bannerVersion looks for the kernel's banner: "Linux version 5.4.0-1052-raspi (…".
func bannerVersion(r io.Reader) string {
	banner := []byte("Linux version ")
	const longest = 64 // more than a release and the banner's beginning
	buf, kept := make([]byte, 1<<18), 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		have := buf[:kept+n]
		for at := 0; ; {
			i := bytes.Index(have[at:], banner)
			if i < 0 || at+i+len(banner)+longest > len(have) && err == nil {
				break
			}
			at += i + len(banner)
			version, _, ok := bytes.Cut(have[at:min(at+longest, len(have))], []byte(" ("))
			if ok && len(version) > 0 && version[0] >= '0' && version[0] <= '9' {
				return string(version)
			}
		}
		if err != nil {
			return ""
		}
		kept = copy(buf, have[len(have)-longest-len(banner):])
	}
}
