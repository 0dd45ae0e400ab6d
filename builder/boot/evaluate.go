package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Board is a machine that boots from a Raspberry Pi's FAT, by QEMU's name.
type Board string

const (
	RaspberryPi3 Board = "raspi3b" // Raspberry Pi 3 Model B
	RaspberryPi4 Board = "raspi4b" // Raspberry Pi 4 Model B
	// Virt is QEMU's generic board. It has no firmware that reads the FAT; config.txt is evaluated
	// for it as on a Raspberry Pi 4.
	Virt Board = "virt"
)

// Effective is what the firmware starts. Paths are as in the tree; empty when there is none.
type Effective struct {
	Cmdline     string // one line, as written; the firmware adds its own parameters in front
	CmdlineFile string
	Kernel      string
	Initrd      string
	DTB         string
}

// Evaluate answers what the VideoCore firmware of board would start from the FAT: it reads
// config.txt with its sections and includes, where the last assignment that applies wins
// (raspberrypi.com/documentation/computers/config_txt.html). Filters that depend on the single
// machine ([0x…] serial numbers, [EDID=…], [gpio…=…]) never apply. When the kernel is a u-boot
// binary, the kernel and initrd are those that Ubuntu's boot.scr loads: vmlinuz and initrd.img.
func Evaluate(fat tree.Tree, src *tree.Reader, board Board) (Effective, error) {
	sections, ok := boardSections()[board]
	if !ok {
		return Effective{}, fmt.Errorf("evaluating config.txt for board %q: known are raspi3b, raspi4b and virt", board)
	}
	c, err := readConfig(fat, src, sections)
	if err != nil {
		return Effective{}, err
	}
	return c.effective(board)
}

// readConfig reads config.txt as a model does to which these sections apply.
func readConfig(fat tree.Tree, src *tree.Reader, sections []string) (*config, error) {
	c := &config{fat: fat, src: src, sections: sections, active: true, values: map[string]string{}}
	return c, c.file(configName, 0)
}

const configName = "config.txt"

func boardSections() map[Board][]string {
	return map[Board][]string{
		RaspberryPi3: {"pi3"},
		RaspberryPi4: {"pi4"},
		Virt:         {"pi4"},
	}
}

func boardTrees(b Board, upstream bool) []string {
	switch {
	case b == Virt:
		return nil // QEMU makes its device tree
	case b == RaspberryPi4:
		return []string{"bcm2711-rpi-4-b.dtb"}
	case upstream:
		return []string{"bcm2837-rpi-3-b.dtb", "bcm2710-rpi-3-b.dtb"}
	}
	return []string{"bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"}
}

// config is config.txt while it is read. A model section and every other filter hold until the
// next of their kind or [all].
type config struct {
	fat      tree.Tree
	src      *tree.Reader
	sections []string
	active   bool
	foreign  bool // a filter on something other than the model
	files    int  // read so far
	values   map[string]string
	applied  []string // the lines that count, in order
}

// maxInclude is the depth to which include is followed, and maxFiles the number of files in all:
// real cards have two, and files that include each other many times must not take for ever.
const (
	maxInclude = 8
	maxFiles   = 64
)

func (c *config) file(name string, depth int) error {
	if depth > maxInclude {
		return fmt.Errorf("evaluating config.txt: include %s is nested more than %d deep", name, maxInclude)
	}
	if c.files++; c.files > maxFiles {
		return fmt.Errorf("evaluating config.txt: more than %d files are included, the last one is %s", maxFiles, name)
	}
	e, ok := lookupFold(c.fat, name)
	if !ok {
		if depth > 0 {
			return nil // the firmware skips an include that is missing
		}
		return &MissingFileError{Path: name}
	}
	text, err := readText(c.src, e)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if err := c.line(strings.TrimSpace(line), depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *config) line(line string, depth int) error {
	switch {
	case line == "" || line[0] == '#':
		return nil
	case line[0] == '[':
		c.section(strings.ToLower(strings.Trim(line, "[]")))
		return nil
	case !c.active || c.foreign:
		return nil
	}
	c.applied = append(c.applied, line)
	if name, ok := strings.CutPrefix(line, "include "); ok {
		return c.file(strings.TrimSpace(name), depth+1)
	}
	if args, ok := strings.CutPrefix(line, "initramfs "); ok {
		c.values["initramfs"] = firstField(args)
		return nil
	}
	if key, value, ok := strings.Cut(line, "="); ok {
		c.values[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return nil
}

func (c *config) section(name string) {
	switch {
	case name == "all":
		c.active, c.foreign = true, false
	case name == "none":
		c.active = false
	case strings.HasPrefix(name, "pi"), strings.HasPrefix(name, "cm"):
		c.active = slices.Contains(c.sections, name)
	default:
		c.foreign = true
	}
}

// kernel returns the file that the firmware starts, and the prefix of all that belongs to it.
func (c *config) kernel() (name, prefix string, err error) {
	kernel := c.value("kernel", "kernel8.img")
	prefix = c.values["os_prefix"]
	if _, ok := lookupFold(c.fat, prefix+kernel); !ok {
		prefix = "" // the firmware ignores a prefix under which there is no kernel
	}
	name, err = c.need(prefix + kernel)
	return name, prefix, err
}

func (c *config) effective(board Board) (Effective, error) {
	var eff Effective
	kernel, prefix, err := c.kernel()
	if err != nil {
		return eff, err
	}
	eff.Kernel = kernel
	if initrd := c.values["initramfs"]; initrd != "" {
		if eff.Initrd, err = c.need(prefix + initrd); err != nil {
			return eff, err
		}
	}
	if err := c.chainload(&eff, strings.ToLower(path.Base(kernel))); err != nil {
		return eff, err
	}
	eff.DTB = c.deviceTree(board, prefix)
	return eff, c.cmdline(&eff, prefix)
}

// chainload replaces u-boot by what Ubuntu's boot.scr loads.
func (c *config) chainload(eff *Effective, kernel string) (err error) {
	if !strings.HasPrefix(kernel, "uboot") && !strings.HasPrefix(kernel, "u-boot") {
		return nil
	}
	if eff.Kernel, err = c.need(kernelName); err != nil {
		return err
	}
	eff.Initrd, err = c.need(initrdName)
	return err
}

func (c *config) deviceTree(board Board, prefix string) string {
	candidates := boardTrees(board, c.values["upstream_kernel"] == "1")
	if name := c.values["device_tree"]; name != "" && board != Virt {
		candidates = append([]string{name}, candidates...)
	}
	for _, name := range candidates {
		if e, ok := lookupFold(c.fat, prefix+name); ok {
			return e.Path
		}
	}
	return ""
}

func (c *config) cmdline(eff *Effective, prefix string) error {
	name, err := c.cmdlineFile(prefix)
	if err != nil {
		return err
	}
	e, _ := c.fat.Lookup(name)
	text, err := readText(c.src, e)
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(text, "\n")
	eff.CmdlineFile, eff.Cmdline = name, strings.TrimSpace(first)
	return nil
}

func (c *config) cmdlineFile(prefix string) (string, error) {
	return c.need(prefix + c.value("cmdline", "cmdline.txt"))
}

func (c *config) value(key, otherwise string) string {
	if v := c.values[key]; v != "" {
		return v
	}
	return otherwise
}

func (c *config) need(name string) (string, error) {
	e, ok := lookupFold(c.fat, name)
	if !ok {
		return "", &MissingFileError{Path: name}
	}
	return e.Path, nil
}

// lookupFold finds a file as FAT does: without regard to case.
func lookupFold(t tree.Tree, name string) (tree.Entry, bool) {
	name = strings.TrimPrefix(name, "/")
	if e, ok := t.Lookup(name); ok {
		return e, e.Type == tree.File
	}
	for i := range t.Len() {
		if e := t.At(i); e.Type == tree.File && strings.EqualFold(e.Path, name) {
			return e, true
		}
	}
	return tree.Entry{}, false
}

func firstField(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}
