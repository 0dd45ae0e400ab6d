// Package inventory reads the list of a fleet: one row for each node, as CSV or YAML.
//
// A Row is a node and the place where it was written. A column is one property of a node; its name
// is the same in both formats and in the flags of `edgebake seed`. A Fault is one thing wrong, with
// its row and column; all faults of a file are found at once.
//
// CSV: the first row names the columns, in any order. Cells are separated by commas, semicolons or tabs,
// whichever the first row has; lists inside a cell by blanks, semicolons or commas, SSH keys by
// semicolons or line ends. An empty cell is what the flags say. Lines that begin with # are comments.
//
// YAML: a list of mappings, or a mapping with the list under "nodes" and under "defaults" what holds for every
// node. Lists and labels may be YAML's own. Anchors, aliases, tags and several documents are refused.
//
// Tokens and secrets: a KubeEdge token in an inventory is refused. A Wi-Fi password may be there; no
// Fault shows a value of its column.
package inventory

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/cloudinit"
	"github.com/edgebake/edgebake/cloudinit/token"
)

const (
	// MaxSize bounds a file that is read: 100,000 rows of a kilobyte come to about that.
	MaxSize = 128 << 20
	// maxRows bounds the nodes: each becomes a directory.
	maxRows = 100_000
	// maxFaults bounds what is listed: nobody reads more, and one wrong column repeats itself in every row.
	maxFaults = 200
)

// Row is one node of an inventory.
type Row struct {
	Node cloudinit.Node
	// Number counts from 1: in CSV the rows of the file with the one of the column names, in YAML the nodes.
	Number int
	// Line of the file where it begins, from 1.
	Line int
}

// Fault is one thing wrong with an inventory.
type Fault struct {
	File string `json:"file"`
	// Line and Position count from 1; 0 when the fault is not at one place.
	Line     int `json:"line,omitempty"`
	Position int `json:"position,omitempty"`
	// Row is the number of the row, 0 for the file as a whole; Node is its name as far as it is known.
	Row  int    `json:"row,omitempty"`
	Node string `json:"node,omitempty"`
	// Column is the name of the column.
	Column  string `json:"column,omitempty"`
	Message string `json:"message"`
	// Suggestion is the known name nearest to what was written.
	Suggestion string `json:"suggestion,omitempty"`
}

// String is one line: "fleet.csv:3:12: row 3 (edge-2), column cloudcore: message".
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Position)
	}
	b.WriteString(": ")
	var where []string
	if f.Row > 0 {
		where = append(where, fmt.Sprintf("row %d", f.Row))
		if f.Node != "" {
			where[0] += " (" + f.Node + ")"
		}
	}
	if f.Column != "" {
		where = append(where, "column "+f.Column)
	}
	if len(where) > 0 {
		b.WriteString(strings.Join(where, ", ") + ": ")
	}
	b.WriteString(f.Message)
	if f.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", f.Suggestion)
	}
	return b.String()
}

// FaultsError is everything wrong with an inventory, in the order of the file.
type FaultsError struct {
	File   string  `json:"file"`
	Faults []Fault `json:"faults"`
	// More counts the faults that are not listed.
	More int `json:"more,omitempty"`
}

func (e *FaultsError) Error() string {
	lines := make([]string, 0, len(e.Faults)+1)
	for _, f := range e.Faults {
		lines = append(lines, f.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	count := fmt.Sprintf("inventory %s has %d faults", e.File, len(e.Faults)+e.More)
	if len(e.Faults) == 1 && e.More == 0 {
		count = fmt.Sprintf("inventory %s has 1 fault", e.File)
	}
	return strings.Join(append(lines, count), "\n")
}

// reader is a file that is being read.
type reader struct {
	file     string
	defaults cloudinit.Node
	rows     []record
	faults   []Fault
}

// record is a row with its cells.
type record struct {
	number, line, position int
	node                   cloudinit.Node
	cells                  map[string]cell
}

// cell is what one row has in one column.
type cell struct {
	value          value
	line, position int
}

// Read reads an inventory. The file's name says the format: .yaml, .yml and .json are YAML, anything else is CSV.
// defaults holds what a row does not say. Errors: *FaultsError.
func Read(file string, text []byte, defaults cloudinit.Node) ([]Row, error) {
	r := &reader{file: file, defaults: defaults}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	switch strings.ToLower(filepath.Ext(file)) {
	case ".yaml", ".yml", ".json":
		r.readYAML(text)
	default:
		r.readCSV(text)
	}
	if len(r.rows) == 0 && len(r.faults) == 0 {
		r.fault(Fault{Message: "there is no node in it"})
	}
	for i := range r.rows {
		r.check(r.rows[i])
	}
	r.fingerprint()
	r.duplicates()
	if len(r.faults) > 0 {
		return nil, r.error()
	}
	rows := make([]Row, len(r.rows))
	for i, rec := range r.rows {
		rows[i] = Row{Node: rec.node, Number: rec.number, Line: rec.line}
	}
	return rows, nil
}

func (r *reader) error() error {
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Position, b.Position))
	})
	faults := slices.Compact(r.faults)
	shown := min(len(faults), maxFaults)
	return &FaultsError{File: r.file, Faults: faults[:shown], More: len(faults) - shown}
}

func (r *reader) fault(f Fault) {
	f.File, f.Message = r.file, token.Hide(f.Message)
	r.faults = append(r.faults, f)
}

// faultAt reports what is wrong with one column of a row.
func (r *reader) faultAt(rec record, column, format string, args ...any) {
	f := Fault{Line: rec.line, Position: rec.position, Row: rec.number, Node: rec.node.Name, Column: column, Message: fmt.Sprintf(format, args...)}
	if c, ok := rec.cells[column]; ok {
		f.Line, f.Position = c.line, c.position
	}
	r.fault(f)
}

// unknown reports a column that there is not.
func (r *reader) unknown(name string, line, position, row int) {
	f := Fault{Line: line, Position: position, Row: row, Column: name, Message: "there is no such column"}
	if strings.Contains(name, "token") {
		f.Message = "a token is not part of an inventory: it holds for all nodes and is a secret; give it with --token-file"
	} else if f.Suggestion = profile.Nearest(normal(name), columnNames()); f.Suggestion == "" {
		f.Message += "; there are " + strings.Join(columnNames(), ", ")
	}
	r.fault(f)
}

// normal is a column's name as people write it in spreadsheets: "Time Servers" is time-servers.
func normal(name string) string {
	return strings.NewReplacer(" ", "-", "_", "-").Replace(strings.ToLower(strings.TrimSpace(name)))
}

// fill makes the node of a record from its cells.
func (r *reader) fill(rec *record) {
	rec.node = r.defaults
	if c, ok := rec.cells["name"]; ok {
		rec.node.Name, _ = c.value.one() // what is wrong is reported below
	}
	for _, c := range columns() {
		cell, ok := rec.cells[c.name]
		if !ok {
			continue
		}
		if cell.value.has(token.Contains) {
			r.faultAt(*rec, c.name, "it holds a KubeEdge token, which is a secret and not part of an inventory: give it with --token-file")
		} else if err := c.set(&rec.node, cell.value); err != nil {
			r.faultAt(*rec, c.name, "%s", err)
		}
	}
}

// fingerprint computes those of wireless networks, once for each network and on all cores: rows share a few
// networks, or each has a password of its own, which costs milliseconds.
func (r *reader) fingerprint() {
	known := map[cloudinit.WiFi]*string{}
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for _, rec := range r.rows {
		if rec.node.WiFi == nil {
			continue
		}
		w := *rec.node.WiFi // the defaults' is shared, and the rows' need not be
		if known[w] == nil {
			digest := new(string)
			known[w] = digest
			g.Go(func() error { *digest = w.Digest(); return nil })
		}
	}
	_ = g.Wait() // they have no errors
	for _, rec := range r.rows {
		if rec.node.WiFi != nil && rec.node.WiFi.Fingerprint == "" {
			rec.node.WiFi.Fingerprint = *known[*rec.node.WiFi]
		}
	}
}

// check reports what is wrong with the values.
func (r *reader) check(rec record) {
	for _, p := range Check(rec.node) {
		r.faultAt(rec, p.Column, "%s", p.Message)
	}
}

// duplicates finds what two nodes must not share.
func (r *reader) duplicates() {
	for _, d := range []struct {
		column string
		of     func(cloudinit.Node) []string
	}{
		{"name", func(n cloudinit.Node) []string { return []string{n.Name} }},
		{"mac", func(n cloudinit.Node) []string { return []string{n.MAC} }},
		{"serial", func(n cloudinit.Node) []string { return []string{strings.ToLower(n.Serial)} }},
		{"addresses", bare},
		{"node-ip", func(n cloudinit.Node) []string { return []string{n.NodeIP} }},
	} {
		first := map[string]record{}
		for _, rec := range r.rows {
			for _, v := range d.of(rec.node) {
				other, taken := first[v]
				switch {
				case v == "":
				case !taken:
					first[v] = rec
				case other.number == rec.number:
					r.faultAt(rec, d.column, "%s is there twice", v)
				default:
					r.faultAt(rec, d.column, "%s is already in row %d (%s)", v, other.number, other.node.Name)
				}
			}
		}
	}
}

// bare are the addresses of a node without their prefix.
func bare(n cloudinit.Node) []string {
	out := make([]string, len(n.Addresses))
	for i, a := range n.Addresses {
		out[i], _, _ = strings.Cut(a, "/")
	}
	return out
}
