package profile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Origin is the place that gave a value. Line and Column count from 1; a value that no file gave
// has Line 0 and File "default" or "--set".
type Origin struct {
	File         string
	Line, Column int
}

// String is FILE:LINE, or FILE alone for a value that no file gave.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Fault is one thing wrong with a profile.
type Fault struct {
	File string `json:"file"`
	// Line and Column count from 1; a fault of an option, not of a file, has none.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path of the value: disk.partitions[1].fs.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	// Suggestion is the known key or value nearest to what was written.
	Suggestion string `json:"suggestion,omitempty"`
	// Excerpt is the line of the file at fault.
	Excerpt string `json:"excerpt,omitempty"`
}

// String is "file:line:column: message", the excerpt with a caret, and the suggestion, on lines of their own.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	fmt.Fprintf(&b, ": %s", f.Message)
	if f.Excerpt != "" {
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s^", f.Line, f.Excerpt, caretIndent(f.Excerpt, f.Column))
	}
	if f.Suggestion != "" {
		fmt.Fprintf(&b, "\n        did you mean %q?", f.Suggestion)
	}
	return b.String()
}

// caretIndent keeps tabs, so that the caret stands below its column on every terminal.
func caretIndent(line string, column int) string {
	var b strings.Builder
	for i, r := range []rune(line) {
		if i >= column-1 {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// FaultsError is everything wrong with a profile, sorted by file and position.
type FaultsError struct {
	// Name of the profile as it was asked for.
	Name   string  `json:"name"`
	Faults []Fault `json:"faults"`
}

// Error prints every fault.
func (e *FaultsError) Error() string {
	lines := make([]string, 0, len(e.Faults)+1)
	for _, f := range e.Faults {
		lines = append(lines, f.String())
	}
	count := "1 fault"
	if len(e.Faults) != 1 {
		count = fmt.Sprintf("%d faults", len(e.Faults))
	}
	return strings.Join(append(lines, fmt.Sprintf("profile %s has %s", e.Name, count)), "\n")
}

func sortFaults(faults []Fault) []Fault {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(faults)
}

// Nearest is the suggestion for a word that is not among the known ones, for other files that people write.
func Nearest(word string, candidates []string) string { return nearest(word, candidates) }

// nearest returns the candidate with the smallest edit distance to word, or "" when none is near:
// a third of the letters may differ, and always one or two.
func nearest(word string, candidates []string) string {
	limit := max(2, len(word)/3)
	best, bestDistance := "", limit+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance && d < max(len(c), len(word)) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance with neighbours swapped counted as one.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, row := []int(nil), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		next := make([]int, len(y)+1)
		next[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(y)]
}
