package boot

import (
	"fmt"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// Edit is what is to be added to the boot files of an image that boots already.
type Edit struct {
	// Cmdline are kernel parameters, one word each, without root=. Of two that contradict each
	// other the later one counts, as it does for the kernel.
	Cmdline []string
	// ConfigTxt are lines for a Raspberry Pi's config.txt; GRUB has no use for them.
	ConfigTxt []string
	// Time is the modification time of what is changed.
	Time tree.Time
}

// missing returns the words of want that are not in force in have, in order: a word that is not
// there, or one that a later word takes back. Appending the result makes all of want count, and
// then nothing is missing any more.
func missing(have, want []string) []string {
	var out []string
	have = append([]string(nil), have...)
	for i, w := range want {
		if !InForce(have, w) && !contradicted(w, want[i+1:]) {
			out, have = append(out, w), append(have, w)
		}
	}
	return out
}

// InForce reports whether the parameter w is among words and none after it takes it back.
func InForce(words []string, w string) bool {
	for i := len(words) - 1; i >= 0; i-- {
		if words[i] == w {
			return !contradicted(w, words[i+1:])
		}
	}
	return false
}

func contradicted(w string, later []string) bool {
	mine := settings(w)
	for _, l := range later {
		for key, value := range settings(l) {
			if was, ok := mine[key]; ok && was != value {
				return true
			}
		}
	}
	return false
}

// settings says what a kernel parameter sets: usually its name to its value. The parameters that
// may stand several times for different things set nothing that another one could take back.
func settings(word string) map[string]string {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "cgroup_enable", "cgroup_disable":
		set := map[string]string{}
		for controller := range strings.SplitSeq(value, ",") {
			set["cgroup "+controller] = strings.TrimPrefix(key, "cgroup_")
		}
		return set
	case "cgroup_memory": // of the Raspberry Pi's kernels: 1 is cgroup_enable=memory
		return map[string]string{"cgroup memory": map[bool]string{true: "enable", false: "disable"}[value == "1"]}
	case "ro", "rw":
		return map[string]string{"root": key}
	case "console", "earlycon", "initrd", "hugepages", "hugepagesz", "modules-load", "modprobe.blacklist", "module_blacklist",
		"systemd.mask", "systemd.wants", "systemd.setenv", "ip", "vlan", "bond", "bridge":
		return nil
	}
	return map[string]string{key: value}
}

// kernelWords splits a command line as the kernel does: only double quotes keep spaces together.
func kernelWords(line string) []string { return splitWords(line, `"`, false) }

// grubWords splits a line of grub.cfg as GRUB's script language does.
func grubWords(line string) []string { return splitWords(line, `'"`, true) }

// splitWords takes quotes off; escapes says whether a backslash outside of single quotes does, too.
func splitWords(line, quotes string, escapes bool) []string {
	var words []string
	var word strings.Builder
	inside, started := byte(0), false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case escapes && c == '\\' && inside != '\'' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			started = true
		case c == inside:
			inside = 0
		case inside == 0 && strings.IndexByte(quotes, c) >= 0:
			inside, started = c, true
		case inside == 0 && isBlank(c):
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// appendWords puts words behind the last word of line and keeps the blanks that follow it.
func appendWords(line string, words []string) string {
	if len(words) == 0 {
		return line
	}
	text := strings.TrimRight(line, " \t\r\n")
	end := line[len(text):]
	if text != "" {
		text += " "
	}
	return text + strings.Join(words, " ") + end
}

// replaced returns e with other bytes; all else but the time stays.
func replaced(e tree.Entry, text string, t tree.Time) tree.Entry {
	e.Content, e.MTime = tree.InlineContent([]byte(text)), t
	return e
}

// checkLines refuses what would be more than one line of config.txt.
func checkLines(lines []string) error {
	for _, l := range lines {
		if strings.TrimSpace(l) == "" || strings.ContainsAny(l, "\r\n") {
			return fmt.Errorf("checking line %q for config.txt: it must be one line with something in it", l)
		}
	}
	return nil
}
