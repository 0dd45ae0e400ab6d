package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// model is a Raspberry Pi as config.txt tells them apart.
type model struct {
	name     string
	sections []string
}

// models are those that can run a 64-bit system, with the sections that apply to each
// (raspberrypi.com/documentation/computers/config_txt.html, "Model filters").
func models() []model {
	return []model{
		{"Raspberry Pi 3", []string{"pi3"}},
		{"Raspberry Pi 3+", []string{"pi3", "pi3+"}},
		{"Raspberry Pi 4", []string{"pi4"}},
		{"Raspberry Pi 400", []string{"pi4", "pi400"}},
		{"Compute Module 4", []string{"pi4", "cm4"}},
		{"Compute Module 4S", []string{"pi4", "cm4s"}},
		{"Raspberry Pi 2", []string{"pi2"}},
		{"Raspberry Pi Zero 2 W", []string{"pi0", "pi0w", "pi02"}},
		{"Raspberry Pi 5", []string{"pi5"}},
	}
}

// EditRaspberryPi adds want to the files of a FAT that a Raspberry Pi boots from, and returns the
// entries of fat that change, or that are new. The parameters go to the end of the one line of the
// command line file, of every such file when the models for which there is a kernel read different
// ones. The lines for config.txt go to the end of usercfg.txt when config.txt includes it for all
// models, as Ubuntu's does, otherwise to the end of config.txt, under [all]. All other bytes stay.
// What is in force already is not added again: editing an edited FAT changes nothing. A command
// line file that is not there is a MissingFileError.
func EditRaspberryPi(fat tree.Tree, src *tree.Reader, want Edit) (changed []tree.Entry, err error) {
	if err := checkParameters(want.Cmdline); err != nil {
		return nil, err
	}
	if err := checkLines(want.ConfigTxt); err != nil {
		return nil, err
	}
	lines, configs, err := commandLines(fat, src)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		e, _ := fat.Lookup(line.File)
		text, err := readText(src, e)
		if err != nil {
			return nil, err
		}
		if edited := editLine(text, want.Cmdline); edited != text {
			changed = append(changed, replaced(e, edited, want.Time))
		}
	}
	tweaked, err := editConfig(fat, src, configs, want)
	return append(changed, tweaked...), err
}

// CommandLine is a file of a FAT with kernel parameters, and who reads it.
type CommandLine struct {
	File   string
	Models []string // for people: Raspberry Pi 4
	Words  []string // of its first line, without quotes
}

// CommandLines returns the command line files of all models of the Raspberry Pi that find a kernel
// on the FAT.
func CommandLines(fat tree.Tree, src *tree.Reader) ([]CommandLine, error) {
	lines, _, err := commandLines(fat, src)
	if err != nil {
		return nil, err
	}
	for i, l := range lines {
		e, _ := fat.Lookup(l.File)
		text, err := readText(src, e)
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(text, "\n")
		lines[i].Words = kernelWords(first)
	}
	return lines, nil
}

// commandLines also returns what config.txt says to each model.
func commandLines(fat tree.Tree, src *tree.Reader) (lines []CommandLine, configs []*config, err error) {
	var noKernel error
	for _, m := range models() {
		c, err := readConfig(fat, src, m.sections)
		if err != nil {
			return nil, nil, err
		}
		_, prefix, err := c.kernel()
		if err != nil {
			if noKernel == nil {
				noKernel = fmt.Errorf("finding what a %s boots from this FAT: %w", m.name, err)
			}
			continue
		}
		name, err := c.cmdlineFile(prefix)
		if err != nil {
			return nil, nil, fmt.Errorf("finding the kernel command line of a %s: config.txt leads to a file that the FAT does not have: %w", m.name, err)
		}
		configs = append(configs, c)
		lines = addModel(lines, name, m.name)
	}
	if len(lines) == 0 {
		return nil, nil, noKernel
	}
	return lines, configs, nil
}

func addModel(lines []CommandLine, file, model string) []CommandLine {
	for i := range lines {
		if lines[i].File == file {
			lines[i].Models = append(lines[i].Models, model)
			return lines
		}
	}
	return append(lines, CommandLine{File: file, Models: []string{model}})
}

// editLine adds words to the first line of text, the only one that the firmware passes on.
func editLine(text string, want []string) string {
	line, rest := text, ""
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		line, rest = text[:i+1], text[i+1:]
	}
	return appendWords(line, missing(kernelWords(line), want)) + rest
}

// editConfig adds the lines of config.txt that are not in force for every model.
func editConfig(fat tree.Tree, src *tree.Reader, configs []*config, want Edit) ([]tree.Entry, error) {
	var lines []string
	for i, l := range want.ConfigTxt {
		l = strings.TrimSpace(l)
		known := slices.Contains(lines, l) || takenBack(l, want.ConfigTxt[i+1:])
		if !known && slices.ContainsFunc(configs, func(c *config) bool { return !applies(c.applied, l) }) {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return nil, nil
	}
	e, text, err := tweaksFile(fat, src)
	if err != nil {
		return nil, err
	}
	return []tree.Entry{replaced(e, appendLines(text, lines), want.Time)}, nil
}

// applies reports whether line counts among the lines that a model takes from config.txt.
func applies(applied []string, line string) bool {
	for i := len(applied) - 1; i >= 0; i-- {
		if applied[i] == line {
			return !takenBack(line, applied[i+1:])
		}
	}
	return false
}

// takenBack reports whether a later line gives the same setting another value. The settings that
// add up cannot be taken back.
func takenBack(line string, later []string) bool {
	key, value, ok := strings.Cut(line, "=")
	if !ok || slices.Contains([]string{"dtparam", "dtoverlay", "gpio"}, key) {
		return false
	}
	return slices.ContainsFunc(later, func(l string) bool {
		k, v, ok := strings.Cut(strings.TrimSpace(l), "=")
		return ok && strings.TrimSpace(k) == strings.TrimSpace(key) && strings.TrimSpace(v) != strings.TrimSpace(value)
	})
}

const tweaksName = "usercfg.txt"

// tweaksFile returns the file that lines for all models can be added to, and its text.
func tweaksFile(fat tree.Tree, src *tree.Reader) (tree.Entry, string, error) {
	e, _ := lookupFold(fat, configName) // it was read before
	text, err := readText(src, e)
	if err != nil || !includesLast(text, tweaksName) {
		return e, text, err
	}
	user, ok := lookupFold(fat, tweaksName)
	if !ok {
		e.Path = tweaksName // the firmware passes over an include that is not there
		return e, "", nil
	}
	text, err = readText(src, user)
	return user, text, err
}

// includesLast reports whether config.txt includes name for all models and says nothing after it,
// so that a section at the end of that file means nothing to anybody else.
func includesLast(text, name string) bool {
	last, filtered := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '[':
			filtered = !strings.EqualFold(line, "[all]")
		}
		last = line
	}
	included, ok := strings.CutPrefix(last, "include ")
	return ok && !filtered && strings.EqualFold(strings.TrimSpace(included), name)
}

// appendLines adds lines at the end of text, under [all], with the line ends that it has.
func appendLines(text string, lines []string) string {
	end := "\n"
	if strings.Contains(text, "\r\n") {
		end = "\r\n"
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += end
	}
	if inSection(text) {
		text += "[all]" + end
	}
	return text + strings.Join(lines, end) + end
}

// inSection reports whether a line added to text would not be for all models.
func inSection(text string) bool {
	filtered := false
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "[") {
			filtered = !strings.EqualFold(line, "[all]")
		}
	}
	return filtered
}
