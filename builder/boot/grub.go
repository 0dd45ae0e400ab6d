package boot

import (
	"fmt"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

const (
	shimFile = "usr/lib/shim/shimx64.efi.signed"
	mokFile  = "usr/lib/shim/mmx64.efi.signed"
	grubFile = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
)

// GrubEFI makes the boot files of an amd64 UEFI machine, with or without Secure Boot. esp holds the
// EFI system partition: Debian's signed shim under the removable-media name and under EFI/debian,
// the signed GRUB next to both, and the stub that sends GRUB to the root file system. There is no
// fallback loader (fbx64.efi): it would write boot entries and reset the machine on first boot.
// rootFiles are to be laid over the root file system: the generated /boot/grub/grub.cfg, the
// settings that keep a later update-grub equivalent, the initrd of cfg, and directories for them.
// The signed GRUB has every module inside that grub.cfg uses.
func GrubEFI(root tree.Tree, src *tree.Reader, cfg Config) (esp tree.Tree, rootFiles []tree.Entry, err error) {
	if _, err := newestKernel(root, src, "amd64"); err != nil {
		return tree.Tree{}, nil, err
	}
	if err := checkParameters(cfg.Cmdline); err != nil {
		return tree.Tree{}, nil, err
	}
	if esp, err = grubESP(root, cfg); err != nil {
		return tree.Tree{}, nil, err
	}
	rootFiles, err = grubRoot(root, cfg)
	return esp, rootFiles, err
}

func grubESP(root tree.Tree, cfg Config) (tree.Tree, error) {
	files := newSet(cfg.Time)
	copies := []struct{ to, from, pkg string }{
		{"EFI/BOOT/BOOTX64.EFI", shimFile, "shim-signed"},
		{"EFI/BOOT/grubx64.efi", grubFile, "grub-efi-amd64-signed"},
		{"EFI/BOOT/mmx64.efi", mokFile, "shim-helpers-amd64-signed"},
		{"EFI/debian/shimx64.efi", shimFile, "shim-signed"},
		{"EFI/debian/grubx64.efi", grubFile, "grub-efi-amd64-signed"},
		{"EFI/debian/mmx64.efi", mokFile, "shim-helpers-amd64-signed"},
	}
	for _, c := range copies {
		e, ok := root.Lookup(c.from)
		if !ok || e.Type != tree.File {
			return tree.Tree{}, &MissingFileError{Path: c.from, Package: c.pkg}
		}
		files.put(c.to, 0o644, e.Content)
	}
	stub := cfg.search() + "set prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
	files.text("EFI/debian/grub.cfg", stub) // where Debian's signed GRUB looks
	files.text("EFI/BOOT/grub.cfg", stub)
	return files.tree()
}

func grubRoot(root tree.Tree, cfg Config) ([]tree.Entry, error) {
	files := newSet(cfg.Time)
	versions := Kernels(root)
	if len(cfg.Initrd) > 0 {
		files.put("boot/initrd.img-"+versions[0], 0o644, tree.InlineContent(cfg.Initrd))
	}
	hasInitrd := func(version string) bool {
		_, inRoot := root.Lookup("boot/initrd.img-" + version)
		_, made := files.entries["boot/initrd.img-"+version]
		return inRoot || made
	}
	files.text("boot/grub/grub.cfg", cfg.grubCfg(versions, hasInitrd))
	files.text("etc/default/grub.d/60-edgebake.cfg", cfg.grubDefaults())
	var kept []tree.Entry
	for _, e := range files.sorted() {
		if _, ok := root.Lookup(e.Path); ok && e.Type == tree.Dir {
			continue // the root tree's own directory stays as it is
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// search is the GRUB command that finds the root file system.
func (c Config) search() string {
	if c.RootUUID != "" {
		return "search --no-floppy --fs-uuid --set=root " + c.RootUUID + "\n"
	}
	return "search --no-floppy --label --set=root " + quote(c.rootLabel()) + "\n"
}

func (c Config) rootParameter() string {
	if c.RootUUID != "" {
		return "root=UUID=" + c.RootUUID
	}
	return "root=LABEL=" + c.rootLabel()
}

func (c Config) title() string {
	if c.Title == "" {
		return "Debian GNU/Linux"
	}
	return c.Title
}

func (c Config) grubCfg(versions []string, hasInitrd func(string) bool) string {
	var b strings.Builder
	b.WriteString(`# Written by edgebake. update-grub replaces this file, with the settings of
# /etc/default/grub.d/60-edgebake.cfg.
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=0
`)
	b.WriteString(c.search())
	for i, v := range versions {
		title := c.title()
		if i > 0 {
			title += ", with Linux " + v
		}
		fmt.Fprintf(&b, "\nmenuentry %s {\n", quote(title))
		fmt.Fprintf(&b, "  linux /boot/vmlinuz-%s %s\n", v, c.grubCmdline())
		if hasInitrd(v) {
			fmt.Fprintf(&b, "  initrd /boot/initrd.img-%s\n", v)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func (c Config) grubCmdline() string {
	words := []string{quote(c.rootParameter()), "ro"}
	for _, p := range c.Cmdline {
		words = append(words, quote(p))
	}
	return strings.Join(words, " ")
}

// grubDefaults is sourced by grub-mkconfig after /etc/default/grub, so it has the last word. The
// parameters are quoted twice: the shell takes off one layer, GRUB the other.
func (c Config) grubDefaults() string {
	var params []string
	for _, p := range c.Cmdline {
		params = append(params, quote(p))
	}
	return "# Written by edgebake: keeps the image's way of booting when update-grub runs.\n" +
		"GRUB_TIMEOUT=0\n" +
		"GRUB_DISTRIBUTOR=" + quote(strings.TrimSuffix(c.title(), " GNU/Linux")) + "\n" +
		"GRUB_CMDLINE_LINUX=\"\"\n" +
		"GRUB_CMDLINE_LINUX_DEFAULT=" + quote(strings.Join(params, " ")) + "\n" +
		"GRUB_TERMINAL=\"console serial\"\n" +
		"GRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n" +
		"GRUB_DISABLE_OS_PROBER=true\n"
}

const plainCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%"

// quote quotes a word for sh and for GRUB's script language alike: single quotes keep everything but
// themselves.
func quote(s string) string {
	if s != "" && strings.Trim(s, plainCharacters) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// GrubEntry is what one menu entry of a grub.cfg starts. Paths are as GRUB sees them, in the file
// system with /boot.
type GrubEntry struct {
	Kernel, Initrd string
	Parameters     []string // without quotes; variables stay as they are written
	Recovery       bool
}

// GrubEntries returns what the linux commands of a grub.cfg start, in its order, with the initrd
// command that follows each.
func GrubEntries(src *tree.Reader, grubCfg tree.Entry) ([]GrubEntry, error) {
	text, err := readLimited(src, grubCfg, maxGrubCfg)
	if err != nil {
		return nil, err
	}
	var entries []GrubEntry
	for line := range strings.Lines(text) {
		words := grubWords(line)
		switch {
		case startsLinux(line):
			entries = append(entries, GrubEntry{Kernel: words[1], Parameters: words[2:], Recovery: isRecovery(words[2:])})
		case len(words) > 1 && strings.HasPrefix(words[0], "initrd") && len(entries) > 0 && entries[len(entries)-1].Initrd == "":
			entries[len(entries)-1].Initrd = words[len(words)-1] // the ones before it are microcode
		}
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("reading %s: it has no linux command", grubCfg.Path)
	}
	return entries, nil
}

// GrubParameters returns the kernel parameters of the first entry of a grub.cfg.
func GrubParameters(src *tree.Reader, grubCfg tree.Entry) ([]string, error) {
	entries, err := GrubEntries(src, grubCfg)
	if err != nil {
		return nil, err
	}
	return entries[0].Parameters, nil
}
